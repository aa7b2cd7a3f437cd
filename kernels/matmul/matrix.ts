/**
 * Subgroup matrices: A and B in half precision, products summed in f32 by the units that vendors call tensor cores, matrix cores or XMX.
 * C[m, n] as in matmul.ts; the values are those of the other tiers, which also widen halves to f32 and sum in f32.
 *
 * WGSL's subgroup matrices are experimental (Dawn's `chromium-experimental-subgroup-matrix`, behind `allow_unsafe_apis`), so a program
 * opts in (`openDevice({ subgroupMatrix: true })`), and the engine takes the tier only once a product computed on the adapter was
 * right. Operands that are stored as f32 never come here: rounding them to half precision is not this kernel's to decide.
 *
 * A workgroup computes tileM × tileN outputs over slices of 32 values of k; each of its subgroups computes partM × partN of them as whole
 * matrices of M × N (the adapter's: 16 × 16 × 16 on NVIDIA, 8 × 16 × 16 on Intel, 8 × 8 × 8 on Apple). Slices pass through workgroup
 * memory, padded with zeros beyond k, because a matrix cannot be loaded in part. They lie there as they do in memory, so that loads
 * and stores are vec4s: along k (tile[outer][k]) or across it (tile[k][outer]); loading a matrix takes either as row- or column-major.
 * Rows are 16 bytes longer than the slice, which spreads them over the banks and keeps each aligned. Results leave through M × N
 * floats of workgroup memory a subgroup, for the epilogue to see them by row and column.
 *
 * RTX 3090 class, 142 TFLOP/s f16 with half that rate into f32 sums, 71 TFLOP/s, twice the f32 peak: per multiprocessor and clock 256
 * multiply-adds against 128 B of workgroup memory. A subgroup's 64 × 32 part reads 96 halves for 2048 multiply-adds, 10.7 a byte, so
 * that 256 of them take 24 B a clock: compute-bound; at 32 × 32, 8 a byte, still. From memory a 128 × 128 tile does 64 flops a
 * byte, 64 × 64 does 32: with 936 GB/s that is 60 and 30 TFLOP/s without any help of the L2 cache, hence the large tile where there
 * are enough of them. Sums are 64 (32) registers a thread, halves 12 more: 8 subgroups and 28.7 kB (4 and 14.3 kB) a workgroup leave room for
 * three to four workgroups on a multiprocessor.
 */
import { type Capabilities, oneSubgroupSize, type Program, type SubgroupMatrix } from '../kernel.ts'
import * as operand from './operand.ts'
import type { MatmulProblem } from './problem.ts'

export interface MatrixShape {
  readonly tileM: number
  readonly tileN: number
  /** Of one subgroup. */
  readonly partM: number
  readonly partN: number
}

export const matrixShapes = {
  large: { tileM: 128, tileN: 128, partM: 64, partN: 32 },
  small: { tileM: 64, tileN: 64, partM: 32, partN: 32 },
} as const satisfies Record<string, MatrixShape>

/** Values of k a slice holds. */
const depth = 32
/** Halves between the rows of a tile beyond its width. */
const padding = 8

const subgroupsOf = ({ tileM, tileN, partM, partN }: MatrixShape): number => (tileM / partM) * (tileN / partN)

/** Whether a device's matrices can be used at all: each side must divide the parts and slices above. */
export const matrixUsable = (matrix: SubgroupMatrix): boolean =>
  [matrix.m, matrix.n, matrix.k].every((size) => size >= 4 && 32 % size === 0)

export function matrixBytes(shape: MatrixShape, { m, n }: SubgroupMatrix): number {
  const tile = (outer: number): number => Math.max(outer * (depth + padding), depth * (outer + padding))
  return 2 * (tile(shape.tileM) + tile(shape.tileN)) + 4 * subgroupsOf(shape) * m * n
}

/** Whether the tier can do a problem on a device: both operands halves, the feature there and proven, one subgroup size, enough memory. */
export function matrixFits(problem: MatmulProblem, caps: Capabilities, shape: MatrixShape): boolean {
  const { subgroupMatrix: matrix, subgroupMinSize: lanes } = caps
  return (
    matrix !== undefined &&
    matrixUsable(matrix) &&
    caps.f16 &&
    problem.a.type === 'f16' &&
    problem.b.type === 'f16' &&
    oneSubgroupSize(caps) &&
    lanes * subgroupsOf(shape) <= caps.maxInvocations &&
    matrixBytes(shape, matrix) <= caps.maxWorkgroupBytes
  )
}

