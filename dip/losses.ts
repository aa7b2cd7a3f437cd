/**
 * Losses (section III-E): L = L_cce + L_sti + L_da. Labels are host data (0 real, 1 fake), so which clips are anchors is known
 * when the graph is recorded.
 */
import { full, type Tensor, tensor } from '../engine/index.ts'
import type { DipConfig } from './config.ts'
import { positive } from './idm.ts'

export type Labels = ArrayLike<number>

/** What L_cce and L_da read of a forward pass. */
export interface LossInputs {
  /** [B, 2] each. */
  readonly logits: Tensor
  readonly logitsH: Tensor
  readonly logitsV: Tensor
  /** F [B, 2E]. */
  readonly features: Tensor
  /** The IDM's input, [B, L, E] each. */
  readonly zh: Tensor
  readonly zv: Tensor
  /** [B, 2L, 2L] */
  readonly dist: Tensor
}

/** Features of the triplets, [A, 2E] each. Anchors default to the batch's clips of label 0, in order. */
export interface TripletFeatures {
  readonly anchor?: Tensor
  readonly positive: Tensor
  readonly negative: Tensor
}

export interface Losses {
  readonly cce: Tensor
  readonly sti: Tensor
  readonly da: Tensor
  readonly total: Tensor
}

function checkLabels(labels: Labels, batch: number): void {
  if (labels.length !== batch) throw new RangeError(`loss: ${labels.length} labels for ${batch} clips`)
  for (let i = 0; i < batch; i++)
    if (labels[i] !== 0 && labels[i] !== 1) throw new RangeError(`loss: label ${i} must be 0 or 1, got ${labels[i]}`)
}

/** Cross-direction classification, CE(logits) + λ_h CE(logits_h) + λ_v CE(logits_v), mean over the batch. */
export function cceLoss(
  { logits, logitsH, logitsV }: Pick<LossInputs, 'logits' | 'logitsH' | 'logitsV'>,
  labels: Labels,
  { lambda_h, lambda_v }: Pick<DipConfig, 'lambda_h' | 'lambda_v'>,
): Tensor {
  checkLabels(labels, logits.shape[0]!)
  const y = tensor(Int32Array.from(labels))
  return logits.crossEntropy(y).add(logitsH.crossEntropy(y).mul(lambda_h)).add(logitsV.crossEntropy(y).mul(lambda_v))
}

/** Rows of F [B, 2E] whose label is 0, in order; undefined when there are none. */
export function anchorFeatures(features: Tensor, labels: Labels): Tensor | undefined {
  checkLabels(labels, features.shape[0]!)
  const anchors = Array.from(labels).flatMap((label, i) => (label === 0 ? [i] : []))
  const [first, last] = [anchors[0], anchors.at(-1)]
  if (first === undefined || last === undefined) return undefined
  const consecutive = last - first + 1 === anchors.length
  return consecutive ? features.narrow(0, first, last + 1) : features.take(tensor(Int32Array.from(anchors)))
}

/** Spatiotemporal invariance: mean of max(d + cos(anchor, negative) − cos(anchor, positive), 0); [A, 2E] each. */
export function stiLoss(anchor: Tensor, positive: Tensor, negative: Tensor, d: number): Tensor {
  for (const [name, x] of Object.entries({ positive, negative }))
    if (x.shape.join() !== anchor.shape.join())
      throw new RangeError(`stiLoss: ${name} is [${x.shape}], the anchors are [${anchor.shape}]`)
  const margin = anchor.cosineSimilarity(negative).sub(anchor.cosineSimilarity(positive)).add(d) // [A]
  return margin.maximum(0).mean()
}

/** cos(z_i, z_j) of the rows of z [B, L, E]: [B, L, L]. */
export function pairwiseCosine(z: Tensor): Tensor {
  const norms = z.norm(-1, true) // [B, L, 1]
  return z.matmul(z.transpose()).div(norms.mul(norms.transpose()).maximum(1e-8))
}

/**
 * Diffusion alignment, Eq. 10: Σ over d of ((cos(Z_d[i], Z_d[j]) + 1)/2 − exp(−τ₂ Dist_dd(i, j)))², mean over the batch and
 * mean (default) or sum over i, j. The paper calls the distances pseudo labels, so no gradient enters them unless asked.
 */
export function daLoss(
  { zh, zv, dist }: Pick<LossInputs, 'zh' | 'zv' | 'dist'>,
  logTau: Tensor,
  { reduce, detach }: Pick<DipConfig['da'], 'reduce' | 'detach'>,
): Tensor {
  const L = zh.shape[1]!
  const target = detach === 'dist' ? dist.detach() : dist
  const tau = positive(logTau)
  const misfit = (z: Tensor, start: number): Tensor => {
    const block = target.slice([null, [start, start + L], [start, start + L]]) // Dist_dd, [B, L, L]
    const affinity = block.mul(tau).neg().exp()
    const squares = pairwiseCosine(z).add(1).mul(0.5).sub(affinity).square()
    return (reduce === 'sum' ? squares.sum([1, 2]) : squares.mean([1, 2])).mean()
  }
  return misfit(zh, 0).add(misfit(zv, L))
}

/** All losses of a batch. Without triplets L_sti is 0; with `da.enabled: false` L_da is 0. */
export function computeLosses(
  output: LossInputs,
  labels: Labels,
  triplets: TripletFeatures | undefined,
  logTau2: Tensor,
  config: DipConfig,
): Losses {
  const none = full([], 0)
  const cce = cceLoss(output, labels, config)
  const anchor = triplets && (triplets.anchor ?? anchorFeatures(output.features, labels))
  const sti = anchor ? stiLoss(anchor, triplets.positive.detach(), triplets.negative.detach(), config.d_sti) : none
  const da = config.da.enabled ? daLoss(output, logTau2, config.da) : none
  return { cce, sti, da, total: cce.add(sti).add(da) }
}
