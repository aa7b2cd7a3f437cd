/** What the diffusion kernels share: the problem, where its matrices live, and the walk from W to S. */
import { type Binding, type Capabilities, type Cost, declareBindings, declareUniforms } from '../kernel.ts'

export interface DiffusionProblem {
  readonly batch: number
  /** Nodes of a graph, at most `diffusionLimit`. */
  readonly n: number
  /** Steps of the walk, whole, ≥ 1. */
  readonly t: number
}

/** Largest graph: a workgroup holds one, a 4 × 4 tile a thread. */
export const diffusionLimit = 64

/** @throws RangeError when a size is not a positive integer, or a graph too large. */
export function validate({ batch, n, t }: DiffusionProblem): void {
  for (const [name, size] of Object.entries({ batch, n, t }))
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`diffusion: ${name} must be a positive integer, got ${size}`)
  if (n > diffusionLimit) throw new RangeError(`diffusion: graphs have at most ${diffusionLimit} nodes, got ${n}`)
}

/** Tiles a side; matrices are padded to whole tiles with zeros, which products leave zero. */
const sideOf = (n: number): number => Math.ceil(n / 4)
/** Bytes of a padded matrix. */
const matrixBytes = (n: number): number => 64 * sideOf(n) ** 2
/** Degrees of the nodes, and two more of their kind. */
const vectorBytes = (n: number): number => 48 * sideOf(n)

export type Direction = 'forward' | 'backward'
/** In the order in which they are given workgroup memory. */
const matrices = { forward: ['p', 't'], backward: ['p', 'f', 't', 'a'] } as const

/** Bytes of scratch a graph: none where all matrices fit the workgroup memory that WebGPU guarantees. Depends on n alone. */
export const diffusionWorkBytes = (n: number, direction: Direction): number => {
  const bytes = matrices[direction].length * matrixBytes(n)
  return bytes + vectorBytes(n) <= 16384 ? 0 : bytes
}

/** Products of n × n matrices on the way to Sᵗ. */
const products = (t: number): number => Math.floor(Math.log2(t)) + t.toString(2).replaceAll('0', '').length - 1

export function diffusionCost({ batch, n, t }: DiffusionProblem, direction: Direction): Cost {
  const steps = direction === 'forward' ? 2 * products(t) + 3 : 6 * products(t) + 8
  return { flops: batch * n ** 3 * steps, bytes: 4 * batch * n * n * (direction === 'forward' ? 3 : 4) }
}

export interface Kernel {
  /** Declarations, and the functions below. */
  readonly head: string
  readonly bindings: readonly Binding[]
  readonly workgroupBytes: number
  readonly threads: number
  readonly barrier: string
}

/**
 * A matrix M is rows of vec4s, `M(k, q)` the columns 4q … 4q + 3 of row k. All are symmetric, so that is a column of the rows
 * 4q … 4q + 3 as well, and a thread computes its tile (ti, tj), ti ≤ tj, of a product from `M(k, ti)` and `M(k, tj)`; `put_m` writes a
 * tile, a mat4x4f with a row of the matrix in each column, to both sides.
 */
export function kernel(n: number, direction: Direction, arrays: readonly Binding[], caps: Capabilities): Kernel {
  const side = sideOf(n)
  const scratch = diffusionWorkBytes(n, direction) > 0
  let room = caps.maxWorkgroupBytes - vectorBytes(n)
  let used = vectorBytes(n)
  const places = matrices[direction].map((name, i) => {
    const local = room >= matrixBytes(n)
    if (local) {
      room -= matrixBytes(n)
      used += matrixBytes(n)
    }
    const memory = local
      ? `var<workgroup> memory_${name}: array<vec4f, ${4 * side * side}>;`
      : `fn offset_${name}() -> u32 { return (graph * ${matrices[direction].length}u + ${i}u) * ${4 * side * side}u; }`
    const at = (k: string, q: string) =>
      local ? `memory_${name}[(${k}) * SIDE + ${q}]` : `work[offset_${name}() + (${k}) * SIDE + ${q}]`
    return { local, text: `${memory}\n${access(name, at)}` }
  })
  const bindings: Binding[] = [...arrays, ...(scratch ? [workBinding] : [])]
  const storage = places.some(({ local }) => !local)
  const head = /* wgsl */ `${declareBindings(bindings)}
${declareUniforms({ batch: 'u32', steps: 'u32' }, bindings.length)}
const NODES = ${n}u;
const SIDE = ${side}u;
const THREADS = ${(side * (side + 1)) / 2}u;
var<private> graph: u32;
/** The thread's tile. */
var<private> ti: u32;
var<private> tj: u32;
/** D, four nodes an entry, 0 beyond the last. */
var<workgroup> degrees: array<vec4f, SIDE>;
${
  direction === 'backward'
    ? `/** Y·dY, and then its part of the gradient of ΣD. */
var<workgroup> along: array<vec4f, SIDE>;
/** The rest of dD. */
var<workgroup> slopes: array<vec4f, SIDE>;`
    : ''
}
${places.map(({ text }) => text).join('\n')}
${functions}`
  return {
    head,
    bindings,
    workgroupBytes: used,
    threads: (side * (side + 1)) / 2,
    barrier: storage ? 'workgroupBarrier(); storageBarrier();' : 'workgroupBarrier();',
  }
}

