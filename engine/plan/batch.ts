/** Batch axes of operands as kernels take them. */
import type { Operand } from './views.ts'

/** Merges adjacent batch axes while every operand steps through them evenly; kernels take at most three. */
export function mergeBatch(
  batch: readonly number[],
  strides: readonly (readonly number[])[],
): { batch: number[]; strides: number[][] } {
  const dims: number[] = []
  const merged = strides.map(() => [] as number[])
  batch.forEach((d, i) => {
    if (d === 1) return
    const last = dims.length - 1
    if (last >= 0 && strides.every((s, j) => merged[j]![last] === s[i]! * d)) {
      dims[last]! *= d
      strides.forEach((s, j) => {
        merged[j]![last] = s[i]!
      })
    } else {
      dims.push(d)
      strides.forEach((s, j) => merged[j]!.push(s[i]!))
    }
  })
  if (dims.length === 0) return { batch: [1], strides: strides.map(() => [0]) }
  return { batch: dims, strides: merged }
}

/** Stride of an axis, where an axis of one element may take any. */
export const strideOf = (o: Operand, axis: number, whenOne: number): number =>
  o.shape[axis] === 1 ? whenOne : o.strides[axis]!

export const batchStrides = (o: Operand, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (o.shape[i] === 1 ? 0 : o.strides[i]!))
