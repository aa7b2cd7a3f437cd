/** Shapes, axes and the errors they give rise to. */
import { startAtCaller } from './origin.ts'

export type Shape = readonly number[]

/** A shape or argument that an op cannot take; the message names op, shapes and argument, the stack begins at the caller. */
export class ShapeError extends Error {
  override name = 'ShapeError'

  constructor(message: string) {
    super(message)
    startAtCaller(this)
  }
}

export const numel = (shape: Shape): number => shape.reduce((a, b) => a * b, 1)

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => d === b[i])

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step
    step *= shape[i]!
  }
  return strides
}

/** `axis` counted from the front; negative axes count from the back. */
export function normalizeAxis(axis: number, rank: number, op: string): number {
  const index = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || index < 0 || index >= rank)
    throw new ShapeError(
      `${op}: axis ${axis} is out of range for a tensor of ${rank} dimension${rank === 1 ? '' : 's'}`,
    )
  return index
}

/** Sorted, distinct axes; all of them when none is given. */
export function normalizeAxes(axes: number | readonly number[] | undefined, rank: number, op: string): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i)
  const list = (typeof axes === 'number' ? [axes] : axes).map((a) => normalizeAxis(a, rank, op))
  if (new Set(list).size !== list.length) throw new ShapeError(`${op}: an axis is named twice in [${axes}]`)
  return list.sort((a, b) => a - b)
}

/** NumPy's broadcasting rule. */
export function broadcastShapes(op: string, ...shapes: Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length))
  const out = new Array<number>(rank).fill(1)
  for (const shape of shapes)
    for (let i = 0; i < shape.length; i++) {
      const at = rank - shape.length + i
      if (shape[i] === 1) continue
      if (out[at] !== 1 && out[at] !== shape[i])
        throw new ShapeError(
          `${op}: shapes ${shapes.map(formatShape).join(' and ')} do not broadcast: axis ${at - rank} is ${out[at]} in one and ${shape[i]} in another`,
        )
      out[at] = shape[i]!
    }
  return out
}

/** A target shape in which one entry may be −1, filled from the number of elements. */
export function resolveShape(shape: Shape, count: number, op: string): number[] {
  const unknown = shape.filter((d) => d === -1).length
  const known = shape.reduce((a, d) => (d === -1 ? a : a * d), 1)
  if (unknown > 1) throw new ShapeError(`${op}: only one dimension of ${formatShape(shape)} may be -1`)
  const out = shape.map((d) => (d === -1 ? (known === 0 ? 0 : count / known) : d))
  if (!out.every((d) => Number.isInteger(d) && d >= 0) || numel(out) !== count)
    throw new ShapeError(`${op}: ${count} elements do not fit the shape ${formatShape(shape)}`)
  return out
}
