/**
 * Functions of symmetric matrices, f(S) = Q f(Λ) Qᵀ, with a gradient that stays finite where eigenvalues coincide:
 * dS = Q [ (Qᵀ sym(G) Q) ∘ Γ ] Qᵀ, Γ_ab = (f(λ_a) − f(λ_b))/(λ_a − λ_b), f′(λ_a) where they meet
 * (Daleckii and Krein 1965; Higham, "Functions of matrices", theorem 3.11).
 */
import { autocast } from './autocast.ts'
import type { Node } from './graph.ts'
import * as b from './ops/build.ts'
import { formatShape, ShapeError } from './shape.ts'
import { Tensor } from './tensor.ts'

/** x^t for a whole t ≥ 0 by squaring; negative x allowed. */
function wholePower(x: Node, t: number): Node {
  if (t === 0) return b.full(x.shape, 1)
  const half = t > 1 ? wholePower(x, t >> 1) : undefined
  if (!half) return x
  return t & 1 ? b.mul(b.square(half), x) : b.square(half)
}

/** Σ_{m<t} a^m b^{t−1−m} = (aᵗ − bᵗ)/(a − b) without its cancellation: h_{2k} = h_k (aᵏ + bᵏ), h_{k+1} = a h_k + bᵏ. */
function dividedPower(p: Node, q: Node, t: number): Node {
  if (t === 1) return b.full(p.shape, 1)
  const k = t >> 1
  const even = b.mul(dividedPower(p, q, k), b.add(wholePower(p, k), wholePower(q, k)))
  return t & 1 ? b.add(b.mul(p, even), wholePower(q, 2 * k)) : even
}

/** Sᵗ of symmetric S [..., n, n] through its eigendecomposition (Jacobi), in f32; whole t ≥ 1. */
export function spectralPower(s: Tensor, t: number): Tensor {
  if (!Number.isInteger(t) || t < 1) throw new ShapeError(`spectralPower: t must be a whole number ≥ 1, got ${t}`)
  if (s.rank < 2 || s.shape.at(-1) !== s.shape.at(-2))
    throw new ShapeError(`spectralPower: needs square matrices, got ${formatShape(s.shape)}`)
  return autocast('f32', () => throughEigenvalues(s.cast('f32'), t))
}

function throughEigenvalues(s: Tensor, t: number): Tensor {
  const n = s.shape.at(-1)
  const q = b.pick(b.record('eigh', [s.node], {}), 1)
  const batch = s.shape.slice(0, -2)
  // Rayleigh quotients: their error is the square of the vectors' error, and the power multiplies it by t.
  const quotient = b.div(b.sum(b.mul(q, b.matmul(s.node, q)), -2, true), b.sum(b.square(q), -2, true)) // λ, [..., 1, n]
  const value = b.matmul(b.mul(q, wholePower(quotient, t)), b.transpose(q))
  const vjp = (dy: Node): Node[] => {
    const shape = [...batch, n!, n!]
    const gamma = dividedPower(b.expand(b.transpose(quotient), shape), b.expand(quotient, shape), t)
    const g = b.scale(b.add(dy, b.transpose(dy)), 0.5)
    const rotated = b.matmul(b.matmul(b.transpose(q), g), q)
    return [b.matmul(b.matmul(q, b.mul(rotated, gamma)), b.transpose(q))]
  }
  return new Tensor(b.record('withGradient', [value, s.node], { vjp }))
}

/** Sᵗ by repeated squaring, whatever autocast says in the dtype of S; whole t ≥ 1. */
export function matrixPower(s: Tensor, t: number): Tensor {
  if (!Number.isInteger(t) || t < 1) throw new ShapeError(`matrixPower: t must be a whole number ≥ 1, got ${t}`)
  return autocast('f32', () => bySquaring(s, t))
}

function bySquaring(s: Tensor, t: number): Tensor {
  if (t === 1) return s
  const half = bySquaring(s, t >> 1)
  const even = half.matmul(half)
  return t & 1 ? even.matmul(s) : even
}
