/**
 * What every tier of the product shares: how an operand is read, the uniform block, and how C is written.
 *
 * An operand is read in one of three ways, compiled in; its strides and offset are uniforms.
 *
 *   alongK    vec4 of four consecutive k of one row of A (column of B)      A row-major, B transposed
 *   across    vec4 of four consecutive rows of A (columns of B) at one k    A transposed, B row-major
 *   scalar    single elements at any strides
 *
 * A vec4 is used only where every one of them is aligned and wholly inside the matrix, so vec4 loads need no bounds
 * check. Rows and columns past the edge read the last row or column again: their products are dropped at the store.
 * k is never clamped: loops stop at k, since a product past it would have to be exactly zero, even against infinity.
 */
import type { Binding, Capabilities, Program } from '../kernel.ts'
import { declareBindings, declareUniforms, foldGrid, packUniforms } from '../kernel.ts'
import { enableHalf, type FloatArray, floatArray, floatFunctions } from '../storage.ts'
import { batchCount, type MatmulOperand, type MatmulProblem } from './problem.ts'
import { matmulCost } from './reference.ts'

export type Access = 'alongK' | 'across' | 'scalar'

/** One operand as the generated code sees it: A's outer axis is m, B's is n. */
export interface Side {
  readonly name: 'a' | 'b'
  readonly access: Access
  readonly array: FloatArray
}

const multipleOf4 = (value: number): boolean => value % 4 === 0

/** The best access an operand allows; `outer` is m for A, n for B. */
function accessOf(problem: MatmulProblem, operand: MatmulOperand, name: 'a' | 'b'): Access {
  const [outerStride, kStride] =
    name === 'a' ? [operand.rowStride, operand.colStride] : [operand.colStride, operand.rowStride]
  const outer = name === 'a' ? problem.m : problem.n
  const aligned =
    multipleOf4(operand.offset) &&
    problem.batch.every((size, dim) => size === 1 || multipleOf4(operand.batchStrides[dim]!))
  if (!aligned) return 'scalar'
  if (outerStride === 1 && multipleOf4(outer) && (problem.k === 1 || multipleOf4(kStride))) return 'across'
  if (kStride === 1 && multipleOf4(problem.k) && (outer === 1 || multipleOf4(outerStride))) return 'alongK'
  return 'scalar'
}

/** Both operands of a problem. */
export function sidesOf(problem: MatmulProblem, caps: Capabilities): { a: Side; b: Side } {
  const side = (name: 'a' | 'b'): Side => {
    const access = accessOf(problem, problem[name], name)
    return {
      name,
      access,
      array: floatArray(name, caps, { type: problem[name].type, vector: access !== 'scalar' }),
    }
  }
  return { a: side('a'), b: side('b') }
}

/** Tells the pipelines of a tier apart in labels: how A and B are read. */
export const sidesLabel = (a: Side, b: Side): string =>
  [a, b].map(({ access, array }) => `${access}${/^(f32|vec4f)$/.test(array.binding.type) ? '' : '.f16'}`).join('.')

/** Lines of WGSL from a function of an index. */
export const lines = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n')

/** Whether memory runs along k, which orders the loads of scalar operands too. */
export const runsAlongK = (problem: MatmulProblem, side: Side): boolean =>
  side.access === 'alongK' ||
  (side.access === 'scalar' && (side.name === 'a' ? problem.a.colStride : problem.b.rowStride) === 1)

export const outerStride = ({ name }: Side): string => (name === 'a' ? 'u.aRow' : 'u.bCol')
export const kStride = ({ name }: Side): string => (name === 'a' ? 'u.aCol' : 'u.bRow')
export const extent = ({ name }: Side): string => (name === 'a' ? 'u.m' : 'u.n')

/**
 * Declares `<name>Base<i>`, the element index at k = 0 of each of `count` rows of A (columns of B) from `first` on, or of
 * each group of four of them when read across. `groupStep` is the distance between groups of four in rows or columns.
 */
export function declareBases(side: Side, count: number, first: string, groupStep = '4u'): string {
  const { name, access } = side
  const start = (group: number): string => `${first} + ${group}u * ${groupStep}`
  if (access === 'across')
    return lines(count / 4, (g) => `  let ${name}Base${g} = ${name}Matrix + min(${start(g)}, ${extent(side)} - 4u);`)
  return lines(count, (i) => {
    const outer = `${start(i >> 2)} + ${i & 3}u`
    return `  let ${name}Base${i} = ${name}Matrix + min(${outer}, ${extent(side)} - 1u) * ${outerStride(side)};`
  })
}

