/**
 * IDM, the inconsistency diffusion module (section III-C.1): a graph over the 2L directional features, and the diffusion
 * distance between its nodes after t steps of the random walk on it.
 *
 * Where the paper calls P symmetric it is not; S = D^(−1/2) W D^(−1/2) is, and has P's eigenvalues, so S is what is raised to the
 * power t. With π = D/ΣD and Φ = π^(−1/2) Q, which makes Σ_i π(i) Φ_r(i)² = 1, Eq. 4 and Eq. 5 are the same number:
 *
 *   Dist(i, j) = Σ_k (Pᵗ(i,k) − Pᵗ(j,k))²/π(k) = Σ_r λ_r^{2t} (Φ_r(i) − Φ_r(j))² = ‖Y_i − Y_j‖²,   Y = π^(−1/2) Sᵗ.
 *
 * Coifman and Lafon, "Diffusion maps", 2006.
 */
import {
  concat,
  matrixPower,
  neighbourAffinities,
  nn,
  spectralPower,
  type Tensor,
  walkDistances,
} from '../engine/index.ts'
import type { Diffuse, DipConfig } from './config.ts'
import { resolveDiffuse } from './diffuse.ts'

export interface Diffusion {
  /** Affinities, Eq. 2, [B, 2L, 2L]. */
  readonly W: Tensor
  /** Squared diffusion distances, [B, 2L, 2L]; blocks hh, hv, vh, vv. */
  readonly dist: Tensor
}

/**
 * Dist of a graph with affinities W [B, n, n], symmetric, every row sum above 0.
 *
 * S has the eigenpair (1, √π), which adds the same constant to a column of Y in every row. It is taken away before the power:
 * distances of rows are unchanged, and small ones are no longer differences of large numbers.
 */
export const diffusionDistances = (W: Tensor, t: number, diffuse: Exclude<Diffuse, 'auto'>): Tensor =>
  walkDistances(W, t, diffuse === 'spectral' ? spectralPower : undefined) // [B, n, n]

/** e^x of a log-scalar, kept finite: 0·∞ would be NaN where two nodes are equal. */
export const positive = (log: Tensor): Tensor => log.clamp(-80, 80).exp()

/**
 * W of Eq. 2 from features [B, 2L, E], rows then columns: [B, 2L, 2L], 1 on the diagonal, 0 outside the windows |i − j| ≤ ⌊kn/2⌋ of
 * all four blocks. μ is `positive(logMu)`.
 */
export const affinities = (features: Tensor, logMu: Tensor, kn: number): Tensor =>
  neighbourAffinities(features, logMu, Math.floor(kn / 2))

/** The matrices of section III-C.1, [B, 2L, 2L] each but `density`, [B, 2L, 1]. */
export interface DiffusionMatrices extends Diffusion {
  /** D⁻¹W, the walk: rows sum to 1. */
  readonly P: Tensor
  /** D^(−1/2) W D^(−1/2) */
  readonly S: Tensor
  readonly St: Tensor
  /** π, the walk's stationary distribution. */
  readonly density: Tensor
}

/** What lies between W and Dist, for explanations. */
export function diffusionMatrices({ W, dist }: Diffusion, t: number): DiffusionMatrices {
  const degree = W.sum(-1, true)
  const inverseRoot = degree.rsqrt()
  const S = W.mul(inverseRoot).mul(inverseRoot.transpose())
  return { W, dist, P: W.div(degree), S, St: matrixPower(S, t), density: degree.div(degree.sum(1, true)) }
}

export class Idm {
  /** ln μ; at first μ = 0.05 · 768/E, the paper's at its width. */
  readonly log_mu: nn.Parameter

  constructor(private readonly config: DipConfig) {
    this.log_mu = nn.filled([], Math.log((0.05 * 768) / config.E))
  }

  /** Nodes are Z_h then Z_v, [B, L, E] each; class tokens are none. */
  call(zh: Tensor, zv: Tensor): Diffusion {
    const [B, L] = zh.shape as [number, number]
    const { kn, t, idm } = this.config
    const W = affinities(concat([zh, zv], 1), this.log_mu, kn)
    return { W, dist: diffusionDistances(W, t, resolveDiffuse(idm.diffuse, B, 2 * L, t)) }
  }
}
