/**
 * STE, the spatiotemporal encoder (section III-B): patches become tokens, units of spatial and temporal ViT blocks relate them
 * within a frame and along time.
 *
 * Block: Dosovitskiy et al. 2021 (pre-norm), divided attention after TimeSformer (Bertasius et al. 2021).
 */
import { arange, checkpoint, concat, nn, type Tensor, tensor, where } from '../engine/index.ts'
import { type DipConfig, encoderUnits, patchesPerSide } from './config.ts'

/** ImageNet's statistics, of RGB in [0, 1]. */
export const channelMean = [0.485, 0.456, 0.406] as const
export const channelStd = [0.229, 0.224, 0.225] as const

/** Attention probabilities of one encoder block. */
export interface EncoderAttention {
  /** `units.0.spatial.2` */
  readonly name: string
  /** Spatial [B, T, H, L²+1, L²+1], class token first; temporal [B, L², H, T, T]. */
  readonly weights: Tensor
}

/** softmax(q kᵀ/√d + bias) written out, for explanations: q, k [..., n, H, d] → [..., H, n, n]. */
export function probabilities(q: Tensor, k: Tensor, bias?: Tensor): Tensor {
  const scores = q
    .transpose(-3, -2)
    .matmul(k.transpose(-3, -2).transpose())
    .div(Math.sqrt(q.shape.at(-1)!))
  return (bias ? scores.add(bias) : scores).softmax()
}

type Heads = [q: Tensor, k: Tensor, v: Tensor]

const alongTime = (part: Tensor): Tensor => part.narrow(2, 1).permute([0, 2, 1, 3, 4])

export type Kind = 'spatial' | 'temporal'

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
    const [q, k, v] = this.heads(x).map(alongTime) as Heads // 3 × [B, L², T, H, E/H]
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

  /** q, k, v of x [B, T, L²+1, E], each [B, T, L²+1, H, E/H]. */
  private heads(x: Tensor): Heads {
    return nn.splitHeads(this.attn.qkv.call(this.norm1.call(x)), this.attn.heads)
  }

  /** Attention probabilities over the block's input; see EncoderAttention. */
  attention(x: Tensor, kind: Kind): Tensor {
    const [q, k] = kind === 'spatial' ? this.heads(x) : (this.heads(x).map(alongTime) as Heads)
    return probabilities(q, k)
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

  constructor(
    private readonly config: DipConfig,
    blocks: { spatial: number; temporal: number },
  ) {
    this.spatial = Array.from({ length: blocks.spatial }, () => new Block(config))
    this.temporal = Array.from({ length: blocks.temporal }, () => new Block(config))
  }

  /** The spatial blocks, then the temporal ones, each computed again for its gradient if so configured. `look` sees their inputs. */
  call(x: Tensor, look?: (kind: Kind, index: number, block: Block, x: Tensor) => void): Tensor {
    const through = (kind: Kind, from: Tensor): Tensor =>
      this[kind].reduce((y, block, i) => {
        look?.(kind, i, block, y)
        const run = (h: Tensor) => block[kind](h)
        return (this.config.encoder.checkpoint ? checkpoint(run) : run)(y)
      }, from)
    return through('temporal', through('spatial', x))
  }
}

export class Encoder {
  readonly units: Unit[]
  readonly norm: nn.LayerNorm

  constructor(config: DipConfig) {
    this.units = encoderUnits(config).map((blocks) => new Unit(config, blocks))
    this.norm = nn.layerNorm(config.E)
  }

  /** Embedded tokens → Z; both [B, T, L²+1, E]. `seen` gets every block's attention where it is wanted. */
  call(x: Tensor, seen?: EncoderAttention[]): Tensor {
    const units = this.units.reduce(
      (y, unit, u) =>
        unit.call(
          y,
          seen &&
            ((kind, i, block, input) =>
              void seen.push({ name: `units.${u}.${kind}.${i}`, weights: block.attention(input, kind) })),
        ),
      x,
    )
    return this.norm.call(units)
  }
}

/** Puts the class token before every frame's tokens and adds positions. tokens [B, T, L², E] → [B, T, L²+1, E] */
export function embed(tokens: Tensor, classToken: Tensor, spatial: Tensor, temporal: Tensor): Tensor {
  const [B, T, , E] = tokens.shape as [number, number, number, number]
  const x = concat([classToken.expand([B, T, 1, E]), tokens], 2) // [B, T, L²+1, E]
  return x.add(spatial).add(temporal.reshape([T, 1, E]))
}
