/**
 * Gradients of LayerNorm. With x̂ = (x − mean)·rstd and g = dy·γ:
 *
 *   dx     = rstd·(g − mean(g) − x̂·mean(g·x̂))      means over the row
 *   dgamma = Σ_rows dy·x̂,   dbeta = Σ_rows dy
 *
 * The parameter kernel is one launch without atomics: a workgroup owns `columns` columns, deals the rows to its
 * `splits` threads a column, and adds the splits by a tree in workgroup memory. Each thread sums blocks of 64 rows
 * before it adds them to its total, so that a million rows lose no more digits than a thousand. CPU adapters have layouts of their
 * own for both kernels, which load less.
 *
 * RTX 3090 class (kernel.ts): 1.2 flops a byte for dx, 0.6 for dγ and dβ, bound by memory. dx as in `softmax/rows.ts`, 28 values a thread at
 * 768 columns. The parameters' workgroups must be many enough to draw on all of memory: 96 of eight columns (a sector of 32 B a
 * row) at that width, 32 splits each, with two loads of 4 B a row: 197 kB in flight for every row of a split that the compiler
 * asks for ahead, two or three rows for full bandwidth. Four values a thread and 2 kB limit nothing.
 */
import type { Binding, Capabilities, Epilogue, Program, Variant } from '../kernel.ts'
import {
  busyWorkgroups,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  oneSubgroupSize,
  packUniforms,
} from '../kernel.ts'
import type { RowLayout, RowProblem } from '../softmax/rows.ts'
import * as rows from '../softmax/rows.ts'
import { enableHalf, type FloatType, floatArray, floatBytes, floatFunctions } from '../storage.ts'

export interface LayerNormBackwardProblem extends RowProblem {
  /** Element types of x, dy and dx; default f32. Everything else, and every sum, is f32. */
  readonly input?: FloatType
  readonly gradient?: FloatType
  readonly output?: FloatType
  /** Tail of dx: `epilogue` of kernel.ts, with batch 0. */
  readonly epilogue?: Epilogue | undefined
}

const inputUniforms = { rows: 'u32', elements: 'u32', width: 'f32' } as const