/** Loads `steps` (4, or 1 in a tail) values of k from `k` on for every row or column declared by `declareBases`. */
export function loadSteps(side: Side, count: number, steps: number): string {
  const { name, access, array } = side
  if (access === 'alongK')
    return lines(count, (i) => {
      const four = array.load(`(${name}Base${i} + k) >> 2u`)
      return `    let ${name}_${i} = ${steps === 4 ? four : `${four}[(${name}Base${i} + k) & 3u]`};`
    })
  return lines(steps, (step) => {
    const at = `(k + ${step}u) * ${kStride(side)}`
    return access === 'across'
      ? lines(count / 4, (g) => `    let ${name}_${g}_${step} = ${array.load(`(${name}Base${g} + ${at}) >> 2u`)};`)
      : lines(count, (i) => `    let ${name}_${i}_${step} = ${array.load(`${name}Base${i} + ${at}`)};`)
  })
}

/** The loaded element of row or column `i` at k + step. */
export function element({ name, access }: Side, i: number, step: number, steps: number): string {
  if (access === 'alongK') return steps === 4 ? `${name}_${i}[${step}]` : `${name}_${i}`
  return access === 'across' ? `${name}_${i >> 2}_${step}[${i & 3}]` : `${name}_${i}_${step}`
}

/** The loaded elements of rows or columns 4g … 4g + 3 at k + step as a vec4. */
export function elements(side: Side, group: number, step: number, steps: number): string {
  if (side.access === 'across') return `${side.name}_${group}_${step}`
  return `vec4f(${[0, 1, 2, 3].map((i) => element(side, 4 * group + i, step, steps)).join(', ')})`
}

/** acc<row>_<group> += A · B for `steps` loaded values of k, with `rows` rows and `groups` groups of four columns. */
export function multiplySteps(a: Side, b: Side, rows: number, groups: number, steps: number): string {
  return lines(steps, (step) => {
    const columns = lines(groups, (g) => `    let b${g}_at${step} = ${elements(b, g, step, steps)};`)
    const sums = lines(rows, (r) =>
      lines(groups, (g) => `    acc${r}_${g} += ${element(a, r, step, steps)} * b${g}_at${step};`),
    )
    return `${columns}\n${sums}`
  })
}

/** Accumulators of `rows` rows and `groups` groups of four columns, all zero. */
export const declareSums = (rows: number, groups: number): string =>
  lines(rows, (r) => lines(groups, (g) => `  var acc${r}_${g} = vec4f();`))

/**
 * A constant that CPU adapters' compilers take for a variable: they unroll loops of constant counts, with all that a body inlines, and
 * compiling such a kernel takes them seconds. GPU compilers get the constant.
 */
export const loopBound = (count: number, { software }: Capabilities): string =>
  software ? `${count}u * workgroups.z` : `${count}u`

/**
 * Writes acc{r}_{g}: blocks of four rows lie `rowStep` apart, vec4 columns `colStep`. On CPU adapters in a loop, so that the epilogue is in
 * the text once.
 */
export function storeSums(rows: number, groups: number, caps: Capabilities, rowStep = '4u', colStep = '4u'): string {
  const each = (line: (r: number, g: number) => string): string => lines(rows, (r) => lines(groups, (g) => line(r, g)))
  return caps.software
    ? `  var sums: array<vec4f, ${rows * groups}>;
${each((r, g) => `  sums[${r * groups + g}] = acc${r}_${g};`)}
  for (var i = 0u; i < ${loopBound(rows * groups, caps)}; i++) {
    let r = i / ${groups}u;
    store(sums[i], batch, row + r / 4u * ${rowStep} + r % 4u, col + i % ${groups}u * ${colStep});
  }`
    : each(
        (r, g) => `  store(acc${r}_${g}, batch, row + ${r >> 2}u * ${rowStep} + ${r & 3}u, col + ${g}u * ${colStep});`,
      )
}

const uniforms = {
  m: 'u32',
  n: 'u32',
  k: 'u32',
  tilesM: 'u32',
  tilesN: 'u32',
  batches: 'u32',
  batch1: 'u32',
  batch2: 'u32',
  aOffset: 'u32',
  aRow: 'u32',
  aCol: 'u32',
  aBatch0: 'u32',
  aBatch1: 'u32',
  aBatch2: 'u32',
  bOffset: 'u32',
  bRow: 'u32',
  bCol: 'u32',
  bBatch0: 'u32',
  bBatch1: 'u32',
  bBatch2: 'u32',
} as const

