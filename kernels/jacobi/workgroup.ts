/**
 * Jacobi with the matrix in memory: one workgroup a matrix, the 2×2 blocks Jᵢᵀ A_ij Jⱼ of a round shared out over its threads.
 *
 * A and V live in workgroup memory when both fit; else V lives in `vectors`; else A lives in `work` as well. Two
 * barriers a round: rotations known → every block written. Each thread reads and writes only its own blocks in between.
 *
 * Pairs of round r, by the circle method over 2m players (m = ⌈n/2⌉): (2m−1, r) and ((r + k) mod (2m−1), (r − k) mod (2m−1))
 * for k = 1 … m−1. With odd n player 2m−1 does not exist and whoever meets it is idle.
 *
 * RTX 3090 class (kernel.ts): a block's four entries are read and written for 16 multiply-adds, an entry of V for two: workgroup memory
 * and the two barriers a round are the bound, not arithmetic. 8n² + 24n B are 7.9 kB at n = 28, 35 kB at 64: 12 and two workgroups of
 * 256 threads that keep next to nothing, of which 6 fit by their threads.
 */
import { type Capabilities, declareBindings, declareUniforms, foldGrid, type Program, packUniforms } from '../kernel.ts'
import { type JacobiOptions, jacobiBindings, jacobiCost, jacobiFunctions, jacobiUniforms } from './common.ts'

