/**
 * LayerNorm over the last axis: y = (x − mean)·rstd·γ + β with rstd = 1/√(var + ε) and the biased variance
 * (Ba, Kiros, Hinton 2016, arXiv:1607.06450). mean and rstd are kept for the backward kernels.
 *
 * x, y [rows, width] contiguous; gamma, beta [width]; mean, rstd [rows]. x and y are f32 or f16 in memory, the
 * rest f32, as is every sum. The variance is taken in a second pass
 * about the mean, never as E[x²] − mean², so that a large mean costs no digits.
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
  const type = rows.elementType(layout)
  const x = rows.rowArray('x', layout, caps, problem.input)
  const y = rows.rowArray('y', layout, caps, problem.output, 'read_write')
  const bindings: Binding[] = [
    x.binding,
    { name: 'gamma', type, access: 'read' },
    { name: 'beta', type, access: 'read' },
    y.binding,
    { name: 'mean', type: 'f32', access: 'read_write' },
    { name: 'rstd', type: 'f32', access: 'read_write' },
  ]
  const wgsl = `${rows.rowHeader(layout, bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions([x, y])}
${rows.rowFunctions(layout)}
${rows.rowMain(layout)}
${rows.keepRows(layout, [x])}
  var sum = 0.0;
${rows.eachElement(layout, (read) => `sum += total(${read(x)});`)}
  let mu = rowSum(sum, slot) / u.width;
  var squares = 0.0;
${rows.eachElement(layout, (read) => `let c = ${read(x)} - mu; squares += total(c * c);`)}
  let r = 1.0 / sqrt(rowSum(squares, slot) / u.width + u.epsilon);
  if (!live) { return; }
  if (lane == 0u) { mean[row] = mu; rstd[row] = r; }
${rows.eachElement(layout, (read) => y.store('base + i', `(${read(x)} - mu) * r * gamma[i] + beta[i]`))}
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
