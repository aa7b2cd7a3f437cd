/**
 * STE, the spatiotemporal encoder (section III-B): patches become tokens, units of spatial and temporal ViT blocks relate them
 * within a frame and along time.
 *
 * Block: Dosovitskiy et al. 2021 (pre-norm), divided attention after TimeSformer (Bertasius et al. 2021).
 */
import { arange, concat, nn, type Tensor, tensor, where } from '../engine/index.ts'
import { type DipConfig, encoderUnits, patchesPerSide } from './config.ts'

/** ImageNet's statistics, of RGB in [0, 1]. */
export const channelMean = [0.485, 0.456, 0.406] as const
export const channelStd = [0.229, 0.224, 0.225] as const

/** ViT block that attends within a frame or along time. */
export class Block extends nn.TransformerBlock {
  constructor({ E, H, r }: DipConfig) {
    super(E, H, r * E)
  }

  /** Attends over the L²+1 tokens of each frame: x ← x + Attn(LN1(x)); x ← x + MLP(LN2(x)). x [B, T, L²+1, E] */
  spatial(x: Tensor): Tensor {
    return this.call(x)
  }

  /**
   * Attends over the T tokens of each position; class tokens pass through unchanged. x [B, T, L²+1, E].
   * The row-wise layers run over the class rows as well (one in L²+1, dropped after): so every operand stays a view.
   */
  temporal(x: Tensor): Tensor {
    const tokens = x.shape[2]!
    const alongTime = (part: Tensor) => part.narrow(2, 1).permute([0, 2, 1, 3, 4])
    const qkv = this.attn.qkv.call(this.norm1.call(x)) // [B, T, L²+1, 3E]
    const [q, k, v] = nn.splitHeads(qkv, this.attn.heads).map(alongTime) as [Tensor, Tensor, Tensor] // 3 × [B, L², T, H, E/H]
    const attended = this.attn.proj.call(q.attention(k, v).flatten(3)) // [B, L², T, E]
    const update = attended.permute([0, 2, 1, 3]).pad([
      [0, 0],
      [0, 0],
      [1, 0],
      [0, 0],
    ]) // [B, T, L²+1, E], 0 for class
    const y = x.add(update)
    const isPatch = arange(tokens, undefined, 1, 'i32').greater(0).reshape([tokens, 1])
    return y.add(where(isPatch, this.mlp.call(this.norm2.call(y)), 0))
  }
}

/** Linear map of flattened patches; the weight has a convolution's shape, as in ViT checkpoints. */
export class PatchEmbed {
  readonly proj: { readonly weight: nn.Parameter; readonly bias: nn.Parameter }

  constructor(private readonly config: DipConfig) {
    const { E, P } = config
    this.proj = { weight: nn.truncatedNormal([E, 3, P, P]), bias: nn.filled([E], 0) }
  }

  /** RGB in [0, 1], [B, T, M, M, 3] → tokens in row-major order, [B, T, L², E]. */
  call(clip: Tensor): Tensor {
    const { T, P, E } = this.config
    const [B, L] = [clip.shape[0]!, patchesPerSide(this.config)]
    const normal = clip.sub(tensor([...channelMean])).div(tensor([...channelStd])) // [B, T, M, M, 3]
    const patches = normal
      .reshape([B, T, L, P, L, P, 3])
      .permute([0, 1, 2, 4, 6, 3, 5]) // [B, T, L, L, 3, P, P]: channel, row, column
      .reshape([B, T, L * L, 3 * P * P])
    return patches.matmul(this.proj.weight.reshape([E, 3 * P * P]).transpose()).add(this.proj.bias)
  }
}

export class Unit {
  readonly spatial: Block[]
  readonly temporal: Block[]

  constructor(config: DipConfig, blocks: { spatial: number; temporal: number }) {
    this.spatial = Array.from({ length: blocks.spatial }, () => new Block(config))
    this.temporal = Array.from({ length: blocks.temporal }, () => new Block(config))
  }

  call(x: Tensor): Tensor {
    const within = this.spatial.reduce((y, block) => block.spatial(y), x)
    return this.temporal.reduce((y, block) => block.temporal(y), within)
  }
}

export class Encoder {
  readonly units: Unit[]
  readonly norm: nn.LayerNorm

  constructor(config: DipConfig) {
    this.units = encoderUnits(config).map((blocks) => new Unit(config, blocks))
    this.norm = nn.layerNorm(config.E)
  }

  /** Embedded tokens → Z; both [B, T, L²+1, E]. */
  call(x: Tensor): Tensor {
    return this.norm.call(this.units.reduce((y, unit) => unit.call(y), x))
  }
}

/** Puts the class token before every frame's tokens and adds positions. tokens [B, T, L², E] → [B, T, L²+1, E] */
export function embed(tokens: Tensor, classToken: Tensor, spatial: Tensor, temporal: Tensor): Tensor {
  const [B, T, , E] = tokens.shape as [number, number, number, number]
  const x = concat([classToken.expand([B, T, 1, E]), tokens], 2) // [B, T, L²+1, E]
  return x.add(spatial).add(temporal.reshape([T, 1, E]))
}
