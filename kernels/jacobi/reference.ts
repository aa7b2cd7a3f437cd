/** Cyclic Jacobi in float64, plain loops: the check of the eigensolver (Golub and Van Loan, Matrix Computations, 8.5). */

export interface JacobiReference {
  /** [batch, n] ascending. */
  readonly values: Float64Array
  /** [batch, n, n]; columns are the eigenvectors. */
  readonly vectors: Float64Array
}

/** Eigenvalues and eigenvectors of `batch` symmetric n×n matrices. */
export function jacobiReference(s: ArrayLike<number>, batch: number, n: number): JacobiReference {
  const values = new Float64Array(batch * n)
  const vectors = new Float64Array(batch * n * n)
  for (let b = 0; b < batch; b++) {
    const a = Float64Array.from({ length: n * n }, (_, i) => {
      const [row, column] = [Math.floor(i / n), i % n]
      return (s[b * n * n + row * n + column]! + s[b * n * n + column * n + row]!) / 2
    })
    // Its rows become the eigenvectors.
    const v = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
    for (let sweep = 0; sweep < 60 && offDiagonal(a, n) > 1e-15 * Math.hypot(...a); sweep++)
      for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, v, n, p, q)
    const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[i * n + i]! - a[j * n + j]!)
    order.forEach((from, to) => {
      values[b * n + to] = a[from * n + from]!
      for (let i = 0; i < n; i++) vectors[b * n * n + i * n + to] = v[from * n + i]!
    })
  }
  return { values, vectors }
}

function offDiagonal(a: Float64Array, n: number): number {
  let largest = 0
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) if (i !== j) largest = Math.max(largest, Math.abs(a[i * n + j]!))
  return largest
}

function rotate(a: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
  const apq = a[p * n + q]!
  if (apq === 0) return
  const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq)
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1))
  const c = 1 / Math.sqrt(1 + t * t)
  const s = t * c
  for (const rows of [a, v])
    for (let x = p * n, y = q * n; x < (p + 1) * n; x++, y++) {
      const before = rows[x]!
      const other = rows[y]!
      rows[x] = c * before - s * other
      rows[y] = s * before + c * other
    }
  for (let x = p, y = q; x < n * n; x += n, y += n) {
    const before = a[x]!
    const other = a[y]!
    a[x] = c * before - s * other
    a[y] = s * before + c * other
  }
  a[p * n + q] = a[q * n + p] = 0
}
