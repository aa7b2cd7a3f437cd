/**
 * Directional Grad-CAM (Fig. 7; Selvaraju et al. 2017): which rows and columns speak for the class "fake". The weights are the
 * gradient of the fake logit with respect to Z, the activations Z itself; both are pooled like the model pools them.
 */
import { grad, type Tensor } from '../engine/index.ts'
import { patchesPerSide } from './config.ts'
import type { DIP, DipOutput } from './model.ts'

export interface DirectionalSaliency {
  /** [B, T, L] each, at least 0. */
  readonly rows: Tensor
  readonly columns: Tensor
  /** √(rows · columns), [B, T, L, L]. */
  readonly map: Tensor
  /** Diffusion distances of the pass, [B, 2L, 2L]. */
  readonly dist: Tensor
}

/** clip [B, T, M, M, 3] in [0, 1]. */
export const saliency = (model: DIP, clip: Tensor): DirectionalSaliency => saliencyOf(model, model.forward(clip))

/** From a forward pass that was recorded already. */
export function saliencyOf(
  model: Pick<DIP, 'config'>,
  { Z, logits, dist }: Pick<DipOutput, 'Z' | 'logits' | 'dist'>,
): DirectionalSaliency {
  const L = patchesPerSide(model.config)
  const fake = logits.select(1, 1).sub(logits.select(1, 0)).sum()
  const weights = grad(fake, Z) // [B, T, L²+1, E]
  const [b, t, , e] = Z.shape as [number, number, number, number]
  const tokens = (x: Tensor) => x.narrow(2, 1).reshape([b, t, L, L, e])
  const evidence = tokens(weights.mul(Z)).sum(-1).relu() // [B, T, L, L]
  const rows = evidence.mean(3)
  const columns = evidence.mean(2)
  const map = rows.unsqueeze(3).mul(columns.unsqueeze(2)).add(1e-20).sqrt()
  return { rows, columns, map, dist }
}