function inputsProgram(problem: LayerNormBackwardProblem, layout: RowLayout, caps: Capabilities): Program {
  const x = rows.rowArray('x', layout, caps, problem.input)
  const gamma = rows.rowArray('gamma', layout, caps, 'f32')
  const dy = rows.rowArray('dy', layout, caps, problem.gradient)
  const dx = rows.rowArray('dx', layout, caps, problem.output, 'read_write')
  const bindings: Binding[] = [
    x.binding,
    gamma.binding,
    dy.binding,
    { name: 'mean', type: 'f32', access: 'read' },
    { name: 'rstd', type: 'f32', access: 'read' },
    ...(problem.epilogue?.bindings ?? []),
    dx.binding,
  ]
  const sums = rows.rowSums(layout, ['G', 'Gx'])
  const terms = ({ r, read }: rows.Element): string =>
    `let g = ${read(dy)} * ${read(gamma)}; let xhat = (${read(x)} - mu${r}) * r${r};`
  const wgsl = `${rows.rowHeader(layout, bindings)}${declareBindings(bindings)}
${declareUniforms(inputUniforms, bindings.length)}
${floatFunctions([x, dy, dx, ...(problem.epilogue?.arrays ?? [])])}
${problem.epilogue?.wgsl ?? ''}
${rows.rowFunctions(layout)}
${rows.rowMain(layout)}
${rows.eachRow(layout, (r) => `  let mu${r} = mean[row${r}]; let r${r} = rstd[row${r}];`)}
${sums.declare}
${rows.keepRows(layout, [x, dy])}
${rows.eachElement(
  layout,
  [x, dy],
  (element) =>
    `${terms(element)} ${sums.into('G', element.r)} += total(g); ${sums.into('Gx', element.r)} += total(g * xhat);`,
  { columns: [gamma], ...sums.runs },
)}
${rows.eachRow(layout, (r) => `  let meanG${r} = rowSum(partG${r}, slot) / u.width; let meanGx${r} = rowSum(partGx${r}, slot) / u.width;`)}
  if (!live0) { return; }
${rows.eachElement(
  layout,
  [x, dy],
  (element) => {
    const gradient = `(g - meanG${element.r} - xhat * meanGx${element.r}) * r${element.r}`
    const tail = layout.vector ? `epilogue(${gradient}, 0u, row#, i * 4u)` : `epilogueOne(${gradient}, 0u, row#, i)`
    const value = problem.epilogue ? tail.replace('#', `${element.r}`) : gradient
    return `${terms(element)} ${rows.whenLive(element, dx.store(element.at, value))}`
  },
  { columns: [gamma] },
)}
}
`
  const { rows: count, width } = problem
  return {
    label: `layernorm.backward.inputs.${layout.name}`,
    wgsl,
    bindings,
    uniforms: packUniforms(inputUniforms, { rows: count, elements: rows.rowElements(problem, layout), width }),
    grid: rows.rowGrid(problem, layout, caps),
    cost: {
      flops: 14 * count * width,
      bytes: elementBytes(problem, true) * count * width + 4 * (width + 2 * count),
    },
    workgroupBytes: rows.rowBytes(layout),
    accumulators: 4 * layout.together + 2 * rows.keptValues(layout),
  }
}

/**
 * Of many rows, CPU adapters give each lane two: γ is loaded once for both, and nothing is reduced. Measured on lavapipe, 3152×768:
 * a sixth faster than four rows a subgroup, and compiled in a third of the time.
 */
function inputLayouts(problem: LayerNormBackwardProblem, caps: Capabilities): RowLayout[] {
  const layouts = rows.rowLayouts(problem, caps)
  if (!caps.software || problem.rows < 64) return layouts
  const vector = problem.width % 4 === 0
  const name = `lanes1x8.pairs${vector ? '.vec4' : ''}`
  return [{ name, lanes: 1, threads: 8, vector, kept: 0, together: 2, subgroup: false, long: false }, ...layouts]
}

/** Bindings: x, gamma [width], dy, mean [rows], rstd [rows], the epilogue's, dx (rw); x, dy, dx [rows, width] contiguous. */
export function layerNormBackwardInputVariants(problem: LayerNormBackwardProblem, caps: Capabilities): Variant[] {
  return inputLayouts(problem, caps).map((layout) => ({
    name: layout.name,
    program: () => inputsProgram(problem, layout, caps),
  }))
}

/** Bytes that an element of the row arrays takes: x and dy, and dx where it is written. */
const elementBytes = ({ input, gradient, output }: LayerNormBackwardProblem, dx: boolean): number =>
  floatBytes(input ?? 'f32') + floatBytes(gradient ?? 'f32') + (dx ? floatBytes(output ?? 'f32') : 0)

const parameterUniforms = { rows: 'u32', elements: 'u32' } as const

/** What the parameter kernels read and write; `type` is that of an element. */
function parameterArrays(problem: LayerNormBackwardProblem, vector: boolean, caps: Capabilities) {
  const type = vector ? 'vec4f' : 'f32'
  const x = floatArray('x', caps, { type: problem.input, vector })
  const dy = floatArray('dy', caps, { type: problem.gradient, vector })
  const bindings: Binding[] = [
    x.binding,
    dy.binding,
    { name: 'mean', type: 'f32', access: 'read' },
    { name: 'rstd', type: 'f32', access: 'read' },
    { name: 'dgamma', type, access: 'read_write' },
    { name: 'dbeta', type, access: 'read_write' },
  ]
  return { type, x, dy, bindings }
}

/** The program whose workgroups own `columns` elements of a row each. */
function parametersOf(
  problem: LayerNormBackwardProblem,
  name: string,
  wgsl: string,
  bindings: readonly Binding[],
  columns: number,
  vector: boolean,
  caps: Capabilities,
  workgroupBytes = 0,
): Program {
  const { rows: count, width } = problem
  const elements = vector ? width / 4 : width
  return {
    label: `layernorm.backward.parameters.${name}${vector ? '.vec4' : ''}`,
    wgsl,
    bindings,
    uniforms: packUniforms(parameterUniforms, { rows: count, elements }),
    grid: foldGrid(ceilDiv(elements, columns), caps.maxGrid),
    cost: { flops: 5 * count * width, bytes: elementBytes(problem, false) * count * width + 8 * (count + width) },
    workgroupBytes,
    // dγ and dβ, of a block of rows and in all.
    accumulators: vector ? 16 : 4,
  }
}

function parametersProgram(
  problem: LayerNormBackwardProblem,
  columns: number,
  splits: number,
  vector: boolean,
  caps: Capabilities,
): Program {
  const { type, x, dy, bindings } = parameterArrays(problem, vector, caps)
  const threads = columns * splits
  const tree = `
  gammaSums[slot] = sumGamma;
  betaSums[slot] = sumBeta;
  for (var step = ${threads / 2}u; step >= ${columns}u; step >>= 1u) {
    workgroupBarrier();
    if (slot < step) {
      gammaSums[slot] += gammaSums[slot + step];
      betaSums[slot] += betaSums[slot + step];
    }
  }
  if (slot < ${columns}u) { sumGamma = gammaSums[slot]; sumBeta = betaSums[slot]; }`
  const wgsl = `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(parameterUniforms, bindings.length)}
