/**
 * DIP: diffusion learning of inconsistency pattern for general deepfake detection (Nie et al.). Start reading here; sections
 * and equations are the paper's, and the parts stand in its order:
 *
 *   encoder.ts     III-B    clip → tokens Z
 *   pooling.ts     III-B    Z → rows Z_h, columns Z_v
 *   idm.ts         III-C.1  Z_h, Z_v → graph W, diffusion distances Dist
 *   dica.ts        III-C.2  cross attention of the two streams, biased by Dist
 *   classifier.ts  III-D    class tokens → logits
 *   losses.ts      III-E    L_cce + L_sti + L_da
 *
 * Paths of fields are the names in a checkpoint. Nothing is computed before a value is asked for.
 */
import { concat, formatShape, nn, ShapeError, type Tensor } from '../engine/index.ts'
import { type Classification, classify, fakeProbability } from './classifier.ts'
import { type DipConfig, makeConfig, type PartialConfig, type PresetName, patchesPerSide } from './config.ts'
import { type CrossAttention, Dica } from './dica.ts'
import { Encoder, type EncoderAttention, embed, PatchEmbed } from './encoder.ts'
import { type Diffusion, Idm } from './idm.ts'
import { computeLosses, type Labels, type Losses, type TripletFeatures } from './losses.ts'
import { type Directions, poolDirections } from './pooling.ts'

export interface DipOutput extends Classification, Directions, Diffusion {
  /** [B, T, L²+1, E], class token first. */
  readonly Z: Tensor
  /** Final streams after their LayerNorm, [B, L+1, E], class token first. */
  readonly Rh: Tensor
  readonly Rv: Tensor
  /** Cross attention of every DiCA layer, and attention of every encoder block; only when asked for. */
  readonly attention?: readonly CrossAttention[]
  readonly encoderAttention?: readonly EncoderAttention[]
}

export interface ForwardOptions {
  /** Also gives the attention probabilities of every layer. */
  readonly attention?: boolean
}

/** What a DIP is made of where it is not the paper's: any object; the paths of its parameters are their names in a checkpoint. */
export interface DipParts {
  /** [B, T, L²+1, E] → Z, the same shape. */
  readonly encoder: { call(x: Tensor, seen?: EncoderAttention[]): Tensor }
  /** Z_h, Z_v [B, L, E] → W and Dist, [B, 2L, 2L] each. */
  readonly idm: { call(zh: Tensor, zv: Tensor): Diffusion }
  /** S_h, S_v [B, L+1, E], class token first, and Dist (none where idm.enabled is false) → the two streams after mixing. */
  readonly dica: { call(Sh: Tensor, Sv: Tensor, dist: Tensor | undefined, seen?: CrossAttention[]): [Tensor, Tensor] }
}

export class DIP {
  readonly patch_embed: PatchEmbed
  readonly cls_token: nn.Parameter
  readonly pos_embed_spatial: nn.Parameter
  readonly pos_embed_temporal: nn.Parameter
  readonly encoder: DipParts['encoder']
  readonly idm: DipParts['idm']
  readonly dica: DipParts['dica']
  readonly norm_h: nn.LayerNorm
  readonly norm_v: nn.LayerNorm
  readonly head_h: nn.Linear
  readonly head_v: nn.Linear
  readonly head: nn.Linear
  /** ln τ₂ of L_da; at first τ₂ = 3. */
  readonly loss: { readonly log_tau2: nn.Parameter }

  /** @param parts what to put in place of the paper's encoder, IDM or DiCA */
  constructor(
    readonly config: DipConfig,
    parts: Partial<DipParts> = {},
  ) {
    const { T, E } = config
    const L = patchesPerSide(config)
    this.patch_embed = new PatchEmbed(config)
    this.cls_token = nn.truncatedNormal([1, 1, E])
    this.pos_embed_spatial = nn.truncatedNormal([1, L * L + 1, E])
    this.pos_embed_temporal = nn.truncatedNormal([1, T, E])
    this.encoder = parts.encoder ?? new Encoder(config)
    this.idm = parts.idm ?? new Idm(config)
    this.dica = parts.dica ?? new Dica(config)
    this.norm_h = nn.layerNorm(E)
    this.norm_v = nn.layerNorm(E)
    this.head_h = nn.linear(E, 2)
    this.head_v = nn.linear(E, 2)
    this.head = nn.linear(2 * E, 2)
    this.loss = { log_tau2: nn.filled([], Math.log(3)) }
  }

  /** A clip is RGB in [0, 1], [B, T, M, M, 3]. @throws ShapeError for any other shape. */
  forward(clip: Tensor, options: ForwardOptions = {}): DipOutput {
    const { T, M, pool, idm } = this.config
    const B = clip.shape[0]
    if (clip.rank !== 5 || clip.shape.slice(1).join() !== [T, M, M, 3].join())
      throw new ShapeError(`DIP: a clip must be [B, ${T}, ${M}, ${M}, 3], got ${formatShape(clip.shape)}`)
    if (!B) throw new ShapeError('DIP: a batch needs at least one clip')

    // III-B
    const tokens = this.patch_embed.call(clip) // [B, T, L², E]
    const x = embed(tokens, this.cls_token, this.pos_embed_spatial, this.pos_embed_temporal) // [B, T, L²+1, E]
    const blocks: EncoderAttention[] | undefined = options.attention ? [] : undefined
    const Z = this.encoder.call(x, blocks) // [B, T, L²+1, E]
    const { zh, zv, zcls } = poolDirections(Z, pool) // [B, L, E], [B, L, E], [B, 1, E]

    // III-C.1
    const { W, dist } = this.idm.call(zh, zv) // [B, 2L, 2L] each

    // III-C.2
    const seen: CrossAttention[] | undefined = options.attention ? [] : undefined
    const Sh = concat([zcls, zh], 1) // [B, L+1, E]
    const Sv = concat([zcls, zv], 1)
    const [Th, Tv] = this.dica.call(Sh, Sv, idm.enabled ? dist : undefined, seen) // [B, L+1, E] each

    // III-D
    const Rh = this.norm_h.call(Th)
    const Rv = this.norm_v.call(Tv)
    return {
      ...classify(Rh, Rv, this),
      Z,
      zh,
      zv,
      zcls,
      W,
      dist,
      Rh,
      Rv,
      ...(seen && { attention: seen, encoderAttention: blocks! }),
    }
  }

  /** Fake probability of each clip, [B]. */
  score(clip: Tensor): Tensor {
    return fakeProbability(this.forward(clip).logits)
  }

  /** III-E: losses of a forward pass; `labels` one a clip, 0 real and 1 fake. */
  losses(output: DipOutput, labels: Labels, triplets?: TripletFeatures): Losses {
    return computeLosses(output, labels, triplets, this.loss.log_tau2, this.config)
  }
}

/** Whether weight decay applies to a parameter: to matrices, not to biases, norms, tokens, positions or the log-scalars (IV-A). */
export const decays = (name: string, shape: readonly number[]): boolean => name.endsWith('.weight') && shape.length >= 2

/** A model with fresh parameters; `nn.seedInit` decides which. */
export const createDip = (config: PartialConfig & { preset?: PresetName } = {}): DIP => new DIP(makeConfig(config))