const workBinding: Binding = { name: 'work', type: 'vec4f', access: 'read_write' }

const access = (name: string, at: (k: string, q: string) => string): string => /* wgsl */ `
fn ${name}(k: u32, q: u32) -> vec4f { return ${at('k', 'q')}; }
fn put_row_${name}(k: u32, q: u32, row: vec4f) { ${at('k', 'q')} = row; }
fn put_${name}(m: mat4x4f) {
  let mirrored = transpose(m);
  for (var r = 0u; r < 4u; r++) { ${at('4u * ti + r', 'tj')} = m[r]; }
  if (ti != tj) {
    for (var r = 0u; r < 4u; r++) { ${at('4u * tj + r', 'ti')} = mirrored[r]; }
  }
}`

const functions = /* wgsl */ `
fn outer(x: vec4f, y: vec4f) -> mat4x4f { return mat4x4f(x.x * y, x.y * y, x.z * y, x.w * y); }
/** Row r times x[r]. */
fn rows_times(x: vec4f, m: mat4x4f) -> mat4x4f { return mat4x4f(x.x * m[0], x.y * m[1], x.z * m[2], x.w * m[3]); }

/** 1/√D; 0 beyond the last node. */
fn inverse_root(degree: vec4f) -> vec4f { return select(vec4f(), 1.0 / sqrt(degree), degree > vec4f()); }

fn take_tile(thread: u32) {
  ti = 0u;
  var rest = thread;
  while (rest >= SIDE - ti) { rest -= SIDE - ti; ti++; }
  tj = ti + rest;
}

fn w_tile() -> mat4x4f {
  var m = array<vec4f, 4>();
  for (var r = 0u; r < 4u; r++) {
    for (var c = 0u; c < 4u; c++) {
      let i = 4u * ti + r;
      let j = 4u * tj + c;
      if (i < NODES && j < NODES) { m[r][c] = w[(graph * NODES + min(i, j)) * NODES + max(i, j)]; }
    }
  }
  return mat4x4f(m[0], m[1], m[2], m[3]);
}

/** Degrees from W in p, four nodes a thread. */
fn sum_degrees(thread: u32) {
  for (var q = thread; q < SIDE; q += THREADS) {
    var sum = vec4f();
    for (var k = 0u; k < NODES; k++) { sum += p(k, q); }
    degrees[q] = sum;
  }
}

fn volume() -> f32 {
  var sum = 0.0;
  for (var q = 0u; q < SIDE; q++) { sum += dot(degrees[q], vec4f(1.0)); }
  return sum;
}

/** D^(−1/2) W D^(−1/2) − √π √πᵀ of the thread's tile. */
fn transient(weights: mat4x4f, total: f32) -> mat4x4f {
  let scaled = outer(inverse_root(degrees[ti]), inverse_root(degrees[tj]));
  let stationary = outer(sqrt(degrees[ti] / total), sqrt(degrees[tj] / total));
  return mat4x4f(weights[0] * scaled[0], weights[1] * scaled[1], weights[2] * scaled[2], weights[3] * scaled[3]) - stationary;
}

/** 1/√π of four nodes. */
fn inverse_density_root(q: u32, total: f32) -> vec4f { return inverse_root(degrees[q] / total); }
`

/** Writes tile `m` of a symmetric matrix to an array [batch, n, n]. */
export const writeTile = (array: string, m: string): string => /* wgsl */ `{
    var rows = array<vec4f, 4>(${m}[0], ${m}[1], ${m}[2], ${m}[3]);
    for (var r = 0u; r < 4u; r++) {
      for (var c = 0u; c < 4u; c++) {
        let i = 4u * ti + r;
        let j = 4u * tj + c;
        if (i <= j && j < NODES) {
          ${array}[(graph * NODES + i) * NODES + j] = rows[r][c];
          ${array}[(graph * NODES + j) * NODES + i] = rows[r][c];
        }
      }
    }
  }`

/** Of every kernel: its graph, its tile, D and the tile `own` of S − √π √πᵀ, which is put into t. */
export const begin = (barrier: string): string => /* wgsl */ `let taken = wid.x + wid.y * groups.x;
  if (taken >= u.batch) { return; }
  graph = taken;
  take_tile(thread);
  let weights = w_tile();
  put_p(weights);
  ${barrier}
  sum_degrees(thread);
  ${barrier}
  let total = volume();
  let own = transient(weights, total);
  put_t(own);`

export const signature =
  '@compute @workgroup_size(THREADS)\nfn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32)'