${floatFunctions([x, dy])}
alias Element = ${type};
${splits > 1 ? `var<workgroup> gammaSums: array<Element, ${threads}>;\nvar<workgroup> betaSums: array<Element, ${threads}>;` : ''}
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) slot: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let column = (group.x + group.y * groups.x) * ${columns}u + slot % ${columns}u;
  let split = slot / ${columns}u;
  var sumGamma = Element();
  var sumBeta = Element();
  if (column < u.elements) {
    for (var block = split; block < u.rows; block += ${64 * splits}u) {
      var blockGamma = Element();
      var blockBeta = Element();
      let end = min(u.rows, block + ${64 * splits}u);
      for (var row = block; row < end; row += ${splits}u) {
        let g = ${dy.load('row * u.elements + column')};
        blockGamma += g * ((${x.load('row * u.elements + column')} - mean[row]) * rstd[row]);
        blockBeta += g;
      }
      sumGamma += blockGamma;
      sumBeta += blockBeta;
    }
  }
${splits > 1 ? tree : ''}
  if (split == 0u && column < u.elements) { dgamma[column] = sumGamma; dbeta[column] = sumBeta; }
}
`
  const name = `${columns}x${splits}`
  const bytes = splits > 1 ? threads * (vector ? 32 : 8) : 0
  return parametersOf(problem, name, wgsl, bindings, columns, vector, caps, bytes)
}

/**
 * The same on CPU adapters: one subgroup a workgroup, four rows at a time. Loads are what it costs there: the four rows' statistics
 * are loaded by one lane each and handed round, and what the loop carries is touched once for all four.
 */
function subgroupParametersProgram(
  problem: LayerNormBackwardProblem,
  lanes: number,
  vector: boolean,
  caps: Capabilities,
): Program {
  const { type, x, dy, bindings } = parameterArrays(problem, vector, caps)
  const four = (line: (r: number) => string): string => Array.from({ length: 4 }, (_, r) => line(r)).join('\n')
  const wgsl = `${enableHalf(bindings)}enable subgroups;
