/**
 * Batched matrix product with a fused tail: C[batch…, m, n] = epilogue(A[batch…, m, k] · B[batch…, k, n]), each of
 * A, B and C f32 or f16 in memory, products and sums f32.
 *
 * Bindings, in order: a, b (read), the epilogue's (read), c (read_write), the uniform block. a, b and c are read and
 * written as vec4s where the layout allows vec4 access (operand.ts says when). Sizes, strides and offsets are uniforms: one pipeline
 * a tier, layout and epilogue serves every shape.
 *
 * Tiers, each a file and each right at any size from 1 up:
 *   register    every invocation a 4–8 × 4–8 tile in registers, no workgroup memory, no barrier
 *   subgroup    one subgroup a workgroup, A handed round by broadcast
 *   tiled       workgroup-memory tiles of 128², 64² or 32², next slice prefetched into registers
 *   matrix      subgroup matrices, f16 operands only: where a program opts in and the adapter was seen to do them right
 *   split       k split over a workgroup's invocations and summed as a fixed tree: few outputs, long k
 *
 * Order on software adapters (lavapipe, 8 lanes, 2 cores): the subgroup tier leads, 5–8 times faster than the register tier, except
 * where n leaves most of a subgroup's columns empty; the barriers of the tiled and split tiers cost 2–5 times the register tier.
 *
 * Order on GPUs, by argument: a register tile of r × c outputs reads (r + c) values of workgroup memory for r·c
 * multiply-adds. 8 × 8 does 4 a value and 4 × 4 does 2, while a multiprocessor reads 32 values and does 128 multiply-adds a
 * clock: only 8 × 8 keeps the arithmetic busy. From memory, a t × t tile does t/4 flops a byte: 32 for 128², 8 for 32². So
 * the largest tile that still gives every multiprocessor of a discrete GPU (some 30 to 130) a workgroup leads; below that count
 * parallelism is worth more than reuse, and with k at least 256 the rest of it is found along k. A tile that would be
 * mostly outside C (n or m of a few) goes to the split or register tier.
 */
import { busyWorkgroups, type Capabilities, oneSubgroupSize, type Variant } from '../kernel.ts'
import { type MatrixShape, matrixFits, matrixProgram, matrixShapes } from './matrix.ts'
import { batchCount, type MatmulProblem } from './problem.ts'
import { type RegisterShape, registerProgram } from './register.ts'
import { splitBytes, splitProgram } from './splitk.ts'
import { type SubgroupRows, subgroupProgram } from './subgroup.ts'
import { type TiledShape, tiledBytes, tiledProgram, tiledShapes } from './tiled.ts'

export type { MatmulOperand, MatmulProblem } from './problem.ts'
export { matmulCost, matmulReference } from './reference.ts'

/** From this k on, splitting it pays for the reduction. */
const longK = 256

/** Every way to do the product on a device, the best guess first. Throws (in `program()`) beyond 3 batch dimensions. */
export function matmulVariants(problem: MatmulProblem, caps: Capabilities): Variant[] {
  const { m, n, k } = problem
  const register = (rows: RegisterShape['rows'], groups: RegisterShape['groups']): Variant => ({
    name: `register.${rows}x${4 * groups}`,
    program: () => registerProgram(problem, caps, { rows, groups }),
  })
  const subgroup = (rows: SubgroupRows): Variant[] =>
    oneSubgroupSize(caps) ? [{ name: `subgroup.${rows}`, program: () => subgroupProgram(problem, caps, rows) }] : []
  const fits = (bytes: number, invocations: number): boolean =>
    bytes <= caps.maxWorkgroupBytes && invocations <= caps.maxInvocations
  const tiled = (name: keyof typeof tiledShapes): Variant[] => {
    const shape: TiledShape = tiledShapes[name]
    const invocations = (shape.tileM * shape.tileN) / (shape.rows * shape.cols)
    return fits(tiledBytes(shape), invocations)
      ? [{ name: `tiled.${name}`, program: () => tiledProgram(problem, caps, shape) }]
      : []
  }
  const matrix = (name: keyof typeof matrixShapes): Variant[] => {
    const shape: MatrixShape = matrixShapes[name]
    return matrixFits(problem, caps, shape)
      ? [{ name: `matrix.${name}`, program: () => matrixProgram(problem, caps, shape) }]
      : []
  }
  const split = (side: 2 | 4): Variant[] =>
    fits(splitBytes, 256)
      ? [{ name: `split.${4 * side}x${4 * side}`, program: () => splitProgram(problem, caps, side) }]
      : []

  if (caps.software) {
    const registers = [register(8, 1), register(4, 2)]
    const broadcasts = oneSubgroupSize(caps) ? softwareRows(problem, caps).flatMap((rows) => subgroup(rows)) : []
    return n > 8 ? [...broadcasts, ...registers] : [...registers, ...broadcasts]
  }

  const workgroups = (tile: number): number => Math.ceil(m / tile) * Math.ceil(n / tile) * batchCount(problem)
  const rest = [register(4, 1), register(8, 1)]
  const splits = workgroups(16) < busyWorkgroups ? [...split(2), ...split(4)] : [...split(4), ...split(2)]
  if (Math.min(m, n) < 12) return k >= longK ? [...splits, ...rest, ...tiled('small')] : [...rest, ...tiled('small')]
  if (workgroups(128) >= busyWorkgroups)
    return [
      ...matrix('large'),
      ...matrix('small'),
      ...tiled('large'),
      ...tiled('medium'),
      ...subgroup(8),
      ...tiled('small'),
      ...rest,
    ]
  if (workgroups(64) >= busyWorkgroups)
    return [
      ...matrix('small'),
      ...matrix('large'),
      ...tiled('medium'),
      ...tiled('large'),
      ...subgroup(8),
      ...tiled('small'),
      ...rest,
    ]
  if (workgroups(32) >= busyWorkgroups || k < longK)
    return [...matrix('small'), ...tiled('small'), ...tiled('medium'), ...subgroup(8), ...subgroup(4), ...rest]
  return [...splits, ...matrix('small'), ...tiled('small'), ...tiled('medium'), ...subgroup(4), ...rest]
}

/** Rows of the subgroup tier on a CPU adapter, the best guess first. */
function softwareRows(problem: MatmulProblem, caps: Capabilities): SubgroupRows[] {
  const { m, n, k } = problem
  const flops = 2 * batchCount(problem) * m * n * k
  // More rows compile longer, 0.2 s for 8 and 0.8 s for 32: small products are not worth it, nor are SwiftShader's 4 lanes,
  // each of which would load twice as much.
  const candidates: SubgroupRows[] =
    flops < 8e6 || caps.subgroupMinSize < 8 ? [8] : flops < 4e7 ? [8, 16] : [8, 16, 24, 32]
  // Measured time of a tile with r rows, in rows' worth of arithmetic: its loads cost as much as 7.5 rows.
  const time = (rows: number): number => Math.ceil(m / rows) * (rows + 7.5)
  return candidates.sort((r, s) => time(r) - time(s)).slice(0, 2)
}
