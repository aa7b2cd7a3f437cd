/** Affinities, diffusion distances and their gradients in float64, plain loops. */
import type { AffinityProblem } from './affinities.ts'
import type { DiffusionProblem } from './common.ts'

export interface AffinityReference {
  /** [batch, 2l, 2l] */
  readonly w: Float64Array
  /** μ d², [batch, 2l, 2l]; 0 where nodes are no neighbours. */
  readonly exponent: Float64Array
}

const far = ({ l, half }: AffinityProblem, i: number, j: number): boolean => Math.abs((i % l) - (j % l)) > half

export function affinityReference(
  problem: AffinityProblem,
  features: ArrayLike<number>,
  logMu: number,
): AffinityReference {
  const { batch, l, e } = problem
  const n = 2 * l
  const mu = Math.exp(Math.min(Math.max(logMu, -80), 80))
  const w = new Float64Array(batch * n * n)
  const exponent = new Float64Array(batch * n * n)
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        if (far(problem, i, j)) continue
        let squares = 0
        for (let c = 0; c < e; c++) squares += (features[(b * n + i) * e + c]! - features[(b * n + j) * e + c]!) ** 2
        const at = (b * n + i) * n + j
        exponent[at] = mu * squares
        w[at] = Math.exp(-mu * squares)
      }
  return { w, exponent }
}

/** dfeatures [batch, 2l, e] of dw [batch, 2l, 2l]. */
export function affinityBackwardReference(
  problem: AffinityProblem,
  features: ArrayLike<number>,
  logMu: number,
  dw: ArrayLike<number>,
): Float64Array {
  const { batch, l, e } = problem
  const n = 2 * l
  const mu = Math.exp(Math.min(Math.max(logMu, -80), 80))
  const { w } = affinityReference(problem, features, logMu)
  const out = new Float64Array(batch * n * e)
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const [at, mirrored] = [(b * n + i) * n + j, (b * n + j) * n + i]
        const factor = -2 * mu * (dw[at]! + dw[mirrored]!) * w[at]!
        if (factor)
          for (let c = 0; c < e; c++)
            out[(b * n + i) * e + c]! += factor * (features[(b * n + i) * e + c]! - features[(b * n + j) * e + c]!)
      }
  return out
}

type Matrix = Float64Array<ArrayBuffer>

const product = (a: Matrix, c: Matrix, n: number): Matrix => {
  const out = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) out[i * n + j]! += a[i * n + k]! * c[k * n + j]!
  return out
}

const rowSums = (w: Matrix, n: number): number[] =>
  Array.from({ length: n }, (_, i) => w.subarray(i * n, (i + 1) * n).reduce((x, y) => x + y, 0))

/** S − √π √πᵀ to the powers 0 … t, S = D^(−1/2) W D^(−1/2), one graph. */
function powers(w: Matrix, n: number, t: number): Matrix[] {
  const degree = rowSums(w, n)
  const volume = degree.reduce((x, y) => x + y, 0)
  const step = w.map((x, k) => {
    const both = Math.sqrt(degree[Math.floor(k / n)]! * degree[k % n]!)
    return x / both - both / volume
  })
  const all = [Float64Array.from({ length: n * n }, (_, k) => (k % (n + 1) ? 0 : 1))]
  for (let k = 0; k < t; k++) all.push(product(all[k]!, step, n))
  return all
}

export interface DiffusionReference {
  readonly dist: Float64Array
  /** (S − √π √πᵀ)ᵗ */
  readonly power: Float64Array
}

/** Of w [batch, n, n], by t products. */
export function diffusionReference(problem: DiffusionProblem, w: ArrayLike<number>): DiffusionReference {
  const { batch, n, t } = problem
  const dist = new Float64Array(batch * n * n)
  const power = new Float64Array(batch * n * n)
  for (let b = 0; b < batch; b++) {
    const graph = Float64Array.from({ length: n * n }, (_, k) => w[b * n * n + k]!)
    const degree = rowSums(graph, n)
    const volume = degree.reduce((x, y) => x + y, 0)
    const last = powers(graph, n, t)[t]!
    power.set(last, b * n * n)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++) {
          const y = (row: number) => last[row * n + k]! / Math.sqrt(degree[row]! / volume)
          dist[(b * n + i) * n + j]! += (y(i) - y(j)) ** 2
        }
  }
  return { dist, power }
}

/** Symmetric part of the gradient of w, dT = Σ_a Tᵃ dP T^{t−1−a} term by term. */
export function diffusionBackwardReference(
  problem: DiffusionProblem,
  w: ArrayLike<number>,
  gradient: ArrayLike<number>,
): Float64Array {
  const { batch, n, t } = problem
  const out = new Float64Array(batch * n * n)
  for (let b = 0; b < batch; b++) {
    const graph = Float64Array.from({ length: n * n }, (_, k) => w[b * n * n + k]!)
    const degree = rowSums(graph, n)
    const volume = degree.reduce((x, y) => x + y, 0)
    const root = degree.map((d) => Math.sqrt(d / volume))
    const all = powers(graph, n, t)
    const y = all[t]!.map((x, k) => x / root[Math.floor(k / n)]!)
    const dy = new Float64Array(n * n)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const both = gradient[(b * n + i) * n + j]! + gradient[(b * n + j) * n + i]!
        for (let k = 0; k < n; k++) dy[i * n + k]! += 2 * both * (y[i * n + k]! - y[j * n + k]!)
      }
    const arriving = dy.map((x, k) => x / root[Math.floor(k / n)]!)
    const dt = new Float64Array(n * n)
    for (let a = 0; a < t; a++)
      product(product(all[a]!, arriving, n), all[t - 1 - a]!, n).forEach((x, k) => {
        dt[k]! += x
      })
    // T = W/√(D D′) − √(D D′)/V and Y = P √V/√D, as functions of W, D and V = ΣD.
    const dDegree = new Float64Array(n)
    let dVolume = 0
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const [k, both] = [i * n + j, Math.sqrt(degree[i]! * degree[j]!)]
        const slope = dt[k]! * (-graph[k]! / both - both / volume) * 0.5
        dDegree[i]! += slope / degree[i]! - (0.5 * dy[k]! * y[k]!) / degree[i]!
        dDegree[j]! += slope / degree[j]!
        dVolume += (dt[k]! * both) / volume ** 2 + (0.5 * dy[k]! * y[k]!) / volume
      }
    const dw = dt.map((x, k) => {
      const i = Math.floor(k / n)
      return x / Math.sqrt(degree[i]! * degree[k % n]!) + dDegree[i]! + dVolume
    })
    dw.forEach((x, k) => {
      out[b * n * n + k] = (x + dw[(k % n) * n + Math.floor(k / n)]!) / 2
    })
  }
  return out
}
