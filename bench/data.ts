/** Inputs and float64 comparisons: the same numbers in every process and in a browser. */
import type { Check, Input, Inputs, Outputs } from './contract.ts'

/** Uniform in [−scale, scale) from a small fixed generator (mulberry32). */
export function random(shape: readonly number[], seed: number, scale = 1): Input {
  let state = (seed * 0x9e3779b1) >>> 0
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1) * scale
  })
  return { data, shape }
}

export const filled = (shape: readonly number[], value: number): Input => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value),
  shape,
})

/** ‖got − want‖ / ‖want‖; NaN when a value or the length is wrong, never a small number. */
export function relativeError(got: ArrayLike<number> | undefined, want: ArrayLike<number>): number {
  if (!got || got.length !== want.length) return Number.NaN
  let difference = 0
  let norm = 0
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2
    norm += want[i]! ** 2
  }
  return Math.sqrt(norm === 0 ? difference : difference / norm)
}

/** A check of every output that the reference names; the reference is computed once. */
export function against(
  reference: (inputs: Inputs) => Outputs,
  limit: number,
): (outputs: Outputs, inputs: Inputs) => readonly Check[] {
  let want: Outputs | undefined
  return (outputs, inputs) => {
    want ??= reference(inputs)
    return Object.entries(want).map(([what, values]) => ({ what, error: relativeError(outputs[what], values), limit }))
  }
}

/** c [m, n] = a [m, k] · b [k, n] in float64, rows of b in the inner loop. */
export function product(a: ArrayLike<number>, b: ArrayLike<number>, m: number, n: number, k: number): Float64Array {
  const c = new Float64Array(m * n)
  const right = Float64Array.from(b)
  for (let i = 0; i < m; i++) {
    const row = c.subarray(i * n, (i + 1) * n)
    for (let p = 0; p < k; p++) {
      const factor = a[i * k + p]!
      const from = p * n
      for (let j = 0; j < n; j++) row[j]! += factor * right[from + j]!
    }
  }
  return c
}

/** [rows, columns] → [columns, rows] */
export function transposed(x: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const y = new Float64Array(rows * columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j]!
  return y
}
