/**
 * Jacobi with the matrix in memory: one workgroup a matrix, the 2×2 blocks Jᵢᵀ A_ij Jⱼ of a round shared out over its threads.
 *
 * A and V live in workgroup memory when both fit; else V lives in `vectors`; else A lives in `work` as well. Two
 * barriers a round: rotations known → every block written. Each thread reads and writes only its own blocks in between.
 *
 * Pairs of round r, by the circle method over 2m players (m = ⌈n/2⌉): (2m−1, r) and ((r + k) mod (2m−1), (r − k) mod (2m−1))
 * for k = 1 … m−1. With odd n player 2m−1 does not exist and whoever meets it is idle.
 *
 * n is a uniform and arrays in workgroup memory have a capacity, so that sizes share pipelines. Divisions by n would be slow where
 * it is unknown to the compiler: a thread finds its first block and its step by division, once, and then adds.
 *
 * RTX 3090 class (kernel.ts): a block's four entries are read and written for 16 multiply-adds, an entry of V for two: workgroup memory
 * and the two barriers a round are the bound, not arithmetic. 8c² + 20c B for a capacity c, and 4 a thread, are 10 kB at n = 28, 35 kB at
 * 64: ten and two workgroups of 256 threads that keep next to nothing, of which 6 fit by their threads.
 */
import {
  type Capabilities,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
} from '../kernel.ts'
import { type JacobiOptions, jacobiBindings, jacobiCost, jacobiFunctions, jacobiUniforms } from './common.ts'

/** Bytes of workgroup memory for a matrix of `size`, of which `arrays` (A, then V) lie there. */
function workgroupBytes(size: number, threads: number, arrays: number): number {
  // vec3f takes 16 bytes in an array, vec2u 8.
  return 24 * ceilDiv(size, 2) + 4 * (threads + 1 + 2 * size) + 4 * arrays * size * size
}

/** How many of A and V fit workgroup memory, and the size the arrays there are made for, at least n. */
function layout(n: number, threads: number, caps: Capabilities): { arrays: number; capacity: number } {
  const fits = (size: number, count: number): boolean => workgroupBytes(size, threads, count) <= caps.maxWorkgroupBytes
  const arrays = fits(n, 2) ? 2 : fits(n, 1) ? 1 : 0
  let capacity = arrays ? 8 * ceilDiv(n, 8) : 64 * ceilDiv(n, 64)
  while (capacity > n && !fits(capacity, arrays)) capacity--
  return { arrays, capacity }
}