export function jacobiWorkgroup(options: JacobiOptions, caps: Capabilities, threads: number): Program {
  const { batch, n, maxSweeps, tolerance } = options
  const pairs = Math.ceil(n / 2)
  const players = 2 * pairs
  const rounds = players - 1
  const odd = n % 2 === 1
  const bindings = jacobiBindings(n)
  // vec3f takes 16 bytes in an array, vec2u 8.
  const small = 24 * pairs + 4 * (threads + 1 + 2 * n)
  const vectorsLocal = small + 8 * n * n <= caps.maxWorkgroupBytes
  const matrixLocal = small + 4 * n * n <= caps.maxWorkgroupBytes
  const A = matrixLocal ? { name: 'a', base: '' } : { name: 'work', base: `matrix * ${n * n}u + ` }
  const V = vectorsLocal ? { name: 'v', base: '' } : { name: 'vectors', base: `matrix * ${n * n}u + ` }
  // Memory in storage needs its own barrier beside the workgroup's.
  const barrier = vectorsLocal ? 'workgroupBarrier();' : 'workgroupBarrier(); storageBarrier();'
  const whenReal = (condition: string, body: string): string => (odd ? `if (${condition}) { ${body} }` : body)

  const wgsl = /* wgsl */ `${declareBindings(bindings)}
${declareUniforms(jacobiUniforms, bindings.length)}

const N = ${n}u;
const PAIRS = ${pairs}u;
const ROUNDS = ${rounds}u;
const THREADS = ${threads}u;

${matrixLocal ? 'var<workgroup> a: array<f32, N * N>;' : ''}
${vectorsLocal ? 'var<workgroup> v: array<f32, N * N>;' : ''}
var<workgroup> rotations: array<vec3f, PAIRS>;
var<workgroup> partners: array<vec2u, PAIRS>;
var<workgroup> partial: array<f32, THREADS>;
var<workgroup> total: f32;
var<workgroup> diagonal: array<f32, N>;
var<workgroup> place: array<u32, N>;
${jacobiFunctions}
/** Sum (or largest) over the threads, the same for all of them; the order is fixed, so the bits are too. */
fn sum_of_threads(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  if (thread == 0u) {
    var sum = 0.0;
    for (var i = 0u; i < THREADS; i++) { sum += partial[i]; }
    total = sum;
  }
  return workgroupUniformLoad(&total);
}

fn largest_of_threads(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  if (thread == 0u) {
    var largest = 0.0;
    for (var i = 0u; i < THREADS; i++) { largest = max(largest, partial[i]); }
    total = largest;
  }
  return workgroupUniformLoad(&total);
}

fn off_diagonal(matrix: u32, thread: u32) -> f32 {
  var sum = 0.0;
  for (var i = thread; i < N * N; i += THREADS) {
    let x = ${A.name}[${A.base}i];
    sum += select(x * x, 0.0, i / N == i % N);
  }
  return sqrt(sum_of_threads(sum, thread));
}

fn load_a(matrix: u32, i: u32, j: u32) -> f32 {
  ${odd ? 'if (i >= N || j >= N) { return 0.0; }' : ''}
  return ${A.name}[${A.base}i * N + j];
}

fn store_a(matrix: u32, i: u32, j: u32, value: f32) {
  ${whenReal('i < N && j < N', `${A.name}[${A.base}i * N + j] = value;`)}
}

/** The two players that meet as pair k of round r. */
fn meeting(r: u32, k: u32) -> vec2u {
  if (k == 0u) { return vec2u(r, ROUNDS); }
  return vec2u((r + k) % ROUNDS, (r + ROUNDS - k) % ROUNDS);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let matrix = wid.x + wid.y * groups.x;
  if (matrix >= u.batch) { return; }
  let base = matrix * N * N;

  var largest = 0.0;
  for (var i = thread; i < N * N; i += THREADS) { largest = max(largest, abs(s[base + i])); }
  let scale = power_of_two(largest_of_threads(largest, thread));
  let unscale = reciprocal_power_of_two(scale);
  // Symmetric part in, divided by the scale; identity for the vectors.
  var squares = 0.0;
  for (var i = thread; i < N * N; i += THREADS) {
    let x = 0.5 * to_unit(s[base + i], unscale) + 0.5 * to_unit(s[base + (i % N) * N + i / N], unscale);
    ${A.name}[${A.base}i] = x;
    ${V.name}[${V.base}i] = select(0.0, 1.0, i / N == i % N);
    squares += x * x;
  }
  ${barrier}
  let norm = sqrt(sum_of_threads(squares, thread));
  var off = off_diagonal(matrix, thread);
  var sweep = 0u;
  while (sweep < u.max_sweeps && !(off <= u.tolerance * norm)) {
    for (var r = 0u; r < ROUNDS; r++) {
      for (var k = thread; k < PAIRS; k += THREADS) {
        let pq = meeting(r, k);
        partners[k] = pq;
        rotations[k] = rotation(load_a(matrix, pq.x, pq.x), load_a(matrix, pq.y, pq.y), load_a(matrix, pq.x, pq.y));
      }
      workgroupBarrier();
      for (var block = thread; block < PAIRS * PAIRS; block += THREADS) {
        let i = block / PAIRS;
        let j = block % PAIRS;
        let left = rotations[i];
        let right = rotations[j];
        let row = partners[i];
        let column = partners[j];
        let pp = load_a(matrix, row.x, column.x);
        let pq = load_a(matrix, row.x, column.y);
        let qp = load_a(matrix, row.y, column.x);
        let qq = load_a(matrix, row.y, column.y);
        // Jᵢᵀ (block Jⱼ)
        let ppr = right.x * pp - right.y * pq;
        let pqr = right.y * pp + right.x * pq;
        let qpr = right.x * qp - right.y * qq;
        let qqr = right.y * qp + right.x * qq;
        // A rotated pair's own entry is set to zero, not computed: this lets the residual fall below rounding.
        let own = i == j;
        store_a(matrix, row.x, column.x, select(left.x * ppr - left.y * qpr, pp - left.z * pq, own));
        store_a(matrix, row.x, column.y, select(left.x * pqr - left.y * qqr, 0.0, own));
        store_a(matrix, row.y, column.x, select(left.y * ppr + left.x * qpr, 0.0, own));
        store_a(matrix, row.y, column.y, select(left.y * pqr + left.x * qqr, qq + left.z * pq, own));
      }
      for (var item = thread; item < N * PAIRS; item += THREADS) {
        let row = (item / PAIRS) * N;
        let cs = rotations[item % PAIRS];
        let pq = partners[item % PAIRS];
        ${whenReal(
          'pq.y < N',
          `let p = ${V.name}[${V.base}row + pq.x];
        let q = ${V.name}[${V.base}row + pq.y];
        ${V.name}[${V.base}row + pq.x] = cs.x * p - cs.y * q;
        ${V.name}[${V.base}row + pq.y] = cs.y * p + cs.x * q;`,
        )}
      }
      ${barrier}
    }
    off = off_diagonal(matrix, thread);
    sweep++;
  }

  for (var i = thread; i < N; i += THREADS) { diagonal[i] = ${A.name}[${A.base}i * (N + 1u)]; }
  ${barrier}
  for (var i = thread; i < N; i += THREADS) {
    let value = diagonal[i];
    var rank = 0u;
    for (var j = 0u; j < N; j++) {
      let other = diagonal[j];
      rank += select(0u, 1u, other < value || (other == value && j < i));
    }
    place[i] = rank;
    values[matrix * N + rank] = from_unit(value, scale);
  }
  // A is no longer needed: it takes the unsorted vectors, which are then written back in order.
  for (var i = thread; i < N * N; i += THREADS) { ${A.name}[${A.base}i] = ${V.name}[${V.base}i]; }
  ${barrier}
  for (var i = thread; i < N * N; i += THREADS) {
    vectors[base + (i / N) * N + place[i % N]] = ${A.name}[${A.base}i];
  }
  if (thread == 0u) {
    info[2u * matrix] = f32(sweep);
    info[2u * matrix + 1u] = select(0.0, off / max(norm, 1e-30), norm > 0.0);
  }
}
`
  const memory = matrixLocal ? (vectorsLocal ? 'workgroup' : 'vectors-in-storage') : 'storage'
  return {
    label: `jacobi.${memory}.${threads}.n${n}`,
    wgsl,
    bindings,
    uniforms: packUniforms(jacobiUniforms, { batch, max_sweeps: maxSweeps, tolerance }),
    grid: foldGrid(batch, caps.maxGrid),
    cost: jacobiCost(options),
    workgroupBytes: small + (matrixLocal ? 4 * n * n : 0) + (vectorsLocal ? 4 * n * n : 0),
    // Norm, off-diagonal norm, and the scale both ways: all else is in memory.
    accumulators: 4,
  }
}
