/** Larger compositions of the ops, as nodes: pooling over windows, diagonals, powers of matrices. */
import { type DType, isFloat } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { formatShape, normalizeAxis, ShapeError } from '../shape.ts'
import * as b from './build.ts'

export interface PoolAttrs {
  readonly size: readonly [number, number]
  readonly stride: readonly [number, number]
  /** Rows above and below, columns left and right. */
  readonly padding: readonly [number, number]
  readonly dilation: readonly [number, number]
}

/** What no other number of the dtype is below. */
const lowest = (dtype: DType): number => (isFloat(dtype) ? Number.NEGATIVE_INFINITY : dtype === 'i32' ? -2147483648 : 0)

/** How many of the `size` elements of each window along an axis lie inside it. */
function inside(length: number, size: number, stride: number, padding: number, dilation: number): number[] {
  const count = Math.floor((length + 2 * padding - dilation * (size - 1) - 1) / stride) + 1
  return Array.from({ length: count }, (_, i) => {
    let n = 0
    for (let k = 0; k < size; k++) {
      const at = i * stride + k * dilation - padding
      if (at >= 0 && at < length) n++
    }
    return n
  })
}

/** Largest or mean element of the windows over the last two axes of x [..., H, W]. */
export function pool2d(x: Node, mode: 'max' | 'mean', attrs: PoolAttrs, countPadding: boolean): Node {
  const name = `${mode}Pool2d`
  const rank = x.shape.length
  const { size, stride, padding, dilation } = attrs
  if (rank < 2) throw new ShapeError(`${name}: needs [..., H, W], got ${formatShape(x.shape)}`)
  if (padding.some((p, i) => p < 0 || 2 * p > size[i]!))
    throw new ShapeError(`${name}: padding [${padding}] must be at most half of the window [${size}]`)
  const around = [...new Array<number>(rank - 2).fill(0), ...padding]
  const source = mode === 'mean' && !isFloat(x.dtype) ? b.cast(x, 'f32') : x
  const padded = b.pad(source, around, around, mode === 'max' ? lowest(x.dtype) : 0)
  if (size.some((s, i) => (s - 1) * dilation[i]! + 1 > padded.shape[rank - 2 + i]!))
    throw new ShapeError(`${name}: a window [${size}] is larger than the padded input ${formatShape(padded.shape)}`)
  const cut = b.windows(padded, { axes: [rank - 2, rank - 1], sizes: size, strides: stride, dilations: dilation })
  const axes = [rank, rank + 1]
  if (mode === 'max') return b.reduce('max', cut, axes)
  const total = b.reduce('sum', cut, axes)
  if (countPadding || padding.every((p) => p === 0)) return b.scale(total, 1 / (size[0] * size[1]))
  const [rows, columns] = [0, 1].map((i) =>
    inside(x.shape[rank - 2 + i]!, size[i]!, stride[i]!, padding[i]!, dilation[i]!),
  ) as [number[], number[]]
  const shares = Float32Array.from(rows.flatMap((r) => columns.map((c) => 1 / (r * c))))
  return b.mul(total, b.cast(b.hostLeaf(shares, [rows.length, columns.length], 'f32'), total.dtype))
}

/** Elements with equal indices on two axes of equal length, as a last axis; the two are dropped. */
export function diagonal(x: Node, first: number, second: number): Node {
  const rank = x.shape.length
  const [i, j] = [normalizeAxis(first, rank, 'diagonal'), normalizeAxis(second, rank, 'diagonal')]
  const n = x.shape[i]!
  if (i === j || n !== x.shape[j])
    throw new ShapeError(`diagonal: axes ${first} and ${second} of ${formatShape(x.shape)} are not of equal length`)
  const rest = x.shape.flatMap((_, k) => (k === i || k === j ? [] : [k]))
  const lead = rest.map((k) => x.shape[k]!)
  const lines = b.reshape(b.permute(x, [...rest, i, j]), [...lead, n * n])
  const zeros = lead.map(() => 0)
  return b.slice(lines, [...zeros, 0], [...lead, n], [...lead.map(() => 1), n + 1])
}

/** xᵗ of square matrices [..., n, n] by repeated squaring; whole t ≥ 0. */
export function matrixPower(x: Node, t: number): Node {
  const n = x.shape.at(-1)
  if (!Number.isInteger(t) || t < 0) throw new ShapeError(`matrixPower: t must be a whole number ≥ 0, got ${t}`)
  if (x.shape.length < 2 || n !== x.shape.at(-2))
    throw new ShapeError(`matrixPower: needs square matrices, got ${formatShape(x.shape)}`)
  if (t === 0) {
    const index = b.iota(n!)
    const unit = b.binary('equal', b.reshape(index, [n!, 1]), index)
    return b.expand(b.cast(unit, x.dtype), x.shape)
  }
  if (t === 1) return x
  const half = matrixPower(x, t >> 1)
  const even = b.matmul(half, half)
  return t & 1 ? b.matmul(even, x) : even
}
