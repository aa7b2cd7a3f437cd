/**
 * Softmax and log-softmax over the last axis, and their gradients.
 *
 *   softmax       y = exp(x − max) / Σ exp(x − max)          dx = y·(dy − Σ y·dy)
 *   log-softmax   y = x − max − log Σ exp(x − max)           dx = dy − exp(y)·Σ dy
 *
 * x, y, dy, dx [rows, width], contiguous, f32 or f16 in memory, computed in f32. A row of −∞ alone gives zeros (log: −∞)
 * instead of NaN. A NaN in a row makes the whole row NaN.
 *
 * Maximum and sum are taken in one pass (Milakov and Gimelshein 2018, arXiv:1805.02867): a lane that meets a larger value
 * scales what it has summed, in runs where a row is long. `rows.ts` says how rows are dealt out and why memory is the bound: 8 bytes and 6
 * operations an element, 12 bytes in the gradient, read once where it stays in registers.
 */
import type { Binding, Capabilities, Program, Variant } from '../kernel.ts'
import { declareBindings, declareUniforms, packUniforms } from '../kernel.ts'
import { type FloatArray, type FloatType, floatBytes, floatFunctions } from '../storage.ts'
import type { RowLayout, RowProblem } from './rows.ts'
import * as rows from './rows.ts'

export interface SoftmaxProblem extends RowProblem {
  /** Log-softmax instead of softmax. */
  readonly log: boolean
  /** Element types of x (y and dy of the gradient), and of y (dx); default f32. */
  readonly input?: FloatType
  readonly output?: FloatType
}

const uniforms = { rows: 'u32', elements: 'u32' } as const

