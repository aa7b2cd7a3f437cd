/**
 * DiCA, directional cross attention (section III-C.2, Eqs. 6 to 8): rows attend to columns and columns to rows, biased towards
 * pairs that diffusion brings close.
 *
 *   S_h ← S_h + proj_h(softmax(Q_h K_vᵀ/√(E/H) + exp(−τ₁ Dist_hv)) V_v),  S_v likewise;  then S_d ← S_d + MLP_d(LN(S_d)).
 *
 * Deviation from the paper's figure: the residual is on the query's stream, so that row i of a stream stays position i and the
 * bias of the next layer still fits.
 */
import { nn, type Tensor } from '../engine/index.ts'
import type { DipConfig } from './config.ts'
import { probabilities } from './encoder.ts'
import { positive } from './idm.ts'

/** Additive biases [B, 1, L+1, L+1], rows for queries; 0 in row and column of the class token. */
export interface Biases {
  readonly hv: Tensor
  readonly vh: Tensor
}

/** Attention probabilities of one layer, [B, H, L+1, L+1]: h has rows of S_h attending to S_v, v the reverse. */
export interface CrossAttention {
  readonly h: Tensor
  readonly v: Tensor
}

/** Parameters of one direction in one layer. */
export class Stream {
  readonly norm1: nn.LayerNorm
  readonly qkv: nn.Linear
  readonly proj: nn.Linear
  readonly norm2: nn.LayerNorm
  readonly mlp: nn.Mlp

  constructor(config: DipConfig) {
    this.norm1 = nn.layerNorm(config.E)
    this.qkv = nn.linear(config.E, 3 * config.E)
    this.proj = nn.linear(config.E, config.E)
    this.norm2 = nn.layerNorm(config.E)
    this.mlp = nn.mlp(config.E, config.r * config.E)
  }

  /** q, k, v of S_d, each [B, L+1, H, E/H]. */
  heads(S: Tensor, count: number): [Tensor, Tensor, Tensor] {
    return nn.splitHeads(this.qkv.call(this.norm1.call(S)), count)
  }

  /** Residual update by what was attended, [B, L+1, H, E/H], then by the MLP. */
  update(S: Tensor, attended: Tensor): Tensor {
    const y = S.add(this.proj.call(attended.flatten(2))) // [B, L+1, E]
    return y.add(this.mlp.call(this.norm2.call(y)))
  }
}

export class DicaLayer {
  readonly h: Stream
  readonly v: Stream

  constructor(private readonly config: DipConfig) {
    this.h = new Stream(config)
    this.v = new Stream(config)
  }

  /** Both streams read the layer's input, [B, L+1, E] each. `seen` gets the attention where it is wanted. */
  call(Sh: Tensor, Sv: Tensor, bias: Biases | undefined, seen?: CrossAttention[]): [Tensor, Tensor] {
    const { H } = this.config
    const [qh, kh, vh] = this.h.heads(Sh, H)
    const [qv, kv, vv] = this.v.heads(Sv, H)
    const attendedH = qh.attention(kv, vv, bias ? { bias: bias.hv } : {}) // Eq. 6, [B, L+1, H, E/H]
    const attendedV = qv.attention(kh, vh, bias ? { bias: bias.vh } : {})
    seen?.push({ h: probabilities(qh, kv, bias?.hv), v: probabilities(qv, kh, bias?.vh) })
    return [this.h.update(Sh, attendedH), this.v.update(Sv, attendedV)]
  }
}

export class Dica {
  /** ln τ₁, one for all layers; at first τ₁ = 3. */
  readonly log_tau: nn.Parameter
  readonly layers: DicaLayer[]

  constructor(config: DipConfig) {
    this.log_tau = nn.filled([], Math.log(3))
    this.layers = Array.from({ length: config.dica.enabled ? config.C : 0 }, () => new DicaLayer(config))
  }

  /** exp(−τ₁ Dist) of the cross-direction blocks of dist [B, 2L, 2L], 0 for the class token. */
  biases(dist: Tensor): Biases {
    const [B, nodes] = dist.shape as [number, number]
    const L = nodes / 2
    const weight = dist.mul(positive(this.log_tau)).neg().exp() // [B, 2L, 2L]
    const withClass = (block: Tensor) =>
      block
        .pad([
          [0, 0],
          [1, 0],
          [1, 0],
        ])
        .reshape([B, 1, L + 1, L + 1])
    return {
      hv: withClass(weight.slice([null, [0, L], [L, 2 * L]])),
      vh: withClass(weight.slice([null, [L, 2 * L], [0, L]])),
    }
  }

  /** S_h, S_v [B, L+1, E] through all layers; without `dist` the bias is 0. */
  call(Sh: Tensor, Sv: Tensor, dist: Tensor | undefined, seen?: CrossAttention[]): [Tensor, Tensor] {
    const bias = dist && this.layers.length ? this.biases(dist) : undefined
    return this.layers.reduce<[Tensor, Tensor]>(([h, v], layer) => layer.call(h, v, bias, seen), [Sh, Sv])
  }
}
