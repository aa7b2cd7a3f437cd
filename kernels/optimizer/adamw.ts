/**
 * AdamW over flat storage, in place (Loshchilov and Hutter, "Decoupled weight decay regularization"; bias-corrected as in Adam):
 *
 *   g ← clip · g,  m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,
 *   p ← p − lr·( m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε) + λ·decay·p )
 *
 * p, m, v, g: f32 [count]. `blocks` has one f32 for every 64 elements: how many of them, from the first, belong to a parameter
 * (the others are a gap, where nothing is touched), negative where no weight decay applies. `hyper` (f32[8]) holds
 * lr, β₁, β₂, ε, λ, 1−β₁ᵗ, 1−β₂ᵗ, scale: written per step, so that the launch itself never changes. clip = scale · `factor`
 * (f32[1], computed from the gradient's norm); where it is 0 or not finite everything stays as it was: a step that
 * overflowed is skipped, not applied.
 *
 * Design: one invocation four elements; traffic 28 bytes an element, bound by memory on every adapter. RTX 3090 class (kernel.ts): 0.64 flops
 * a byte; a subgroup reads 128 B side by side of each of four arrays, and the 1536 threads of a multiprocessor have 25 kB in flight, four
 * times what full bandwidth wants: 30 µs a million parameters.
 */
import { type Binding, type Capabilities, ceilDiv, declareBindings, foldGrid, type Variant } from '../kernel.ts'

export interface AdamwProblem {
  /** Elements of the flat storage, a multiple of 64. */
  readonly count: number
}

export const adamwHyperCount = 8

/** Elements that share an entry of `blocks`: also the workgroup's size, so that a workgroup steps from block to block. */
const block = 64

/** Bindings: p, m, v (read_write), g, hyper, factor, blocks (read). */
export function adamwVariants({ count }: AdamwProblem, caps: Capabilities): Variant[] {
  const bindings: Binding[] = [
    ...['p', 'm', 'v'].map((name): Binding => ({ name, type: 'f32', access: 'read_write' })),
    ...['g', 'hyper', 'factor', 'blocks'].map((name): Binding => ({ name, type: 'f32', access: 'read' })),
  ]
  const build = (perThread: number) => ({
    label: `adamw.${perThread}`,
    wgsl: `${declareBindings(bindings)}
@compute @workgroup_size(${block})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let clip = hyper[7] * factor[0];
  if (clip == 0.0 || (bitcast<u32>(clip) & 0x7f800000u) == 0x7f800000u) { return; }
  let lr = hyper[0]; let b1 = hyper[1]; let b2 = hyper[2];
  let first = (wid.y * nwg.x + wid.x) * ${perThread}u;
  for (var j = 0u; j < ${perThread}u; j++) {
    if (first + j >= ${count / block}u) { return; }
    let inside = blocks[first + j];
    if (f32(lid) >= abs(inside)) { continue; }
    let decay = select(0.0, hyper[4], inside > 0.0);
    let i = (first + j) * ${block}u + lid;
    let grad = g[i] * clip;
    let m1 = b1 * m[i] + (1.0 - b1) * grad;
    let v1 = b2 * v[i] + (1.0 - b2) * grad * grad;
    m[i] = m1;
    v[i] = v1;
    p[i] = p[i] - lr * ((m1 / hyper[5]) / (sqrt(v1 / hyper[6]) + hyper[3]) + decay * p[i]);
  }
}
`,
    bindings,
    uniforms: new Uint32Array(0),
    grid: foldGrid(ceilDiv(count, block * perThread), caps.maxGrid),
    cost: { flops: 18 * count, bytes: 28 * count },
    workgroupBytes: 0,
    accumulators: 0,
  })
  return [4, 1].map((n) => ({ name: `adamw.${n}`, program: () => build(n) }))
}

export interface AdamwHyper {
  readonly lr: number
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
  /** Steps taken, this one included. */
  readonly step: number
  readonly clip: number
}

export const adamwHyperWords = (h: AdamwHyper): Float32Array<ArrayBuffer> =>
  Float32Array.of(
    h.lr,
    h.beta1,
    h.beta2,
    h.epsilon,
    h.weightDecay,
    1 - h.beta1 ** h.step,
    1 - h.beta2 ** h.step,
    h.clip,
  )

/** Plain loops in float64, on copies; `decay` is 1 where weight decay applies, 0 where not, −1 in gaps. */
export function adamwReference(
  p: ArrayLike<number>,
  m: ArrayLike<number>,
  v: ArrayLike<number>,
  g: ArrayLike<number>,
  decay: ArrayLike<number>,
  h: AdamwHyper,
) {
  const out = { p: Float64Array.from(p), m: Float64Array.from(m), v: Float64Array.from(v) }
  if (h.clip === 0 || !Number.isFinite(h.clip)) return out
  for (let i = 0; i < p.length; i++) {
    if (decay[i]! < 0) continue
    const grad = g[i]! * h.clip
    out.m[i] = h.beta1 * m[i]! + (1 - h.beta1) * grad
    out.v[i] = h.beta2 * v[i]! + (1 - h.beta2) * grad * grad
    const step = out.m[i]! / (1 - h.beta1 ** h.step) / (Math.sqrt(out.v[i]! / (1 - h.beta2 ** h.step)) + h.epsilon)
    out.p[i] = p[i]! - h.lr * (step + h.weightDecay * decay[i]! * p[i]!)
  }
  return out
}
