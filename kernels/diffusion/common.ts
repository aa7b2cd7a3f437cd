/** What the diffusion kernels share: the problem, where its matrices live, and the walk from W to T. */
import {
  type Binding,
  type Capabilities,
  type Cost,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
} from '../kernel.ts'

export interface DiffusionProblem {
  readonly batch: number
  /** Nodes of a graph, at most `diffusionLimit`. */
  readonly n: number
  /** Steps of the walk, whole, ≥ 1. */
  readonly t: number
}

/** Largest graph: one workgroup does all of it, beyond this too slowly. */
export const diffusionLimit = 64

/** @throws RangeError when a size is not a positive integer, or a graph too large. */
export function validate({ batch, n, t }: DiffusionProblem): void {
  for (const [name, size] of Object.entries({ batch, n, t }))
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`diffusion: ${name} must be a positive integer, got ${size}`)
  if (n > diffusionLimit) throw new RangeError(`diffusion: graphs have at most ${diffusionLimit} nodes, got ${n}`)
}

export type Direction = 'forward' | 'backward'
/** Forward: T, P and the next P. Backward: F, the next F and A too. */
const matrices = { forward: 3, backward: 6 } as const
const matrixWords = (n: number, direction: Direction): number => matrices[direction] * n * n
/** Bytes of workgroup memory when it holds the matrices; four vectors of a node each are always there. */
const localBytes = (n: number, direction: Direction): number => 4 * matrixWords(n, direction) + vectorBytes
const vectorBytes = 4 * 4 * diffusionLimit

/** Bytes of scratch a graph: none where the matrices fit the workgroup memory that WebGPU guarantees. Depends on n alone. */
export const diffusionWorkBytes = (n: number, direction: Direction): number =>
  localBytes(n, direction) <= 16384 ? 0 : 4 * matrixWords(n, direction)

/** Smaller graphs share the pipeline of this one, DIP's at its base size, where that fits. */
const usual = 28

/** Products of n × n matrices on the way to Sᵗ. */
const products = (t: number): number => Math.floor(Math.log2(t)) + t.toString(2).replaceAll('0', '').length - 1

export function diffusionCost({ batch, n, t }: DiffusionProblem, direction: Direction): Cost {
  const steps = direction === 'forward' ? 2 * products(t) + 3 : 6 * products(t) + 4
  return { flops: batch * n ** 3 * steps, bytes: 4 * batch * n * n * (direction === 'forward' ? 3 : 4) }
}

/**
 * The program of a direction. `arrays` are its bindings, w among them; `load` puts what it needs of them at `cell` (i, j) of a graph into
 * memory, w into T; `body` is what follows once T stands there.
 *
 * Matrices stand one after the other in one memory, row-major, at the offsets P, Q, T, F, G, A. They are symmetric and read along rows k,
 * where neighbouring threads read neighbouring words. A product is written beside its factors, which then change places. There are few
 * places that touch memory, and products share one: software adapters compile each place for every lane.
 */
export function program(
  problem: DiffusionProblem,
  direction: Direction,
  arrays: readonly Binding[],
  caps: Capabilities,
  text: { readonly load: string; readonly body: string },
): Program {
  const { batch, n, t } = problem
  const scratch = diffusionWorkBytes(n, direction) > 0
  const fits = localBytes(n, direction) <= caps.maxWorkgroupBytes
  const shared = !scratch && n <= usual && localBytes(usual, direction) <= caps.maxWorkgroupBytes
  const words = matrixWords(shared ? usual : n, direction)
  const threads = caps.software ? 8 : Math.min(256, caps.maxInvocations)
  const uniforms = { batch: 'u32', nodes: 'u32', steps: 'u32' } as const
  const bindings: Binding[] = [...arrays, ...(scratch ? [workBinding] : [])]
  const barrier = fits ? 'workgroupBarrier();' : 'workgroupBarrier(); storageBarrier();'
  const memory = fits ? 'local' : 'work'
  const wgsl = /* wgsl */ `${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
const THREADS = ${threads}u;
${fits ? `var<workgroup> local: array<f32, ${words}>;` : ''}
var<workgroup> degrees: array<f32, ${diffusionLimit}>;
/** √π */
var<workgroup> roots: array<f32, ${diffusionLimit}>;
${
  direction === 'backward'
    ? `/** Y·dY, and then what a node adds to 2 ΣD · d(ΣD). */
var<workgroup> along: array<f32, ${diffusionLimit}>;
/** The rest of dD. */
var<workgroup> slopes: array<f32, ${diffusionLimit}>;`
    : ''
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let graph = wid.x + wid.y * groups.x;
  if (graph >= u.batch) { return; }
  let n = u.nodes;
  let size = n * n;
  let base = graph * size;
  let P = ${fits ? '0u' : `graph * ${words}u`};
  let Q = P + size;
  let T = P + 2u * size;
${direction === 'backward' ? '  let F = P + 3u * size;\n  let G = P + 4u * size;\n  let A = P + 5u * size;' : ''}
  for (var cell = thread; cell < size; cell += THREADS) {
    ${text.load}
  }
  BARRIER
  for (var i = thread; i < n; i += THREADS) {
    var sum = 0.0;
    for (var k = 0u; k < n; k++) { sum += MEMORY[T + k * n + i]; }
    degrees[i] = sum;
  }
  BARRIER
  var total = 0.0;
  for (var k = 0u; k < n; k++) { total += degrees[k]; }
  for (var i = thread; i < n; i += THREADS) { roots[i] = sqrt(degrees[i] / total); }
  BARRIER
  // T, in place of W.
  for (var cell = thread; cell < size; cell += THREADS) {
    let both = sqrt(degrees[cell / n]) * sqrt(degrees[cell % n]);
    MEMORY[T + cell] = MEMORY[T + cell] / both - roots[cell / n] * roots[cell % n];
  }
  BARRIER
${text.body}
}
`
    .replaceAll('BARRIER', barrier)
    .replaceAll('MEMORY', memory)
  return {
    label: `diffusion${direction === 'backward' ? '.grad' : ''}.${fits ? 'workgroup' : 'storage'}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { batch, nodes: n, steps: t }),
    grid: foldGrid(batch, caps.maxGrid),
    cost: diffusionCost(problem, direction),
    workgroupBytes: (fits ? 4 * words : 0) + vectorBytes,
    // A thread sums one entry at a time, of two products where there are gradients.
    accumulators: direction === 'forward' ? 1 : 2,
  }
}

const workBinding: Binding = { name: 'work', type: 'f32', access: 'read_write' }

/**
 * WGSL: `step` for each factor on the way from T to Tᵗ, along the bits of t below its highest, from the top: to square, and to `multiply`
 * by T where the bit is set.
 */
export const alongBits = (step: string): string => /* wgsl */ `
  for (var half = 2u * firstLeadingBit(u.steps); half > 0u; half--) {
    let multiply = half % 2u == 1u;
    if (multiply && ((u.steps >> (half / 2u)) & 1u) == 0u) { continue; }
${step}
  }`