${declareBindings(bindings)}
${declareUniforms(parameterUniforms, bindings.length)}
${floatFunctions([x, dy])}
alias Element = ${type};
@compute @workgroup_size(${lanes})
fn main(@builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let own = (group.x + group.y * groups.x) * ${lanes}u + lane;
  let column = min(own, u.elements - 1u);
  var sumGamma = Element();
  var sumBeta = Element();
  for (var block = 0u; block < u.rows; block += 64u) {
    var blockGamma = Element();
    var blockBeta = Element();
    let end = min(u.rows, block + 64u);
    for (var row = block; row < end; row += 4u) {
      let mine = min(row + lane % 4u, u.rows - 1u);
      let means = mean[mine];
      let rstds = rstd[mine];
${four(
  (r) => `      let at${r} = min(row + ${r}u, u.rows - 1u) * u.elements + column;
      let g${r} = select(Element(), ${dy.load(`at${r}`)}, row + ${r}u < u.rows);
      let product${r} = g${r} * ((${x.load(`at${r}`)} - subgroupBroadcast(means, ${r}u)) * subgroupBroadcast(rstds, ${r}u));`,
)}
      blockGamma += (product0 + product1) + (product2 + product3);
      blockBeta += (g0 + g1) + (g2 + g3);
    }
    sumGamma += blockGamma;
    sumBeta += blockBeta;
  }
  if (own < u.elements) { dgamma[own] = sumGamma; dbeta[own] = sumBeta; }
}
`
  return parametersOf(problem, `subgroup${lanes}`, wgsl, bindings, lanes, vector, caps)
}

/** Bindings: x, dy [rows, width], mean, rstd [rows], dgamma (rw), dbeta (rw) [width]; contiguous; deterministic. */
export function layerNormBackwardParamsVariants(problem: LayerNormBackwardProblem, caps: Capabilities): Variant[] {
  const vector = problem.width % 4 === 0
  const variant = (columns: number, splits: number, vec: boolean): Variant => ({
    name: `columns${columns}x${splits}${vec ? '.vec4' : ''}`,
    program: () => parametersProgram(problem, columns, splits, vec, caps),
  })
  if (caps.software) {
    const lanes = caps.subgroupMinSize
    return oneSubgroupSize(caps)
      ? [
          { name: `subgroup${lanes}`, program: () => subgroupParametersProgram(problem, lanes, vector, caps) },
          variant(8, 1, vector),
        ]
      : [variant(8, 1, vector), variant(8, 4, vector)]
  }
  const most = Math.min(256, caps.maxInvocations, caps.maxWorkgroupBytes / 32)
  const threads = 2 ** Math.floor(Math.log2(most))
  // 16 columns are two sectors of 32 B a row, 8 are one: narrow rows take these, so that every multiprocessor has a workgroup.
  const columns = ceilDiv(problem.width, 16) < busyWorkgroups ? [8, 16] : [16, 32]
  return [
    ...columns.map((count) => variant(count, threads / count, false)),
    ...(vector ? [variant(8, threads / 8, true)] : []),
  ]
}

/** Float64 reference of all three gradients; mean and rstd as the forward kernel returns them. */
export function layerNormBackwardReference(
  problem: RowProblem,
  x: ArrayLike<number>,
  gamma: ArrayLike<number>,
  dy: ArrayLike<number>,
  mean: ArrayLike<number>,
  rstd: ArrayLike<number>,
): { dx: Float64Array; dgamma: Float64Array; dbeta: Float64Array } {
  const { rows: count, width } = problem
  const dx = new Float64Array(count * width)
  const dgamma = new Float64Array(width)
  const dbeta = new Float64Array(width)
  for (let row = 0; row < count; row++) {
    let sumG = 0
    let sumGx = 0
    for (let i = 0; i < width; i++) {
      const at = row * width + i
      const xhat = (x[at]! - mean[row]!) * rstd[row]!
      sumG += dy[at]! * gamma[i]!
      sumGx += dy[at]! * gamma[i]! * xhat
      dgamma[i]! += dy[at]! * xhat
      dbeta[i]! += dy[at]!
    }
    for (let i = 0; i < width; i++) {
      const at = row * width + i
      const xhat = (x[at]! - mean[row]!) * rstd[row]!
      dx[at] = rstd[row]! * (dy[at]! * gamma[i]! - sumG / width - (xhat * sumGx) / width)
    }
  }
  return { dx, dgamma, dbeta }
}
