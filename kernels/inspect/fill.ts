/**
 * Fills a buffer with pseudo-random values, as test data for other kernels: nothing crosses from the host.
 *
 *   u = pcg(pcg(i) ⊕ seed) / 2³²   (O'Neill's PCG-RXS-M-XS hash)
 *   f32: y[i] = low + (high − low)·u      f16: two such a word, from element 2i and 2i + 1      index: y[i] = ⌊u·high⌋
 *
 * One invocation a word. Kind and range are uniforms: one pipeline for all.
 */
import {
  type Binding,
  type Capabilities,
  ceilDiv,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
} from '../kernel.ts'

export type FillKind = 'f32' | 'f16' | 'index'

export interface FillProblem {
  /** 4-byte words of the buffer. */
  readonly words: number
  readonly kind: FillKind
  readonly seed: number
  readonly low: number
  /** Exclusive; of an index the number of values. */
  readonly high: number
}

const uniforms = { words: 'u32', kind: 'u32', seed: 'u32', low: 'f32', high: 'f32' } as const
const kinds: readonly FillKind[] = ['f32', 'f16', 'index']

/** Binding: y (rw), words. */
export function fillProgram({ words, kind, seed, low, high }: FillProblem, caps: Capabilities): Program {
  const bindings: Binding[] = [{ name: 'y', type: 'u32', access: 'read_write' }]
  const wgsl = `@group(0) @binding(0) var<storage, read_write> y: array<u32>;
${declareUniforms(uniforms, 1)}
fn pcg(v: u32) -> u32 {
  let state = v * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
fn unit(i: u32) -> f32 { return f32(pcg(pcg(i) ^ u.seed) >> 8u) * 5.9604644775390625e-8; }
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let i = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (i >= u.words) { return; }
  let span = u.high - u.low;
  if (u.kind == 0u) { y[i] = bitcast<u32>(u.low + span * unit(i)); }
  else if (u.kind == 1u) { y[i] = pack2x16float(u.low + span * vec2f(unit(2u * i), unit(2u * i + 1u))); }
  else { y[i] = min(u32(unit(i) * u.high), u32(u.high) - 1u); }
}
`
  return {
    label: 'inspect.fill',
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { words, kind: kinds.indexOf(kind), seed, low, high }),
    grid: foldGrid(ceilDiv(words, 64), caps.maxGrid),
    cost: { flops: 0, bytes: 4 * words },
    workgroupBytes: 0,
    accumulators: 0,
  }
}

/** Reference: element i of the f32 kind (of the f16 kind before rounding), in float64. */
export function fillReference({ seed, low, high }: FillProblem, i: number): number {
  return low + (high - low) * ((pcg(pcg(i) ^ seed) >>> 8) / 2 ** 24)
}

function pcg(v: number): number {
  const state = (Math.imul(v, 747796405) + 2891336453) >>> 0
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0
  return ((word >>> 22) ^ word) >>> 0
}