/** Locates a tile: declares `batch`, `tileRow`, `tileCol`, `aMatrix` and `bMatrix` from the linear index `tile`. */
export const locateTile = `  let batch = tile / (u.tilesM * u.tilesN);
  let tileRow = (tile / u.tilesN) % u.tilesM;
  let tileCol = tile % u.tilesN;
  let batch0 = batch / (u.batch1 * u.batch2);
  let batch1 = (batch / u.batch2) % u.batch1;
  let batch2 = batch % u.batch2;
  let aMatrix = u.aOffset + batch0 * u.aBatch0 + batch1 * u.aBatch1 + batch2 * u.aBatch2;
  let bMatrix = u.bOffset + batch0 * u.bBatch0 + batch1 * u.bBatch1 + batch2 * u.bBatch2;`

export interface Tier {
  readonly label: string
  readonly a: Side
  readonly b: Side
  /** Outputs of one tile, rows × columns. */
  readonly tileM: number
  readonly tileN: number
  /** Tiles one workgroup computes (1 unless every invocation has a tile of its own). */
  readonly tilesPerWorkgroup: number
  readonly enable?: string
  /** Declarations and `main`, after the shared ones. */
  readonly main: string
  readonly workgroupBytes?: number
  readonly accumulators: number
}

/** Completes a tier to a program: bindings, uniforms, epilogue and store around its `main`. */
export function assemble(problem: MatmulProblem, caps: Capabilities, tier: Tier): Program {
  const { m, n, k, batch, a, b, epilogue } = problem
  if (batch.length > 3) throw new Error(`matmul: ${batch.length} batch dimensions, at most 3`)
  const vecC = n % 4 === 0
  const c = floatArray('c', caps, { type: problem.output, vector: vecC, access: 'read_write' })
  const bindings: Binding[] = [tier.a.array.binding, tier.b.array.binding, ...(epilogue?.bindings ?? []), c.binding]
  const wgsl = `${enableHalf(bindings)}${tier.enable ?? ''}${declareBindings(bindings)}
${floatFunctions([tier.a.array, tier.b.array, c, ...(epilogue?.arrays ?? [])])}
${declareUniforms(uniforms, bindings.length)}
${epilogue?.wgsl ?? ''}
fn store(acc: vec4f, batch: u32, row: u32, col: u32) {
  if (row >= u.m || col >= u.n) { return; }
  let value = ${epilogue ? 'epilogue(acc, batch, row, col)' : 'acc'};
  let at = (batch * u.m + row) * u.n + col;
${
  vecC
    ? `  ${c.store('at >> 2u', 'value')}`
    : c.binding.packed
      ? `  for (var i = 0u; i < min(4u, u.n - col); i++) { ${c.store('at + i', 'value[i]')} }`
      : `  ${c.store('at', 'value.x')}
  if (col + 1u < u.n) { ${c.store('at + 1u', 'value.y')} }
  if (col + 2u < u.n) { ${c.store('at + 2u', 'value.z')} }
  if (col + 3u < u.n) { ${c.store('at + 3u', 'value.w')} }`
}
}
${tier.main}`
  const dims = [1, 1, 1, ...batch].slice(-3)
  const strides = (operand: MatmulOperand): number[] => [0, 0, 0, ...operand.batchStrides].slice(-3)
  const [tilesM, tilesN] = [Math.ceil(m / tier.tileM), Math.ceil(n / tier.tileN)]
  const batches = batchCount(problem)
  return {
    label: tier.label,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, {
      m,
      n,
      k,
      tilesM,
      tilesN,
      batches,
      batch1: dims[1]!,
      batch2: dims[2]!,
      ...operandUniforms('a', a, strides(a)),
      ...operandUniforms('b', b, strides(b)),
    }),
    grid: foldGrid(Math.ceil((tilesM * tilesN * batches) / tier.tilesPerWorkgroup), caps.maxGrid),
    cost: matmulCost(problem),
    workgroupBytes: tier.workgroupBytes ?? 0,
    accumulators: tier.accumulators,
  }
}

function operandUniforms(name: 'a' | 'b', operand: MatmulOperand, strides: number[]): Record<string, number> {
  const { offset, rowStride, colStride } = operand
  return {
    [`${name}Offset`]: offset,
    [`${name}Row`]: rowStride,
    [`${name}Col`]: colStride,
    ...Object.fromEntries(strides.map((stride, dim) => [`${name}Batch${dim}`, stride])),
  }
}
