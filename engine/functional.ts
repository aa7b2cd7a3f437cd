/** Functions of several tensors that are compositions of the ops: distances, directional pooling; and those of neighbouring files. */
import { autocast } from './autocast.ts'
import * as b from './ops/build.ts'
import { formatShape, ShapeError } from './shape.ts'
import { Tensor } from './tensor.ts'

export { einsum } from './einsum.ts'
export * from './sampling.ts'

/**
 * ‖x_i − y_j‖² of the rows of x [..., n, d] and y [..., m, d]: [..., n, m]. Computed as ‖x‖² + ‖y‖² − 2 x·y, not below 0; rows
 * closer than about 10⁻³ of their length lose digits.
 */
export function pairwiseSquaredDistances(x: Tensor, y: Tensor = x): Tensor {
  if (x.rank < 2 || y.rank < 2 || x.shape.at(-1) !== y.shape.at(-1))
    throw new ShapeError(
      `pairwiseSquaredDistances: needs [..., n, d] and [..., m, d], got ${formatShape(x.shape)} and ${formatShape(y.shape)}`,
    )
  const squares = x.square().sum(-1, true).add(y.square().sum(-1, true).transpose())
  // Differences of large numbers: autocast would leave little of them.
  return squares.sub(autocast('f32', () => x.matmul(y.transpose())).mul(2)).maximum(0)
}

/**
 * x, but what is computed from it is planned behind `done`, whose values it does not need: parts of a batch one after the other
 * rather than all forward passes before the first backward pass, which saves their memory. No value changes.
 */
export const after = (x: Tensor, done: readonly Tensor[]): Tensor =>
  new Tensor(done.reduce((node, d) => b.record('after', [node, d.node], {}), x.node))

export interface DirectionalPool {
  /** [B, side, E]: over frames and columns of each row. */
  readonly rows: Tensor
  /** [B, side, E]: over frames and rows of each column. */
  readonly columns: Tensor
  /** [B, 1, E]: mean of the class tokens over frames. */
  readonly cls: Tensor
}

/** Pools z [B, T, 1 + side², E], class token first, over (frame, column) and (frame, row) in one pass. First-order gradient. */
export function directionalPool(z: Tensor, side: number, mode: 'mean' | 'max' = 'mean'): DirectionalPool {
  const node = b.record('directionalPool', [z.node], { mode, side })
  return { rows: new Tensor(node), columns: new Tensor(b.pick(node, 1)), cls: new Tensor(b.pick(node, 2)) }
}
