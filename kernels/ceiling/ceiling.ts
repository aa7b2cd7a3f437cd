/**
 * What an adapter can do at most, as rooflines need it: a kernel of nothing but multiply-adds, and one of nothing but copies.
 * Each has a few variants, since adapters differ in how much independent work a thread must offer; the best of them is the ceiling.
 *
 *   multiply-add   s ← s·x₀ + x₁, `iterations` · unroll times on each of `accumulators` independent vec4 a thread; y = Σ s
 *   copy           y[i] = x[i], `perThread` vec4f a thread, a workgroup's loads side by side
 *
 * x₀ and x₁ come from memory, so nothing is folded; with x₀ = x₁ = ½ the sums stay near 1: no overflow, no subnormals.
 *
 * RTX 3090 class (kernel.ts): 8 sums a thread cover arithmetic's 4 clocks already with one subgroup a scheduler, 32 need no other. A
 * copy has 16 B of every thread in flight, 25 kB a multiprocessor: four times what full bandwidth wants.
 */
import {
  type Binding,
  type Capabilities,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
  type Variant,
} from '../kernel.ts'

export interface MultiplyAddProblem {
  /** Workgroups of 64 invocations. */
  readonly workgroups: number
  /** Rounds of `multiplyAddUnroll` multiply-adds on every accumulator. A uniform: any number shares the pipeline. */
  readonly iterations: number
  /** f16 needs `shader-f16`. */
  readonly type: 'f32' | 'f16'
}

/** Multiply-adds on an accumulator in one round of the loop. */
export const multiplyAddUnroll = 16
const threads = 64

/** Bindings: x (read) [2 vec4], y (rw) [workgroups · 64 vec4]; vec4f or vec4h. @throws Error for f16 without `shader-f16`. */
export function multiplyAddVariants(problem: MultiplyAddProblem, caps: Capabilities): Variant[] {
  if (problem.type === 'f16' && !caps.f16) throw new Error('multiplyAdd: f16 needs an adapter with shader-f16')
  return [2, 4, 8].map((accumulators) => ({
    name: `accumulators.${accumulators}`,
    program: () => multiplyAdd(problem, caps, accumulators),
  }))
}

function multiplyAdd(
  { workgroups, iterations, type }: MultiplyAddProblem,
  caps: Capabilities,
  accumulators: number,
): Program {
  const vec4 = type === 'f16' ? 'vec4h' : 'vec4f'
  const bindings: Binding[] = [
    { name: 'x', type: vec4, access: 'read' },
    { name: 'y', type: vec4, access: 'read_write' },
  ]
  const uniforms = { iterations: 'u32', workgroups: 'u32' } as const
  const names = Array.from({ length: accumulators }, (_, i) => `s${i}`)
  const round = names.map((s) => `    ${s} = ${s} * factor + addend;`).join('\n')
  const wgsl = `${type === 'f16' ? 'enable f16;\n' : ''}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let group = wid.y * nwg.x + wid.x;
  if (group >= u.workgroups) { return; }
  let factor = x[0];
  let addend = x[1];
${names.map((s, i) => `  var ${s} = ${vec4}(${type}(lid + ${i}u) * ${type}(0.0078125));`).join('\n')}
  for (var i = 0u; i < u.iterations; i++) {
${Array.from({ length: multiplyAddUnroll }, () => round).join('\n')}
  }
  y[group * ${threads}u + lid] = ${names.join(' + ')};
}
`
  const flops = 2 * 4 * accumulators * multiplyAddUnroll * iterations * workgroups * threads
  return {
    label: `ceiling.multiplyAdd.${type}.${accumulators}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { iterations, workgroups }),
    grid: foldGrid(workgroups, caps.maxGrid),
    cost: { flops, bytes: (type === 'f16' ? 8 : 16) * workgroups * threads },
    workgroupBytes: 0,
    accumulators: 4 * accumulators,
  }
}

export interface CopyProblem {
  /** Elements, four f32 each. */
  readonly vectors: number
}

/** Bindings: x (read), y (rw), [vectors] vec4f. */
export function copyVariants({ vectors }: CopyProblem, caps: Capabilities): Variant[] {
  const bindings: Binding[] = [
    { name: 'x', type: 'vec4f', access: 'read' },
    { name: 'y', type: 'vec4f', access: 'read_write' },
  ]
  const uniforms = { vectors: 'u32' } as const
  const build = (perThread: number): Program => ({
    label: `ceiling.copy.${perThread}`,
    wgsl: `${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let first = (wid.y * nwg.x + wid.x) * ${threads * perThread}u + lid;
  for (var j = 0u; j < ${perThread}u; j++) {
    let i = first + j * ${threads}u;
    if (i < u.vectors) { y[i] = x[i]; }
  }
}
`,
    bindings,
    uniforms: packUniforms(uniforms, { vectors }),
    grid: foldGrid(ceilDiv(vectors, threads * perThread), caps.maxGrid),
    cost: { flops: 0, bytes: 32 * vectors },
    workgroupBytes: 0,
    accumulators: 0,
  })
  return [1, 4].map((perThread) => ({ name: `perThread.${perThread}`, program: () => build(perThread) }))
}

/** Float64 reference of the multiply-add kernel's output, one number an invocation (its four lanes are equal). */
export function multiplyAddReference(
  { workgroups, iterations }: MultiplyAddProblem,
  accumulators: number,
  factor: number,
  addend: number,
): Float64Array {
  return Float64Array.from({ length: workgroups * threads }, (_, i) => {
    let sum = 0
    for (let a = 0; a < accumulators; a++) {
      let s = ((i % threads) + a) * 0.0078125
      for (let k = 0; k < iterations * multiplyAddUnroll; k++) s = s * factor + addend
      sum += s
    }
    return sum
  })
}
