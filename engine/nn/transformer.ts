/**
 * The pre-norm transformer block of ViT (Dosovitskiy et al. 2021; timm's parameter names, so that its checkpoints fit):
 * x ← x + proj(attention(qkv(LN₁(x)))); x ← x + fc2(GELU(fc1(LN₂(x)))).
 */
import { formatShape, ShapeError } from '../shape.ts'
import type { AttendOptions, Tensor } from '../tensor.ts'
import { LayerNorm, Linear } from './layers.ts'

/** fc2(GELU(fc1(x))), the exact GELU. */
export class Mlp {
  readonly fc1: Linear
  readonly fc2: Linear

  constructor(width: number, hidden = 4 * width, outputs = width) {
    this.fc1 = new Linear(width, hidden)
    this.fc2 = new Linear(hidden, outputs)
  }

  /** [..., width] → [..., outputs] */
  call(x: Tensor): Tensor {
    return this.fc2.call(this.fc1.call(x).gelu())
  }
}

/** Splits the output of a joint qkv layer, [..., 3E] → q, k, v [..., H, E/H]; views only. */
export function splitHeads(qkv: Tensor, heads: number): [Tensor, Tensor, Tensor] {
  const outer = qkv.shape.slice(0, -1)
  const split = qkv.reshape([...outer, 3, heads, qkv.shape.at(-1)! / (3 * heads)])
  const part = (i: number) => split.select(outer.length, i)
  return [part(0), part(1), part(2)]
}

/** Self-attention with a joint qkv layer. */
export class MultiHeadAttention {
  readonly qkv: Linear
  readonly proj: Linear

  /** @throws ShapeError unless `heads` divides `width` */
  constructor(
    width: number,
    readonly heads: number,
  ) {
    if (!Number.isInteger(width / heads))
      throw new ShapeError(`MultiHeadAttention: ${heads} heads do not divide a width of ${width}`)
    this.qkv = new Linear(width, 3 * width)
    this.proj = new Linear(width, width)
  }

  /** x [batch…, L, E] → [batch…, L, E]; the options are those of `Tensor.attention`. */
  call(x: Tensor, options: AttendOptions = {}): Tensor {
    if (x.rank < 2)
      throw new ShapeError(`MultiHeadAttention: x must be [batch…, length, width], got ${formatShape(x.shape)}`)
    const [q, k, v] = splitHeads(this.qkv.call(x), this.heads) // 3 × [batch…, L, H, E/H]
    return this.proj.call(q.attention(k, v, options).flatten(-2))
  }
}

/** Pre-norm block; a model is a stack of them. */
export class TransformerBlock {
  readonly norm1: LayerNorm
  readonly attn: MultiHeadAttention
  readonly norm2: LayerNorm
  readonly mlp: Mlp

  constructor(width: number, heads: number, hidden = 4 * width) {
    this.norm1 = new LayerNorm(width)
    this.attn = new MultiHeadAttention(width, heads)
    this.norm2 = new LayerNorm(width)
    this.mlp = new Mlp(width, hidden)
  }

  /** x [batch…, L, E] → [batch…, L, E]; the options are those of `Tensor.attention`. */
  call(x: Tensor, options: AttendOptions = {}): Tensor {
    const y = x.add(this.attn.call(this.norm1.call(x), options))
    return y.add(this.mlp.call(this.norm2.call(y)))
  }
}

export const mlp = (width: number, hidden?: number, outputs?: number): Mlp => new Mlp(width, hidden, outputs)
export const multiHeadAttention = (width: number, heads: number): MultiHeadAttention =>
  new MultiHeadAttention(width, heads)
export const transformerBlock = (width: number, heads: number, hidden?: number): TransformerBlock =>
  new TransformerBlock(width, heads, hidden)
