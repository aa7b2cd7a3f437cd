/**
 * Functions of symmetric matrices, f(S) = Q f(Λ) Qᵀ, with a gradient that stays finite where eigenvalues coincide:
 * dS = Q [ (Qᵀ sym(G) Q) ∘ Γ ] Qᵀ, Γ_ab = (f(λ_a) − f(λ_b))/(λ_a − λ_b), f′(λ_a) where they meet
 * (Daleckii and Krein 1965; Higham, "Functions of matrices", theorem 3.11). Second derivatives go through the eigenvectors and
 * need distinct eigenvalues.
 */
import { autocast } from './autocast.ts'
import { partials } from './autograd.ts'
import type { Node } from './graph.ts'
import * as b from './ops/build.ts'
import { formatShape, ShapeError, sameShape } from './shape.ts'
import { Tensor, where } from './tensor.ts'

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

/** A function of the eigenvalues; all of its parts work element by element. */
export interface SpectralFunction {
  value(x: Tensor): Tensor
  /** f′; by default what differentiating `value` gives. */
  derivative?(x: Tensor): Tensor
  /** (f(a) − f(b))/(a − b), f′(a) where a = b; give it where a form without cancellation is known. */
  dividedDifference?(a: Tensor, b: Tensor): Tensor
}

const derivativeOf = (f: SpectralFunction, x: Tensor): Tensor => {
  if (f.derivative) return f.derivative(x)
  const [slope] = partials(f.value(x).node, [x.node], b.full(x.shape, 1))
  return new Tensor(slope ?? b.full(x.shape, 0))
}

/** Places and weights of Gauss's three-point rule on [−1, 1]. */
const gauss = [
  [-Math.sqrt(0.6), 5 / 18],
  [0, 8 / 18],
  [Math.sqrt(0.6), 5 / 18],
] as const
/** Rounding of one f32 operation. */
const unitRoundoff = 2 ** -24

/**
 * (f(a) − f(b))/(a − b) to few digits lost at any gap: as the mean of f′ between b and a (three Gauss points), which knows no
 * cancellation, or as the quotient, whichever has the smaller error. That of the quotient is the rounding of f over the gap;
 * that of the mean is bounded by its distance from the two-point rule.
 */
function dividedDifference(f: SpectralFunction, a: Tensor, c: Tensor): Tensor {
  if (f.dividedDifference) return f.dividedDifference(a, c)
  const [middle, half] = [a.add(c).mul(0.5), a.sub(c).mul(0.5)]
  const slope = (t: number) => derivativeOf(f, middle.add(half.mul(t)))
  const mean = gauss.map(([t, w]) => slope(t).mul(w)).reduce((s, x) => s.add(x))
  const coarse = slope(-Math.sqrt(1 / 3))
    .add(slope(Math.sqrt(1 / 3)))
    .mul(0.5)
  const [fa, fc] = [f.value(a), f.value(c)]
  const gap = a.sub(c)
  const meet = gap.equal(0)
  const quotient = fa.sub(fc).div(where(meet, 1, gap))
  const rounding = fa.abs().add(fc.abs()).mul(unitRoundoff)
  const better = rounding.less(mean.sub(coarse).abs().mul(gap.abs()))
  return where(better.and(meet.not()), quotient, mean)
}

function checkSquare(name: string, s: Tensor): number {
  const n = s.shape.at(-1)
  if (s.rank < 2 || n !== s.shape.at(-2))
    throw new ShapeError(`${name}: needs square matrices, got ${formatShape(s.shape)}`)
  return n!
}

/**
 * f(S) = Q f(Λ) Qᵀ of symmetric matrices [..., n, n], in f32, e.g. `spectral(s, (x) => x.exp())`. Its gradient is finite at
 * repeated eigenvalues, as far as f′ is there: f must be safe where the spectrum may lie (for a root, `x.maximum(1e-6).sqrt()`).
 */
export function spectral(s: Tensor, f: SpectralFunction | ((x: Tensor) => Tensor)): Tensor<'f32'> {
  const n = checkSquare('spectral', s)
  if (s.dtype === 'f16') return spectral(s.cast('f32'), f)
  return autocast('f32', () => throughEigenvalues(s, n, typeof f === 'function' ? { value: f } : f))
}

function throughEigenvalues(s: Tensor, n: number, rule: SpectralFunction): Tensor<'f32'> {
  const q = b.pick(b.record('eigh', [s.node], {}), 1)
  const batch = s.shape.slice(0, -2)
  // Rayleigh quotients: their error is the square of the vectors' error, which f may multiply (a power by its exponent).
  const quotient = b.div(b.sum(b.mul(q, b.matmul(s.node, q)), -2, true), b.sum(b.square(q), -2, true)) // λ, [..., 1, n]
  const values = new Tensor(quotient)
  const mapped = rule.value(values)
  if (!sameShape(mapped.shape, values.shape))
    throw new ShapeError(
      `spectral: f must work element by element: ${formatShape(values.shape)} became ${formatShape(mapped.shape)}`,
    )
  const value = b.matmul(b.mul(q, mapped.node), b.transpose(q))
  const vjp = (dy: Node): Node[] => {
    const shape = [...batch, n, n]
    const [a, c] = [b.transpose(quotient), quotient].map((x) => new Tensor(b.expand(x, shape)))
    const gamma = dividedDifference(rule, a!, c!).node
    const g = b.scale(b.add(dy, b.transpose(dy)), 0.5)
    const rotated = b.matmul(b.matmul(b.transpose(q), g), q)
    return [b.matmul(b.matmul(q, b.mul(rotated, gamma)), b.transpose(q))]
  }
  return new Tensor(b.record('withGradient', [value, s.node], { vjp }))
}

/** Sᵗ of symmetric S [..., n, n] through its eigendecomposition (Jacobi); whole t ≥ 1. */
export function spectralPower(s: Tensor, t: number): Tensor<'f32'> {
  if (!Number.isInteger(t) || t < 1) throw new ShapeError(`spectralPower: t must be a whole number ≥ 1, got ${t}`)
  checkSquare('spectralPower', s)
  return spectral(s, {
    value: (x) => new Tensor(wholePower(x.node, t)),
    dividedDifference: (p, q) => new Tensor(dividedPower(p.node, q.node, t)),
  })
}

/** Sᵗ by repeated squaring, whatever autocast says in the dtype of S; whole t ≥ 0. */
export const matrixPower = (s: Tensor, t: number): Tensor => autocast('f32', () => s.matrixPower(t))
