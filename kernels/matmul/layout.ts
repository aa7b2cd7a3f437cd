/** What every tier shares: operand layouts, uniforms, batch offsets and the store with its epilogue. */
import { type Binding, type Capabilities, declareBindings, declareUniforms, packUniforms, type Program } from '../kernel.ts'
import { type MatmulOperand, type MatmulProblem, matmulCost } from './problem.ts'

/** Along which axis four consecutive elements are one aligned vec4f; `none`: element by element, any strides. */
export type Vector = 'row' | 'col' | 'none'

const quads = (o: MatmulOperand, step: number): boolean =>
  step % 4 === 0 && o.offset % 4 === 0 && o.batchStrides.every((s) => s % 4 === 0)

/** `row`: consecutive along the second index, `col`: along the first. Both sizes must be whole quads along the vector. */
export function vectorOf(o: MatmulOperand, rows: number, cols: number): Vector {
  if (o.colStride === 1 && cols % 4 === 0 && quads(o, rows === 1 ? 0 : o.rowStride)) return 'row'
  if (o.rowStride === 1 && rows % 4 === 0 && quads(o, cols === 1 ? 0 : o.colStride)) return 'col'
  return 'none'
}

const uniformMembers = {
  m: 'u32', n: 'u32', k: 'u32',
  a_offset: 'u32', a_row: 'u32', a_col: 'u32',
  b_offset: 'u32', b_row: 'u32', b_col: 'u32',
  batch1: 'u32', batch2: 'u32', count: 'u32',
  a0: 'u32', a1: 'u32', a2: 'u32', b0: 'u32', b1: 'u32', b2: 'u32',
  tiles_m: 'u32', tiles_n: 'u32',
} as const

/** Batch dimensions padded to three, outermost first. */
const three = (values: readonly number[], fill: number): [number, number, number] => {
  const padded = [...new Array<number>(3 - values.length).fill(fill), ...values]
  return padded as [number, number, number]
}

export interface Tile {
  readonly name: string
  readonly rows: number
  readonly cols: number
  readonly aType: 'f32' | 'vec4f'
  readonly bType: 'f32' | 'vec4f'
  readonly header?: string
  /** Declarations before `main`, and `main` itself up to its braces; may use `locate` and `finish`. */
  readonly body: string
  readonly workgroupBytes: number
  readonly accumulators: number
}

/** Completes a tier's text to a program: one workgroup computes a rows × cols tile of one batch entry. */
export function tileProgram(p: MatmulProblem, caps: Capabilities, tile: Tile): Program {
  const extra = p.epilogue?.bindings ?? []
  const bindings: Binding[] = [
    { name: 'a', type: tile.aType, access: 'read' },
    { name: 'b', type: tile.bType, access: 'read' },
    ...extra,
    { name: 'c', type: 'f32', access: 'read_write' },
  ]
  const tilesM = Math.ceil(p.m / tile.rows)
  const tilesN = Math.ceil(p.n / tile.cols)
  const [batch0, batch1, batch2] = three(p.batch, 1)
  const [a0, a1, a2] = three(p.a.batchStrides, 0)
  const [b0, b1, b2] = three(p.b.batchStrides, 0)
  const count = batch0 * batch1 * batch2
  const groups = tilesM * tilesN * count
  const y = Math.ceil(groups / caps.maxGrid)
  const wgsl = `${tile.header ?? ''}${declareBindings(bindings)}
${declareUniforms(uniformMembers, bindings.length)}
${p.epilogue?.wgsl ?? 'fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f { return acc; }'}
/** Batch entry, first row and column of a workgroup's tile, and where its operands start. */
struct Place { batch: u32, row: u32, col: u32, a: u32, b: u32, outside: bool }
fn locate(group: u32) -> Place {
  let tiles = u.tiles_m * u.tiles_n;
  let batch = group / tiles;
  let tile = group - batch * tiles;
  let row = tile / u.tiles_n;
  let i2 = batch % u.batch2;
  let i1 = batch / u.batch2 % u.batch1;
  let i0 = batch / (u.batch2 * u.batch1);
  return Place(batch, row * ${tile.rows}u, (tile - row * u.tiles_n) * ${tile.cols}u,
    u.a_offset + i0 * u.a0 + i1 * u.a1 + i2 * u.a2, u.b_offset + i0 * u.b0 + i1 * u.b1 + i2 * u.b2, batch >= u.count);
}
/** Stores four columns of a row, dropping what lies outside C. */
fn finish(acc: vec4f, batch: u32, row: u32, col: u32) {
  if (row >= u.m || col >= u.n) { return; }
  let v = epilogue(acc, batch, row, col);
  let at = (batch * u.m + row) * u.n + col;
  c[at] = v.x;
  if (col + 1u < u.n) { c[at + 1u] = v.y; }
  if (col + 2u < u.n) { c[at + 2u] = v.z; }
  if (col + 3u < u.n) { c[at + 3u] = v.w; }
}
${tile.body}
`
  const uniforms = packUniforms(uniformMembers, {
    m: p.m, n: p.n, k: p.k,
    a_offset: p.a.offset, a_row: p.a.rowStride, a_col: p.a.colStride,
    b_offset: p.b.offset, b_row: p.b.rowStride, b_col: p.b.colStride,
    batch1, batch2, count, a0, a1, a2, b0, b1, b2, tiles_m: tilesM, tiles_n: tilesN,
  })
  return {
    label: `matmul.${tile.name}`,
    wgsl,
    bindings,
    uniforms,
    grid: [Math.ceil(groups / y), y, 1],
    cost: matmulCost(p),
    workgroupBytes: tile.workgroupBytes,
    accumulators: tile.accumulators,
  }
}
