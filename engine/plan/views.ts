/** Views: how a value in memory looks through reshapes, permutations and slices, and where an element goes through them. */
import { byteSize } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { contiguousStrides, numel, sameShape } from '../shape.ts'
import type { ValueRef } from './emit.ts'
import { bindingAlignment, type Window } from './plan.ts'
import { isView, rearranges } from './roles.ts'
import { constant, dot, type Index, plus, reshapeCoordinates, times, variable, windowCoordinates } from './symbolic.ts'

/** A value in memory, or the part of it that a binding shows. */
export interface Place extends ValueRef {
  readonly window?: Window | undefined
}

/** A value in memory seen through strides: element c of the view stands at offset + Σ c·stride. */
export interface Operand {
  readonly ref: Place
  readonly shape: readonly number[]
  readonly strides: readonly number[]
  readonly offset: number
}

export interface StridedView {
  readonly base: Node
  readonly strides: readonly number[]
  readonly offset: number
}

/** Variables for the coordinates of a shape, named c0, c1, … */
export const axisVariables = (shape: readonly number[]): Index[] => shape.map((d, i) => variable(`c${i}`, d))

/** Strides of an index that is a sum of `axisVariables`; undefined where it is anything else. */
export function stridesOf(index: Index, rank: number): number[] | undefined {
  const strides = new Array<number>(rank).fill(0)
  for (const { atom, factor } of index.terms.values()) {
    if (atom.kind !== 'variable' || factor < 0) return undefined
    strides[Number(atom.key.slice(1))] = factor
  }
  return strides
}

/** Whether a node is 1 everywhere. */
function isOne(node: Node): boolean {
  let x = node
  while (x.op === 'expand' || x.op === 'reshape' || x.op === 'permute') x = x.inputs[0]!
  return x.op === 'constant' && (x as Node<'constant'>).attrs.value === 1
}

/** The other factor of a product with 1, which is the same value: the gradient of Σ y ∘ w is w. */
function timesOne(node: Node): Node | undefined {
  if (node.op !== 'mul') return undefined
  const [a, b] = node.inputs as [Node, Node]
  const same = isOne(a) ? b : isOne(b) ? a : undefined
  return same && same.dtype === node.dtype && sameShape(same.shape, node.shape) ? same : undefined
}

/** Follows views, and products with 1, down to memory; undefined where the view is no plain stride pattern. */
export function stridedView(node: Node, stop: (node: Node) => boolean): StridedView | undefined {
  let at = axisVariables(node.shape)
  let x = node
  while (!x.realized && !stop(x)) {
    const factor = timesOne(x)
    if (factor) {
      x = factor
      continue
    }
    if (!isView(x)) break
    const input = x.inputs[0]!
    if (x.op === 'reshape') at = reshapeCoordinates(at, x.shape, input.shape)
    else if (x.op === 'permute') {
      const { axes } = (x as Node<'permute'>).attrs
      const old = at
      at = axes.map((_, i) => old[axes.indexOf(i)]!)
    } else if (x.op === 'expand') at = at.map((i, axis) => (input.shape[axis] === 1 ? constant(0) : i))
    else if (x.op === 'slice') {
      const { starts, steps } = (x as Node<'slice'>).attrs
      at = at.map((i, axis) => plus(times(i, steps[axis]!), starts[axis]!))
    } else if (x.op === 'windows') at = windowCoordinates((x as Node<'windows'>).attrs, at)
    x = input
  }
  const index = dot(at, contiguousStrides(x.shape))
  const strides = stridesOf(index, node.shape.length)
  return strides && { base: x, strides, offset: index.constant }
}

/** Coordinates in `node` of the element at `at` in its input 0; undefined where `node` is no rearrangement. */
export function pushed(node: Node, at: readonly Index[]): readonly Index[] | undefined {
  if (node.op === 'permute') return (node as Node<'permute'>).attrs.axes.map((axis) => at[axis]!)
  if (node.op === 'reshape') return reshapeCoordinates(at, node.inputs[0]!.shape, node.shape)
  return rearranges(node) ? at : undefined
}

/** A view of `node` (as `stridedView` gives it) as a kernel's operand, which starts where a binding may start. */
export function operandOf(
  { shape, dtype }: Pick<Node, 'shape' | 'dtype'>,
  { base, strides, offset }: { base: ValueRef; strides: readonly number[]; offset: number },
): Operand {
  if (offset === 0) return { ref: base, shape, strides, offset }
  const size = byteSize(dtype)
  const start = Math.floor((offset * size) / bindingAlignment) * bindingAlignment
  const rest = offset - start / size
  const last = shape.reduce((at, d, i) => at + (d - 1) * strides[i]!, rest)
  const whole = base.node.outputs[base.output]!
  const available = Math.ceil((numel(whole.shape) * byteSize(whole.dtype)) / 4) * 4 - start
  const bytes = Math.min(Math.ceil(((last + 1) * size) / 16) * 16, available)
  return { ref: { ...base, window: { offset: start, bytes } }, shape, strides, offset: rest }
}

/**
 * The part of a flat buffer that a slice shows, when a binding may start there: a parameter in its storage. Bound by itself, its
 * place stays out of the code, and kernels of equal layers are equal.
 */
export function flatWindow(node: Node): Window | undefined {
  if (node.op !== 'slice' || node.realized) return undefined
  const [base] = node.inputs as [Node]
  const { starts, steps } = (node as Node<'slice'>).attrs
  if (!base.realized || base.shape.length !== 1 || steps[0] !== 1) return undefined
  const size = byteSize(node.dtype)
  const offset = starts[0]! * size
  if (offset % bindingAlignment) return undefined
  const end = Math.ceil((base.shape[0]! * size) / 4) * 4
  return { offset, bytes: Math.max(4, Math.min(Math.ceil((node.shape[0]! * size) / 4) * 4, end - offset)) }
}

/** Whether elements stand one after another, from a place where a binding may start. */
export function isContiguous(
  { shape, dtype }: Pick<Node, 'shape' | 'dtype'>,
  { strides, offset }: { strides: readonly number[]; offset: number },
): boolean {
  const want = contiguousStrides(shape)
  return (offset * byteSize(dtype)) % bindingAlignment === 0 && shape.every((d, i) => d === 1 || strides[i] === want[i])
}