/** @throws Error on a device without `subgroupMatrix` */
export function matrixProgram(problem: MatmulProblem, caps: Capabilities, shape: MatrixShape): Program {
  const { subgroupMatrix: matrix, subgroupMinSize: lanes } = caps
  if (!matrix) throw new Error('matmul: this device has no subgroup matrices')
  const { tileM, tileN, partM, partN } = shape
  const { lines } = operand
  const { a, b } = operand.sidesOf(problem, caps)
  const threads = lanes * subgroupsOf(shape)
  const [rows, cols] = [partM / matrix.m, partN / matrix.n]
  const tiles = { a: tileOf(a, problem, tileM, threads), b: tileOf(b, problem, tileN, threads) }
  const types = {
    a: `subgroup_matrix_left<f16, ${matrix.k}, ${matrix.m}>`,
    b: `subgroup_matrix_right<f16, ${matrix.n}, ${matrix.k}>`,
    sum: `subgroup_matrix_result<f32, ${matrix.n}, ${matrix.m}>`,
  }
  const each = (line: (r: number, c: number) => string): string => lines(rows, (r) => lines(cols, (c) => line(r, c)))
  const outputs = matrix.m * matrix.n

  const main = `var<workgroup> aTile: array<f16, ${tiles.a.length}>;
var<workgroup> bTile: array<f16, ${tiles.b.length}>;
var<workgroup> results: array<f32, ${subgroupsOf(shape) * outputs}>;

@compute @workgroup_size(${threads})
fn main(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lid: u32,
  @builtin(subgroup_id) part: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tile = wid.x + wid.y * workgroups.x;
  if (tile >= u.tilesM * u.tilesN * u.batches) { return; }
${operand.locateTile}
  let partRow = part / ${tileN / partN}u * ${partM}u;
  let partCol = part % ${tileN / partN}u * ${partN}u;
${each((r, c) => `  var sum${r}_${c} = ${types.sum}();`)}
  for (var start = 0u; start < u.k; start += ${depth}u) {
${tiles.a.fill(`tileRow * ${tileM}u`)}
${tiles.b.fill(`tileCol * ${tileN}u`)}
    workgroupBarrier();
    for (var step = 0u; step < ${depth}u; step += ${matrix.k}u) {
${lines(rows, (r) => `      let a${r} = ${tiles.a.matrix(types.a, `partRow + ${r * matrix.m}u`, 'step')};`)}
${lines(cols, (c) => `      let b${c} = ${tiles.b.matrix(types.b, `partCol + ${c * matrix.n}u`, 'step')};`)}
${each((r, c) => `      sum${r}_${c} = subgroupMatrixMultiplyAccumulate(a${r}, b${c}, sum${r}_${c});`)}
    }
    workgroupBarrier();
  }
  let mine = part * ${outputs}u;
${each(
  (r, c) => `  subgroupMatrixStore<row_major>(&results, mine, sum${r}_${c}, ${matrix.n}u);
  workgroupBarrier();
  write(mine, lane, batch, tileRow * ${tileM}u + partRow + ${r * matrix.m}u, tileCol * ${tileN}u + partCol + ${c * matrix.n}u);
  workgroupBarrier();`,
)}
}

/** One matrix of results to C, through the epilogue. */
fn write(first: u32, lane: u32, batch: u32, row: u32, col: u32) {
  for (var i = lane * 4u; i < ${outputs}u; i += ${4 * lanes}u) {
    let at = first + i;
    let four = vec4f(results[at], results[at + 1u], results[at + 2u], results[at + 3u]);
    store(four, batch, row + i / ${matrix.n}u, col + i % ${matrix.n}u);
  }
}
`
  return operand.assemble(problem, caps, {
    label: `matmul.matrix.${tileM}x${tileN}.${matrix.m}x${matrix.n}x${matrix.k}.${operand.sidesLabel(a, b)}`,
    a,
    b,
    tileM,
    tileN,
    tilesPerWorkgroup: 1,
    enable: 'enable subgroups;\nenable chromium_experimental_subgroup_matrix;\n',
    main,
    workgroupBytes: matrixBytes(shape, matrix),
    accumulators: (partM * partN) / lanes,
  })
}

interface Tile {
  /** Halves. */
  readonly length: number
  /** Loads the slice from k = `start` on; `first` is the tile's first row of A (column of B). */
  fill(first: string): string
  /** Loads the matrix whose first row of A (column of B) is `outer` and first k is `k`, both within the tile. */
  matrix(type: string, outer: string, k: string): string
}

/** One operand's slice in workgroup memory. */
function tileOf(side: operand.Side, problem: MatmulProblem, outerSize: number, threads: number): Tile {
  const { name, access, array } = side
  const alongK = operand.runsAlongK(problem, side)
  const width = alongK ? depth : outerSize
  const stride = width + padding
  const each = access === 'scalar' ? 1 : 4
  const count = (outerSize * depth) / each
  const one = operand.outerStride(side)
  const last = `${operand.extent(side)} - ${access === 'across' ? '4u' : '1u'}`
  const base = `${name}Matrix + min(outer, ${last}) * ${access === 'across' ? '1u' : one}`
  const at = `${base} + k * ${access === 'alongK' ? '1u' : operand.kStride(side)}`
  const element = array.load(access === 'scalar' ? at : `(${at}) >> 2u`)
  const keep =
    each === 1
      ? `${name}Tile[to] = f16(value);`
      : [0, 1, 2, 3].map((i) => `${name}Tile[to + ${i}u] = f16(value[${i}]);`).join(' ')
  const [slow, fast] = [`i / ${width / each}u`, `i % ${width / each}u * ${each}u`]
  return {
    length: (alongK ? outerSize : depth) * stride,
    fill: (first) => `    for (var i = lid; i < ${count}u; i += ${threads}u) {
      let outer = ${first} + ${alongK ? slow : fast};
      let k = start + ${alongK ? fast : slow};
      var value = ${each === 1 ? '0.0' : 'vec4f()'};
      if (k < u.k) { value = ${element}; }
      let to = ${slow} * ${stride}u + ${fast};
      ${keep}
    }`,
    matrix: (type, outer, k) => {
      const rowMajor = alongK === (name === 'a')
      const offset = alongK ? `(${outer}) * ${stride}u + ${k}` : `${k} * ${stride}u + ${outer}`
      return `subgroupMatrixLoad<${type}, ${rowMajor ? 'row_major' : 'col_major'}>(&${name}Tile, ${offset}, ${stride}u)`
    },
  }
}
