/**
 * LayerNorm over the last axis: y = (x − mean)·rstd·γ + β with rstd = 1/√(var + ε) and the biased variance
 * (Ba, Kiros, Hinton 2016, arXiv:1607.06450). mean and rstd are kept for the backward kernels.
 *
 * x, y [rows, width] contiguous; gamma, beta [width]; mean, rstd [rows]. x and y are f32 or f16 in memory, the
 * rest f32, as is every sum.
 *
 * Mean and variance take one pass: a lane keeps mean and sum of squares about it of what it has read, and merges the next vec4
 * (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance"); lanes are merged the same way. The variance is
 * never E[x²] − mean², so that a large mean costs no digits. `softmax/rows.ts` says how rows are dealt out and why memory is the
 * bound: 8 bytes and some 12 operations an element. At 768 columns 64 lanes keep 12 values of a row and 6 of statistics, 256 B a workgroup.
 */
import type { Binding, Capabilities, Program, Variant } from '../kernel.ts'
import { declareBindings, declareUniforms, packUniforms } from '../kernel.ts'
import type { RowLayout, RowProblem } from '../softmax/rows.ts'
import * as rows from '../softmax/rows.ts'
import { type FloatType, floatBytes, floatFunctions } from '../storage.ts'

export interface LayerNormProblem extends RowProblem {
  /** Added to the variance, > 0. */
  readonly epsilon: number
  /** Element types of x and y; default f32. */
  readonly input?: FloatType
  readonly output?: FloatType
}

const uniforms = { rows: 'u32', elements: 'u32', width: 'f32', epsilon: 'f32' } as const

function forwardProgram(problem: LayerNormProblem, layout: RowLayout, caps: Capabilities): Program {
  const x = rows.rowArray('x', layout, caps, problem.input)
  const gamma = rows.rowArray('gamma', layout, caps, 'f32')
  const beta = rows.rowArray('beta', layout, caps, 'f32')
  const y = rows.rowArray('y', layout, caps, problem.output, 'read_write')
  const bindings: Binding[] = [
    x.binding,
    gamma.binding,
    beta.binding,
    y.binding,
    { name: 'mean', type: 'f32', access: 'read_write' },
    { name: 'rstd', type: 'f32', access: 'read_write' },
  ]
  const each = layout.vector ? '4.0' : '1.0'
  const wgsl = `${rows.rowHeader(layout, bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions([x, y])}
${rows.rowFunctions(layout)}
/** Mean and sum of squares about it of two sets together; \`share\` is what part of them the second is. */
fn merged(a: vec2f, count: f32, b: vec2f, share: f32) -> vec2f {
  let apart = b.x - a.x;
  return vec2f(a.x + apart * share, a.y + b.y + apart * apart * count * share);
}
${rows.rowMain(layout)}
${rows.keepRows(layout, [x])}
${rows.eachRow(layout, (r) => `  var all${r} = vec2f();`)}
  var count = 0.0;
${rows.eachElement(
  layout,
  [x],
  ({ r, read }) => `let middle = total(${read(x)}) / ${each}; let off = ${read(x)} - middle;
      part${r} = merged(part${r}, before, vec2f(middle, total(off * off)), share);`,
  {
    once: `let before = partCount; partCount += ${each}; let share = ${each} / partCount;`,
    open: `var partCount = 0.0;\n${rows.eachRow(layout, (r) => `  var part${r} = vec2f();`)}`,
    close: `  count += partCount;
${rows.eachRow(layout, (r) => `  all${r} = merged(all${r}, count - partCount, part${r}, partCount / max(count, 1.0));`)}`,
  },
)}
${rows.eachRow(
  layout,
  (r) => `  let mu${r} = rowSum(count * all${r}.x, slot) / u.width;
  let apart${r} = all${r}.x - mu${r};
  let r${r} = 1.0 / sqrt(rowSum(all${r}.y + count * apart${r} * apart${r}, slot) / u.width + u.epsilon);`,
)}
  if (!live0) { return; }
${rows.eachRow(layout, (r) => `  if (lane == 0u && live${r}) { mean[row${r}] = mu${r}; rstd[row${r}] = r${r}; }`)}
${rows.eachElement(
  layout,
  [x],
  (element) => {
    const { r, read } = element
    const value = `(${read(x)} - mu${r}) * r${r} * ${read(gamma)} + ${read(beta)}`
    return rows.whenLive(element, y.store(element.at, value))
  },
  { columns: [gamma, beta] },
)}
}
`
  const { rows: count, width, epsilon } = problem
  return {
    label: `layernorm.${layout.name}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { rows: count, elements: rows.rowElements(problem, layout), width, epsilon }),
    grid: rows.rowGrid(problem, layout, caps),
    cost: {
      flops: 8 * count * width,
      bytes:
        (floatBytes(problem.input ?? 'f32') + floatBytes(problem.output ?? 'f32')) * count * width +
        8 * (width + count),
    },
    workgroupBytes: rows.rowBytes(layout),
    accumulators: 4 * layout.together + 2 + rows.keptValues(layout),
  }
}

/**
 * Bindings: x [rows, width], gamma [width], beta [width], y (rw) [rows, width], mean (rw) [rows], rstd (rw) [rows].
 * Any width ≥ 1; rows up to maxGrid² workgroups.
 */
export function layerNormVariants(problem: LayerNormProblem, caps: Capabilities): Variant[] {
  return rows
    .rowLayouts(problem, caps)
    .map((layout) => ({ name: layout.name, program: () => forwardProgram(problem, layout, caps) }))
}

/** Float64 reference: y, mean and rstd as in the formula above. */
export function layerNormReference(
  problem: LayerNormProblem,
  x: ArrayLike<number>,
  gamma: ArrayLike<number>,
  beta: ArrayLike<number>,
): { y: Float64Array; mean: Float64Array; rstd: Float64Array } {
  const { rows: count, width, epsilon } = problem
  const y = new Float64Array(count * width)
  const mean = new Float64Array(count)
  const rstd = new Float64Array(count)
  for (let row = 0; row < count; row++) {
    let sum = 0
    for (let i = 0; i < width; i++) sum += x[row * width + i]!
    const mu = sum / width
    let squares = 0
    for (let i = 0; i < width; i++) squares += (x[row * width + i]! - mu) ** 2
    const r = 1 / Math.sqrt(squares / width + epsilon)
    mean[row] = mu
    rstd[row] = r
    for (let i = 0; i < width; i++) y[row * width + i] = (x[row * width + i]! - mu) * r * gamma[i]! + beta[i]!
  }
  return { y, mean, rstd }
}