function build(
  problem: SoftmaxProblem,
  layout: RowLayout,
  caps: Capabilities,
  label: string,
  inputs: readonly FloatArray[],
  output: FloatArray,
  flops: number,
  /** Values a lane keeps for each row, beside the row. */
  statistics: number,
  body: string,
): Program {
  const bindings: Binding[] = [...inputs.map((a) => a.binding), output.binding]
  const wgsl = `${rows.rowHeader(layout, bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions([...inputs, output])}
${rows.rowFunctions(layout)}
alias Bits = ${layout.vector ? 'vec4u' : 'u32'};
${rows.rowMain(layout)}
${rows.keepRows(layout, inputs)}
${body}
}
`
  const elements = problem.rows * problem.width
  return {
    label: `${label}.${layout.name}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { rows: problem.rows, elements: rows.rowElements(problem, layout) }),
    grid: rows.rowGrid(problem, layout, caps),
    cost: {
      flops: flops * elements,
      bytes: (inputs.length * floatBytes(problem.input ?? 'f32') + floatBytes(problem.output ?? 'f32')) * elements,
    },
    workgroupBytes: rows.rowBytes(layout),
    accumulators: layout.together * statistics + inputs.length * rows.keptValues(layout),
  }
}

// The maximum starts at the lowest finite number: a row of −∞ then sums exp(−∞) = 0, and the sum tells it apart. A NaN is found by its bits
// and put into the sum: max, exp and log make numbers of it on some drivers.
const rowStatistics = (
  layout: RowLayout,
  x: FloatArray,
): string => `${rows.eachRow(layout, (r) => `  var most${r} = -3.4028234e38; var part${r} = 0.0; var worst${r} = Bits();`)}
${layout.long ? rows.eachRow(layout, (r) => `  var all${r} = 0.0; var allMost${r} = most${r};`) : ''}
${rows.eachElement(
  layout,
  [x],
  ({ r, read }) =>
    `worst${r} = max(worst${r}, bitcast<Bits>(${read(x)}) & Bits(0x7fffffffu)); let most = max(most${r}, largest(${read(x)})); part${r} = part${r} * exp(most${r} - most) + total(exp(${read(x)} - most)); most${r} = most;`,
  layout.long
    ? {
        open: rows.eachRow(layout, (r) => `  part${r} = 0.0;`),
        close: rows.eachRow(
          layout,
          (r) => `  all${r} = all${r} * exp(allMost${r} - most${r}) + part${r}; allMost${r} = most${r};`,
        ),
      }
    : {},
)}
${layout.long ? rows.eachRow(layout, (r) => `  part${r} = all${r};`) : ''}
${rows.eachRow(
  layout,
  (r) => `  let high${r} = rowMax(most${r}, slot);
  let bits${r} = ${layout.vector ? `max(max(worst${r}.x, worst${r}.y), max(worst${r}.z, worst${r}.w))` : `worst${r}`};
  let sum${r} = rowSum(select(part${r} * exp(most${r} - high${r}), bitcast<f32>(bits${r}), bits${r} > 0x7f800000u), slot);`,
)}
  if (!live0) { return; }`

function forwardProgram(problem: SoftmaxProblem, layout: RowLayout, caps: Capabilities): Program {
  const x = rows.rowArray('x', layout, caps, problem.input)
  const y = rows.rowArray('y', layout, caps, problem.output, 'read_write')
  const logarithm = 'select(log(sum#), sum#, (bitcast<u32>(sum#) & 0x7fffffffu) > 0x7f800000u)'
  const factor = problem.log ? `select(${logarithm}, 0.0, sum# == 0.0)` : 'select(1.0 / sum#, 0.0, sum# == 0.0)'
  const finish = rows.eachElement(layout, [x], (element) => {
    const shifted = `${element.read(x)} - high${element.r}`
    const value = problem.log ? `(${shifted}) - factor${element.r}` : `exp(${shifted}) * factor${element.r}`
    return rows.whenLive(element, y.store(element.at, value))
  })
  const factors = rows.eachRow(layout, (r) => `  let factor${r} = ${factor.replaceAll('#', `${r}`)};`)
  const label = problem.log ? 'logsoftmax' : 'softmax'
  const statistics = layout.vector ? 6 : 3
  const text = `${rowStatistics(layout, x)}\n${factors}\n${finish}`
  return build(problem, layout, caps, label, [x], y, 6, statistics, text)
}

function backwardProgram(problem: SoftmaxProblem, layout: RowLayout, caps: Capabilities): Program {
  const y = rows.rowArray('y', layout, caps, problem.input)
  const dy = rows.rowArray('dy', layout, caps, problem.input)
  const dx = rows.rowArray('dx', layout, caps, problem.output, 'read_write')
  // log-softmax needs no y for its sum: it is read in the second pass alone.
  const summed = problem.log ? [dy] : [y, dy]
  const sums = rows.rowSums(layout, [''])
  const body = `${sums.declare}
${rows.eachElement(layout, summed, ({ r, read }) => `${sums.into('', r)} += total(${summed.map(read).join(' * ')});`, sums.runs)}
${rows.eachRow(layout, (r) => `  let sum${r} = rowSum(part${r}, slot);`)}
  if (!live0) { return; }
${rows.eachElement(layout, [y, dy], (element) => {
  const [yHere, dyHere] = [element.read(y), element.read(dy)]
  const sum = `sum${element.r}`
  const value = problem.log ? `${dyHere} - exp(${yHere}) * ${sum}` : `${yHere} * (${dyHere} - ${sum})`
  return rows.whenLive(element, dx.store(element.at, value))
})}`
  const label = problem.log ? 'logsoftmax.backward' : 'softmax.backward'
  return build(problem, layout, caps, label, [y, dy], dx, 4, 1, body)
}

/** Bindings: x, y (rw). Any width ≥ 1. */
export function softmaxVariants(problem: SoftmaxProblem, caps: Capabilities): Variant[] {
  return rows
    .rowLayouts(problem, caps)
    .map((layout) => ({ name: layout.name, program: () => forwardProgram(problem, layout, caps) }))
}

/** Bindings: y (the forward output, logarithms for log-softmax), dy, dx (rw). */
export function softmaxBackwardVariants(problem: SoftmaxProblem, caps: Capabilities): Variant[] {
  return rows
    .rowLayouts(problem, caps)
    .map((layout) => ({ name: layout.name, program: () => backwardProgram(problem, layout, caps) }))
}

/** Float64 reference of the forward formula. */
export function softmaxReference({ rows: count, width, log }: SoftmaxProblem, x: ArrayLike<number>): Float64Array {
  const y = new Float64Array(count * width)
  for (let row = 0; row < count; row++) {
    let high = -Infinity
    for (let i = 0; i < width; i++) high = Math.max(high, x[row * width + i]!)
    const empty = high === -Infinity
    let sum = 0
    for (let i = 0; i < width; i++) sum += Math.exp(x[row * width + i]! - high)
    for (let i = 0; i < width; i++) {
      const shifted = x[row * width + i]! - high
      if (log) y[row * width + i] = empty ? -Infinity : shifted - Math.log(sum)
      else y[row * width + i] = empty ? 0 : Math.exp(shifted) / sum
    }
  }
  return y
}

/** Float64 reference of the backward formula. */
export function softmaxBackwardReference(
  { rows: count, width, log }: SoftmaxProblem,
  y: ArrayLike<number>,
  dy: ArrayLike<number>,
): Float64Array {
  const dx = new Float64Array(count * width)
  for (let row = 0; row < count; row++) {
    let sum = 0
    for (let i = 0; i < width; i++) sum += log ? dy[row * width + i]! : y[row * width + i]! * dy[row * width + i]!
    for (let i = 0; i < width; i++) {
      const at = row * width + i
      dx[at] = log ? dy[at]! - Math.exp(y[at]!) * sum : y[at]! * (dy[at]! - sum)
    }
  }
  return dx
}
