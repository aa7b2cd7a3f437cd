/** Making tensors from numbers, constants and other tensors. */
import { type DType, toHostArray } from './dtype.ts'
import * as b from './ops/build.ts'
import type { HostData } from './runtime/device.ts'
import { formatShape, numel, type Shape, ShapeError } from './shape.ts'
import { type Nested, Tensor } from './tensor.ts'

function flattenNested(value: Nested, out: number[], shape: number[], depth: number): void {
  if (typeof value === 'number' || typeof value === 'boolean') {
    if (depth !== shape.length) throw new ShapeError('tensor: the nested arrays are ragged')
    out.push(Number(value))
    return
  }
  if (shape.length === depth) {
    if (out.length) throw new ShapeError('tensor: the nested arrays are ragged')
    shape.push(value.length)
  } else if (shape[depth] !== value.length) throw new ShapeError('tensor: the nested arrays are ragged')
  for (const v of value) flattenNested(v, out, shape, depth + 1)
}

const isTyped = (x: unknown): x is HostData => ArrayBuffer.isView(x)

/** A tensor of numbers: nested arrays, or a typed array with its shape. The data are copied. */
export function tensor(values: Int32Array, shape?: Shape): Tensor<'i32'>
export function tensor(values: Uint32Array, shape?: Shape): Tensor<'u32'>
export function tensor(values: Nested | HostData | Float64Array, shape?: Shape): Tensor<'f32'>
export function tensor<D extends DType>(
  values: Nested | HostData | Float64Array,
  shape: Shape | undefined,
  dtype: D,
): Tensor<D>
export function tensor(values: Nested | HostData | Float64Array, shape?: Shape, dtype?: DType): Tensor {
  if (isTyped(values)) {
    const kind = dtype ?? (values instanceof Int32Array ? 'i32' : values instanceof Uint32Array ? 'u32' : 'f32')
    const dims = shape ?? [values.length]
    if (numel(dims) !== values.length)
      throw new ShapeError(`tensor: ${values.length} values do not fit ${formatShape(dims)}`)
    const host = toHostArray(values, kind)
    return new Tensor(b.hostLeaf(host === (values as unknown) ? host.slice() : host, dims, kind))
  }
  const flat: number[] = []
  const found: number[] = []
  flattenNested(values as Nested, flat, found, 0)
  const dims = shape ?? found
  if (numel(dims) !== flat.length) throw new ShapeError(`tensor: ${flat.length} values do not fit ${formatShape(dims)}`)
  return new Tensor(b.hostLeaf(toHostArray(flat, dtype ?? 'f32'), dims, dtype ?? 'f32'))
}

/** Makers take the dtype last, f32 by default. */
interface OfShape {
  (shape: Shape): Tensor<'f32'>
  <D extends DType>(shape: Shape, dtype: D): Tensor<D>
}

export function scalar(value: number): Tensor<'f32'>
export function scalar<D extends DType>(value: number, dtype: D): Tensor<D>
export function scalar(value: number, dtype: DType = 'f32'): Tensor {
  return tensor(value, [], dtype)
}

export function full(shape: Shape, value: number): Tensor<'f32'>
export function full<D extends DType>(shape: Shape, value: number, dtype: D): Tensor<D>
export function full(shape: Shape, value: number, dtype: DType = 'f32'): Tensor {
  return new Tensor(b.full(shape, value, dtype))
}

export const zeros: OfShape = (shape: Shape, dtype: DType = 'f32'): Tensor => full(shape, 0, dtype)
export const ones: OfShape = (shape: Shape, dtype: DType = 'f32'): Tensor => full(shape, 1, dtype)

/** start, start + step, … below end. */
export function arange(start: number, end?: number, step?: number): Tensor<'f32'>
export function arange<D extends DType>(
  start: number,
  end: number | undefined,
  step: number | undefined,
  dtype: D,
): Tensor<D>
export function arange(start: number, end?: number, step = 1, dtype: DType = 'f32'): Tensor {
  const [from, to] = end === undefined ? [0, start] : [start, end]
  const count = Math.max(0, Math.ceil((to - from) / step))
  const index = new Tensor(b.iota(count, dtype))
  return from === 0 && step === 1 ? index : index.mul(step).add(from)
}

/** The unit matrix [n, n]. */
export function eye(n: number): Tensor<'f32'>
export function eye<D extends DType>(n: number, dtype: D): Tensor<D>
export function eye(n: number, dtype: DType = 'f32'): Tensor {
  const index = arange(n, undefined, 1, 'i32')
  return index.unsqueeze(1).equal(index).cast(dtype)
}

export const concat = <D extends DType>(parts: readonly Tensor<D>[], axis = 0): Tensor<D> =>
  new Tensor(
    b.concat(
      parts.map((p) => p.node),
      axis,
    ),
  )
export const stack = <D extends DType>(parts: readonly Tensor<D>[], axis = 0): Tensor<D> =>
  new Tensor(
    b.stack(
      parts.map((p) => p.node),
      axis,
    ),
  )
