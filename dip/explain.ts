/**
 * Explanations as tensors, from one forward pass (Figs. 7 to 9): directional Grad-CAM, attention of every layer, the diffusion's
 * matrices, features. Nothing is computed before its value is asked for, so what is not read costs nothing.
 */
import type { Tensor } from '../engine/index.ts'
import { fakeProbability } from './classifier.ts'
import type { EncoderAttention } from './encoder.ts'
import { type DiffusionMatrices, diffusionMatrices } from './idm.ts'
import type { DIP, DipOutput } from './model.ts'
import { type DirectionalSaliency, saliencyOf } from './saliency.ts'

/** Attention probabilities of a layer, by the path of its parameters. */
export interface LayerAttention {
  /** `encoder.units.0.spatial.2`, `encoder.units.0.temporal.0`, `dica.layers.3.h`: rows attend to columns, `.v` the reverse. */
  readonly name: string
  /**
   * Spatial: [B, T, H, L²+1, L²+1], class token first. Temporal: [B, L², H, T, T]. DiCA: [B, H, L+1, L+1], class token first.
   * Rows are queries and sum to 1.
   */
  readonly weights: Tensor
}

export interface Explanation {
  /** Fake probability, [B]. */
  readonly score: Tensor
  /** Which rows and columns of each frame speak for a forgery, and their outer product. */
  readonly saliency: DirectionalSaliency
  readonly attention: readonly LayerAttention[]
  /** W, P, S, Sᵗ, Dist of the graph over the 2L directional features. */
  readonly diffusion: DiffusionMatrices
  /** F [B, 2E], what the triplets compare: for t-SNE. */
  readonly features: Tensor
  readonly output: DipOutput
}

const named = ({ name, weights }: EncoderAttention): LayerAttention => ({ name: `encoder.${name}`, weights })

/** clip [B, T, M, M, 3] in [0, 1]. */
export function explain(model: DIP, clip: Tensor): Explanation {
  const output = model.forward(clip, { attention: true })
  return {
    score: fakeProbability(output.logits),
    saliency: saliencyOf(model, output),
    attention: [
      ...(output.encoderAttention ?? []).map(named),
      ...(output.attention ?? []).flatMap(({ h, v }, i) => [
        { name: `dica.layers.${i}.h`, weights: h },
        { name: `dica.layers.${i}.v`, weights: v },
      ]),
    ],
    diffusion: diffusionMatrices(output, model.config.t),
    features: output.features,
    output,
  }
}
