/** Graphs of neighbouring nodes and diffusion on them, each direction one launch where a kernel holds the graph. */
import { affinitiesFit } from '../kernels/diffusion/affinities.ts'
import { diffusionLimit } from '../kernels/diffusion/diffusion.ts'
import { autocast } from './autocast.ts'
import * as b from './ops/build.ts'
import { plainAffinities, plainDistances } from './ops/graphs.ts'
import { formatShape, ShapeError } from './shape.ts'
import { matrixPower } from './spectral.ts'
import { Tensor } from './tensor.ts'

/**
 * W(i, j) = exp(−μ ‖f_i − f_j‖²) for neighbours, 0 elsewhere: [B, 2L, 2L], f32, symmetric. Features [B, 2L, E] are two directions of
 * L positions; neighbours are those at most `half` positions apart, whichever their directions. ln μ [] is taken between −80 and 80.
 * Finite for all finite features.
 *
 * @throws ShapeError when the shapes are others
 */
export function neighbourAffinities(features: Tensor, logMu: Tensor, half: number): Tensor<'f32'> {
  const [, nodes] = features.shape
  if (features.rank !== 3 || !nodes || nodes % 2 || logMu.rank || !(Number.isInteger(half) && half >= 0))
    throw new ShapeError(
      `neighbourAffinities: needs features [B, 2L, E], log μ [] and a whole half ≥ 0, got ${formatShape(features.shape)}, ${formatShape(logMu.shape)} and ${half}`,
    )
  const log = b.cast(logMu.node, 'f32')
  if (affinitiesFit(nodes / 2, half)) return new Tensor(b.record('affinities', [features.node, log], { half }))
  return new Tensor(plainAffinities(features.node, log, half).weight)
}

/**
 * Squared diffusion distances [B, n, n] after t steps of the walk D⁻¹W; W [B, n, n] symmetric with row sums D above 0, whole t ≥ 1.
 * S = D^(−1/2) W D^(−1/2) without its stationary part is raised to the power t by `power`, by default by repeated squaring: then
 * everything is one launch, as is the gradient, for up to 64 nodes. Of the gradient of W only the symmetric part is
 * defined.
 *
 * @throws ShapeError when W is no batch of square matrices or t no whole number ≥ 1
 */
export function walkDistances(W: Tensor, t: number, power?: (walk: Tensor, t: number) => Tensor): Tensor<'f32'> {
  const [, n] = W.shape
  if (W.rank !== 3 || n !== W.shape[2] || !(Number.isInteger(t) && t >= 1))
    throw new ShapeError(`walkDistances: needs W [B, n, n] and a whole t ≥ 1, got ${formatShape(W.shape)} and ${t}`)
  const w = b.cast(W.node, 'f32')
  if (!power && n! <= diffusionLimit) return new Tensor(b.record('diffusion', [w], { steps: t }))
  const raise = power ?? matrixPower
  return autocast('f32', () => new Tensor(plainDistances(w, (walk) => raise(new Tensor(walk), t).node)))
}