export function jacobiWorkgroup(options: JacobiOptions, caps: Capabilities, threads: number): Program {
  const { batch, n, maxSweeps, tolerance } = options
  const bindings = jacobiBindings(n)
  const { arrays, capacity } = layout(n, threads, caps)
  const [matrixLocal, vectorsLocal] = [arrays > 0, arrays > 1]
  const A = matrixLocal ? { name: 'a', base: '' } : { name: 'work', base: 'base + ' }
  const V = vectorsLocal ? { name: 'v', base: '' } : { name: 'vectors', base: 'base + ' }
  // Memory in storage needs its own barrier beside the workgroup's.
  const barrier = vectorsLocal ? 'workgroupBarrier();' : 'workgroupBarrier(); storageBarrier();'

  const wgsl = /* wgsl */ `${declareBindings(bindings)}
${declareUniforms(jacobiUniforms, bindings.length)}

const CAPACITY = ${capacity}u;
const THREADS = ${threads}u;

${matrixLocal ? 'var<workgroup> a: array<f32, CAPACITY * CAPACITY>;' : ''}
${vectorsLocal ? 'var<workgroup> v: array<f32, CAPACITY * CAPACITY>;' : ''}
var<workgroup> rotations: array<vec3f, ${ceilDiv(capacity, 2)}>;
var<workgroup> partners: array<vec2u, ${ceilDiv(capacity, 2)}>;
var<workgroup> partial: array<f32, THREADS>;
var<workgroup> total: f32;
var<workgroup> diagonal: array<f32, CAPACITY>;
var<workgroup> place: array<u32, CAPACITY>;
${jacobiFunctions}
/** Sum over the threads, or the largest, the same for all of them; the order is fixed, so the bits are too. */
fn over_threads(value: f32, largest: bool, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  if (thread == 0u) {
    var result = 0.0;
    for (var i = 0u; i < THREADS; i++) { result = select(result + partial[i], max(result, partial[i]), largest); }
    total = result;
  }
  return workgroupUniformLoad(&total);
}

/** From row x, column y of a table that many columns wide on by by.x rows and by.y columns, the last into the next row. */
fn step(at: vec2u, by: vec2u, columns: u32) -> vec2u {
  let next = at + by;
  let over = next.y >= columns;
  return vec2u(select(next.x, next.x + 1u, over), select(next.y, next.y - columns, over));
}

// With odd n, the last player is no row.
fn load_a(base: u32, i: u32, j: u32) -> f32 {
  if (i >= u.n || j >= u.n) { return 0.0; }
  return ${A.name}[${A.base}i * u.n + j];
}

fn store_a(base: u32, i: u32, j: u32, value: f32) {
  if (i < u.n && j < u.n) { ${A.name}[${A.base}i * u.n + j] = value; }
}

/** The two players that meet as pair k of round r. */
fn meeting(r: u32, k: u32, rounds: u32) -> vec2u {
  if (k == 0u) { return vec2u(r, rounds); }
  let sum = r + k;
  return vec2u(select(sum, sum - rounds, sum >= rounds), select(r + rounds - k, r - k, r >= k));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let matrix = wid.x + wid.y * groups.x;
  if (matrix >= u.batch) { return; }
  let base = matrix * u.n * u.n;
  let pairs = (u.n + 1u) / 2u;
  let rounds = 2u * pairs - 1u;
  let firstPair = vec2u(thread / pairs, thread % pairs);
  let nextPair = vec2u(THREADS / pairs, THREADS % pairs);

  var largest = 0.0;
  for (var i = thread; i < u.n * u.n; i += THREADS) { largest = max(largest, abs(s[base + i])); }
  let scale = power_of_two(over_threads(largest, true, thread));
  let unscale = reciprocal_power_of_two(scale);
  // Symmetric part in, divided by the scale; identity for the vectors.
  for (var i = thread; i < u.n * u.n; i += THREADS) {
    let x = 0.5 * to_unit(s[base + i], unscale) + 0.5 * to_unit(s[base + (i % u.n) * u.n + i / u.n], unscale);
    ${A.name}[${A.base}i] = x;
    ${V.name}[${V.base}i] = select(0.0, 1.0, i / u.n == i % u.n);
  }
  ${barrier}
  let firstEntry = vec2u(thread / u.n, thread % u.n);
  let nextEntry = vec2u(THREADS / u.n, THREADS % u.n);
  var norm = 0.0;
  var off = 0.0;
  var sweep = 0u;
  // The first time around measures the norm, before any rotation.
  for (var measured = false; ; measured = true) {
    var squares = 0.0;
    for (var at = firstEntry; at.x < u.n; at = step(at, nextEntry, u.n)) {
      let x = ${A.name}[${A.base}at.x * u.n + at.y];
      squares += select(x * x, 0.0, measured && at.x == at.y);
    }
    let length = sqrt(over_threads(squares, false, thread));
    if (!measured) {
      norm = length;
      continue;
    }
    off = length;
    if (sweep >= u.max_sweeps || off <= u.tolerance * norm) { break; }
    let negligible = negligible_entry(norm);
    for (var r = 0u; r < rounds; r++) {
      for (var k = thread; k < pairs; k += THREADS) {
        let pq = meeting(r, k, rounds);
        partners[k] = pq;
        rotations[k] = rotation(load_a(base, pq.x, pq.x), load_a(base, pq.y, pq.y), load_a(base, pq.x, pq.y), negligible);
      }
      workgroupBarrier();
      for (var at = firstPair; at.x < pairs; at = step(at, nextPair, pairs)) {
        let left = rotations[at.x];
        let right = rotations[at.y];
        let row = partners[at.x];
        let column = partners[at.y];
        let pp = load_a(base, row.x, column.x);
        let pq = load_a(base, row.x, column.y);
        let qp = load_a(base, row.y, column.x);
        let qq = load_a(base, row.y, column.y);
        // Jᵢᵀ (block Jⱼ)
        let ppr = right.x * pp - right.y * pq;
        let pqr = right.y * pp + right.x * pq;
        let qpr = right.x * qp - right.y * qq;
        let qqr = right.y * qp + right.x * qq;
        // A rotated pair's own entry is set to zero, not computed: this lets the residual fall below rounding.
        let own = at.x == at.y;
        store_a(base, row.x, column.x, select(left.x * ppr - left.y * qpr, pp - left.z * pq, own));
        store_a(base, row.x, column.y, select(left.x * pqr - left.y * qqr, 0.0, own));
        store_a(base, row.y, column.x, select(left.y * ppr + left.x * qpr, 0.0, own));
        store_a(base, row.y, column.y, select(left.y * pqr + left.x * qqr, qq + left.z * pq, own));
      }
      for (var at = firstPair; at.x < u.n; at = step(at, nextPair, pairs)) {
        let row = at.x * u.n;
        let cs = rotations[at.y];
        let pq = partners[at.y];
        if (pq.y < u.n) {
          let p = ${V.name}[${V.base}row + pq.x];
          let q = ${V.name}[${V.base}row + pq.y];
          ${V.name}[${V.base}row + pq.x] = cs.x * p - cs.y * q;
          ${V.name}[${V.base}row + pq.y] = cs.y * p + cs.x * q;
        }
      }
      ${barrier}
    }
    sweep++;
  }

  for (var i = thread; i < u.n; i += THREADS) { diagonal[i] = ${A.name}[${A.base}i * (u.n + 1u)]; }
  ${barrier}
  for (var i = thread; i < u.n; i += THREADS) {
    let value = diagonal[i];
    var rank = 0u;
    for (var j = 0u; j < u.n; j++) {
      let other = diagonal[j];
      rank += select(0u, 1u, other < value || (other == value && j < i));
    }
    place[i] = rank;
    values[matrix * u.n + rank] = from_unit(value, scale);
  }
  // A is no longer needed: it takes the unsorted vectors, which are then written back in order.
  for (var i = thread; i < u.n * u.n; i += THREADS) { ${A.name}[${A.base}i] = ${V.name}[${V.base}i]; }
  ${barrier}
  for (var i = thread; i < u.n * u.n; i += THREADS) {
    vectors[base + (i / u.n) * u.n + place[i % u.n]] = ${A.name}[${A.base}i];
  }
  if (thread == 0u) {
    info[2u * matrix] = f32(sweep);
    info[2u * matrix + 1u] = select(0.0, off / max(norm, 1e-30), norm > 0.0);
  }
}
`
  const memory = ['storage', 'vectors-in-storage', 'workgroup'][arrays]
  return {
    label: `jacobi.${memory}.${threads}.${capacity}`,
    wgsl,
    bindings,
    uniforms: packUniforms(jacobiUniforms, { batch, n, max_sweeps: maxSweeps, tolerance }),
    grid: foldGrid(batch, caps.maxGrid),
    cost: jacobiCost(options),
    workgroupBytes: workgroupBytes(capacity, threads, arrays),
    // Norm, off-diagonal norm, and the scale both ways: all else is in memory.
    accumulators: 4,
  }
}
