/**
 * Fold, the transpose of cutting a tensor into windows: every window is added back to where it was cut from.
 *
 *   y[…, p, …] = Σ_k x[…, (p − k·dilation) / stride, …, k] over the k for which that is a whole number of a window
 *
 * for each windowed axis. An invocation owns one output and looks for its sources in a fixed order: no atomics, the same bits on
 * every run.
 *
 * RTX 3090 class (kernel.ts): at most a fourth of a flop a byte, bound by memory; x is read once and y written once. Neighbouring outputs
 * read words a window apart, which are whole sectors from 8 inner elements on and L1's business below. One sum a thread.
 */
import { type Binding, type Capabilities, ceilDiv, declareBindings, foldGrid, type Program } from '../kernel.ts'

export interface FoldProblem {
  /** [outer and window counts…, window sizes…]; the sizes stand last, in the order of `axes`. */
  readonly input: readonly number[]
  /** Windowed axes of the output. */
  readonly axes: readonly number[]
  /** Lengths of those axes in the output. */
  readonly lengths: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
}

const numel = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** Shape of the output: the window sizes gone, the windowed axes at their full lengths. */
export const foldShape = ({ input, axes, lengths }: FoldProblem): number[] =>
  input.slice(0, input.length - axes.length).map((d, i) => (axes.includes(i) ? lengths[axes.indexOf(i)]! : d))

/** Bindings x, y (f32). */
export function foldProgram(problem: FoldProblem, caps: Capabilities): Program {
  const { input, axes, strides, dilations } = problem
  const output = foldShape(problem)
  const rank = output.length
  const step = input.map((_, i) => numel(input.slice(i + 1)))
  const count = numel(output)
  const coordinate = (i: number) => `t / ${numel(output.slice(i + 1))}u % ${output[i]}u`
  const base = output.flatMap((_, i) => (axes.includes(i) || input[i] === 1 ? [] : [`${coordinate(i)} * ${step[i]}u`]))
  const loops = axes.map((axis, j) => {
    const at = strides[j] === 1 ? `from_${j}` : `from_${j} / ${strides[j]}`
    const misses = strides[j] === 1 ? '' : ` || from_${j} % ${strides[j]} != 0`
    return `for (var k_${j} = 0; k_${j} < ${input[rank + j]}; k_${j}++) {
    let from_${j} = p_${j} - k_${j} * ${dilations[j]};
    if (from_${j} < 0 || from_${j} >= ${input[axis]! * strides[j]!}${misses}) { continue; }
    let at_${j} = ${j ? `at_${j - 1}` : 'base'} + u32(${at}) * ${step[axis]}u + u32(k_${j}) * ${step[rank + j]}u;`
  })
  const bindings: Binding[] = [
    { name: 'x', type: 'f32', access: 'read' },
    { name: 'y', type: 'f32', access: 'read_write' },
  ]
  const wgsl = `${declareBindings(bindings)}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let t = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (t >= ${count}u) { return; }
  let base = ${base.join(' + ') || '0u'};
${axes.map((axis, j) => `  let p_${j} = i32(${coordinate(axis)});`).join('\n')}
  var total = 0.0;
  ${loops.join('\n    ')}
    total += x[at_${axes.length - 1}];
  ${axes.map(() => '}').join(' ')}
  y[t] = total;
}
`
  return {
    label: 'fold',
    wgsl,
    bindings,
    uniforms: new Uint32Array(0),
    grid: foldGrid(ceilDiv(count, 64), caps.maxGrid),
    cost: { flops: numel(input), bytes: 4 * (numel(input) + count) },
    workgroupBytes: 0,
    accumulators: 1,
  }
}

/** The same in float64, window by window: each element is added to where it was cut from. */
export function foldReference(problem: FoldProblem, x: ArrayLike<number>): Float64Array {
  const { input, axes, strides, dilations } = problem
  const output = foldShape(problem)
  const rank = output.length
  const y = new Float64Array(numel(output))
  for (let linear = 0; linear < numel(input); linear++) {
    const at = input.map((d, i) => Math.floor(linear / numel(input.slice(i + 1))) % d)
    axes.forEach((axis, j) => {
      at[axis] = at[axis]! * strides[j]! + at[rank + j]! * dilations[j]!
    })
    y[output.reduce((sum, d, i) => sum * d + at[i]!, 0)]! += x[linear]!
  }
  return y
}
