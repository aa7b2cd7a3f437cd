/**
 * Functions that record ops: the vocabulary in which tensors, gradients and layers are written. Each checks shapes at once.
 * Few primitives, sugar on top: everything below "sugar" is made of what stands above it.
 */
import { castsToHalf } from '../autocast.ts'
import { type DType, type HostArray, isFloat, promote } from '../dtype.ts'
import { createNode, type Node } from '../graph.ts'
import {
  broadcastShapes,
  formatShape,
  normalizeAxes,
  normalizeAxis,
  numel,
  type Shape,
  ShapeError,
  sameShape,
} from '../shape.ts'
import type { BinaryOp, Conv2dAttrs, OpAttrs, OpName, ReduceOp, UnaryOp, WindowsAttrs } from './names.ts'
import { shapeRules } from './shapes.ts'

/** Runs a check of operands; while origins are recorded, its error says where each of them was. */
function about<T>(inputs: readonly Node[], check: () => T): T {
  try {
    return check()
  } catch (error) {
    const known = inputs.some((x) => x.origin)
    if (!(error instanceof ShapeError) || !known || error.message.includes('\n')) throw error
    const places = inputs.map((x, i) => `  operand ${i}, ${x.dtype}${formatShape(x.shape)}: recorded at ${x.origin}`)
    throw new ShapeError([error.message, ...places].join('\n'))
  }
}

/** Records one op with the shapes its rule gives. */
export function record<K extends OpName>(op: K, inputs: readonly Node[], attrs: OpAttrs[K]): Node<K> {
  const specs = inputs.map((n) => n.outputs[0]!)
  const outputs = about(inputs, () => shapeRules[op](specs, attrs as never, op as never))
  return createNode(op, inputs, attrs, outputs)
}

const none = {} as Record<string, never>

export const hostLeaf = (data: HostArray, shape: Shape, dtype: DType): Node => {
  const node = createNode('leaf', [], none, [{ shape, dtype }])
  node.host = data
  return node
}

/** The same number everywhere; costs no memory. */
export const full = (shape: Shape, value: number, dtype: DType = 'f32'): Node => {
  const scalar = createNode('constant', [], { value }, [{ shape: [], dtype }])
  return expand(scalar, shape)
}

export const iota = (count: number, dtype: DType = 'i32'): Node =>
  createNode('iota', [], none, [{ shape: [count], dtype }])

export const randomBits = (key: Node, shape: Shape): Node =>
  createNode('randomBits', [key], none, [{ shape, dtype: 'u32' }])

export const cast = (x: Node, to: DType): Node => (x.dtype === to ? x : record('cast', [x], { to }))

export const bitcast = (x: Node, to: DType): Node => record('bitcast', [x], { to })

/** Leave the range of half precision, or its digits, sooner than their operands do. */
const wideUnary = new Set<UnaryOp>(['exp', 'log', 'rsqrt', 'reciprocal', 'softplus'])

/** Widened where the autocast policy keeps an op in f32. */
const widened = (x: Node): Node => (castsToHalf() && x.dtype === 'f16' ? cast(x, 'f32') : x)

export const unary = (op: UnaryOp, x: Node): Node => record(op, [wideUnary.has(op) ? widened(x) : x], none)

/** Half-precision copies of flat parameter buffers, one a buffer and step: nodes are replaced by every update. */
const halfCopies = new WeakMap<Node, Node>()

/** Operand of a product: in half precision where the autocast policy says so. */
function product(x: Node): Node {
  if (!castsToHalf() || x.dtype !== 'f32') return x
  const path: Node[] = []
  let base = x
  while (isRearrangement(base)) {
    path.push(base)
    base = base.inputs[0]!
  }
  const flat = path.at(-1)?.op === 'slice' && base.shape.length === 1 && (base.storage || effectful.has(base.op))
  if (!flat) return cast(x, 'f16')
  // A view of a parameter: the same view of the whole buffer's copy. Its gradient goes to the parameter, in f32.
  let copy = halfCopies.get(base)
  if (!copy) halfCopies.set(base, (copy = cast(base, 'f16')))
  const value = path.reduceRight((y, view) => record(view.op as 'slice', [y], view.attrs as OpAttrs['slice']), copy)
  return record('withGradient', [value, x], { vjp: (dy) => [cast(dy, 'f32')] })
}

const rearrangements = new Set<OpName>(['reshape', 'permute', 'expand', 'slice'])
const isRearrangement = (x: Node): boolean => rearrangements.has(x.op) && !x.realized
const effectful = new Set<OpName>(['assign', 'adamw'])

/** Output `index` of a kernel with several outputs. */
export function pick(x: Node, index: number): Node {
  return index === 0 ? x : createNode('pick', [x], { index }, [x.outputs[index]!])
}

/** Broadcasts leading axes in and size-1 axes out. */
export function expand(x: Node, shape: Shape): Node {
  if (sameShape(x.shape, shape)) return x
  const missing = shape.length - x.shape.length
  if (missing < 0) throw new ShapeError(`expand: ${formatShape(x.shape)} has more axes than ${formatShape(shape)}`)
  const aligned = missing ? reshape(x, [...new Array(missing).fill(1), ...x.shape]) : x
  return sameShape(aligned.shape, shape) ? aligned : record('expand', [aligned], { shape })
}

export function reshape(x: Node, shape: Shape): Node {
  if (sameShape(x.shape, shape)) return x
  // A reshape of a reshape keeps both nodes: a gradient may be asked for with respect to the inner one (the planner folds them).
  const node = record('reshape', [x], { shape })
  if (sameShape(node.shape, x.shape)) return x
  return node.attrs.shape.includes(-1) ? record('reshape', [x], { shape: node.shape }) : node
}

export function permute(x: Node, axes: readonly number[]): Node {
  const order = axes.map((a) => normalizeAxis(a, x.shape.length, 'permute'))
  return order.every((a, i) => a === i) && order.length === x.shape.length ? x : record('permute', [x], { axes: order })
}

export const slice = (
  x: Node,
  starts: readonly number[],
  sizes: readonly number[],
  steps?: readonly number[],
): Node => {
  const step = steps ?? sizes.map(() => 1)
  const whole = sameShape(sizes, x.shape) && starts.every((s) => s === 0) && step.every((s) => s === 1)
  return whole ? x : record('slice', [x], { starts, sizes, steps: step })
}

export const pad = (x: Node, before: readonly number[], after: readonly number[], value = 0): Node =>
  before.every((p) => p === 0) && after.every((p) => p === 0) ? x : record('pad', [x], { before, after, value })

/** Parts of one concat: with its output they fit the 8 storage buffers that every adapter binds. More become a tree. */
const concatLimit = 7

export function concat(parts: readonly Node[], axis: number): Node {
  if (!parts.length) throw new ShapeError('concat: needs at least one tensor')
  const at = normalizeAxis(axis, parts[0]!.shape.length, 'concat')
  if (parts.length === 1) return parts[0]!
  if (parts.length <= concatLimit) return record('concat', parts, { axis: at })
  const groups = Array.from({ length: Math.ceil(parts.length / concatLimit) }, (_, i) =>
    concat(parts.slice(i * concatLimit, (i + 1) * concatLimit), at),
  )
  return concat(groups, at)
}

function binaryOperands(op: string, a: Node, b: Node): [Node, Node] {
  const dtype = promote(a.dtype, b.dtype)
  const shape = about([a, b], () => broadcastShapes(op, a.shape, b.shape))
  return [expand(cast(a, dtype), shape), expand(cast(b, dtype), shape)]
}

export const binary = (op: BinaryOp, a: Node, b: Node): Node =>
  record(op, op === 'pow' ? binaryOperands(op, widened(a), widened(b)) : binaryOperands(op, a, b), none)

export function where(condition: Node, a: Node, b: Node): Node {
  const dtype = promote(a.dtype, b.dtype)
  const shape = about([condition, a, b], () => broadcastShapes('where', condition.shape, a.shape, b.shape))
  return record('where', [expand(condition, shape), expand(cast(a, dtype), shape), expand(cast(b, dtype), shape)], none)
}

export function reduce(op: ReduceOp, given: Node, axes?: number | readonly number[], keepDims = false): Node {
  const x = op === 'sum' || op === 'prod' ? widened(given) : given
  const list = normalizeAxes(axes, x.shape.length, op)
  const node = list.length ? record(op, [x], { axes: list }) : x
  return keepDims
    ? reshape(
        node,
        x.shape.map((d, i) => (list.includes(i) ? 1 : d)),
      )
    : node
}

/** A node of its own for x: a tensor that stands in two places of a rule must count in each. */
export const standIn = (x: Node): Node => record('reshape', [x], { shape: x.shape })

/** Applies an op that has no half-precision form in f32. */
const inF32 = (x: Node, f: (wide: Node) => Node): Node => (x.dtype === 'f16' ? cast(f(cast(x, 'f32')), 'f16') : f(x))

export const cumsum = (x: Node, axis: number): Node =>
  record('cumsum', [x], { axis: normalizeAxis(axis, x.shape.length, 'cumsum') })

export const gather = (x: Node, index: Node, axis: number): Node =>
  record('gather', [x, index], { axis: normalizeAxis(axis, x.shape.length, 'gather') })

export const scatterAdd = (x: Node, index: Node, axis: number, size: number): Node =>
  record('scatterAdd', [x, index], { axis: normalizeAxis(axis, x.shape.length, 'scatterAdd'), size })

/** Index of the first largest element along the axes, counted row by row over them. */
export function argmax(x: Node, axes: number | readonly number[]): Node {
  const list = normalizeAxes(axes, x.shape.length, 'argmax')
  if (list.length === 1) return record('argmax', [x], { axis: list[0]! })
  const kept = x.shape.flatMap((_, i) => (list.includes(i) ? [] : [i]))
  const shape = kept.map((i) => x.shape[i]!)
  return record('argmax', [reshape(permute(x, [...kept, ...list]), [...shape, -1])], { axis: shape.length })
}

/** Values and i32 indices in order along the last axis. */
export function sort(x: Node, descending: boolean): [Node, Node] {
  const node = record('sort', [x], { descending })
  return [node, pick(node, 1)]
}

export const windows = (x: Node, attrs: WindowsAttrs): Node => record('windows', [x], attrs)

export const fold = (x: Node, attrs: OpAttrs['fold']): Node => inF32(x, (wide) => record('fold', [wide], attrs))

export const detach = (x: Node): Node => record('detach', [x], none)

function checkProduct(a: Node, b: Node): void {
  const both = `${a.dtype}${formatShape(a.shape)} times ${b.dtype}${formatShape(b.shape)}`
  if (a.shape.at(-1) !== b.shape.at(-2))
    throw new ShapeError(`matmul: inner dimensions differ, ${a.shape.at(-1)} and ${b.shape.at(-2)}: ${both}`)
  if (!isFloat(a.dtype) && !isFloat(b.dtype))
    throw new ShapeError(`matmul: needs float matrices, got ${both}; use .cast('f32')`)
  broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2))
}

/** ‖batch broadcast‖ matrix product; 1-d operands are treated as a row (left) or a column (right). */
export function matmul(left: Node, right: Node): Node {
  const [a, b] = [product(left), product(right)]
  if (a.shape.length === 0 || b.shape.length === 0)
    throw new ShapeError('matmul: scalars have no matrix product; use mul')
  if (a.shape.length === 1)
    return reshapeDropping(matmul(reshape(a, [1, a.shape[0]!]), b), b.shape.length === 1 ? -1 : -2)
  if (b.shape.length === 1) return reshapeDropping(matmul(a, reshape(b, [b.shape[0]!, 1])), -1)
  const dtype = promote(a.dtype, b.dtype)
  const rank = Math.max(a.shape.length, b.shape.length)
  about([a, b], () => checkProduct(a, b))
  const lift = (x: Node) => reshape(cast(x, dtype), [...new Array(rank - x.shape.length).fill(1), ...x.shape])
  // One matrix on the right serves every batch: fold the batch into the rows, one tall product instead of many.
  if (b.shape.length === 2 && a.shape.length > 2) {
    const rows = numel(a.shape.slice(0, -1))
    const flat = record('matmul', [reshape(cast(a, dtype), [rows, a.shape.at(-1)!]), cast(b, dtype)], none)
    return reshape(flat, [...a.shape.slice(0, -1), b.shape[1]!])
  }
  if (rank <= 5) return record('matmul', [lift(a), lift(b)], none)
  // Kernels step through three batch axes: more are merged into one, by a copy where strides do not allow a view.
  const batch = broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2))
  const merged = (x: Node) =>
    reshape(expand(cast(x, dtype), [...batch, ...x.shape.slice(-2)]), [-1, ...x.shape.slice(-2)])
  return reshape(matmul(merged(a), merged(b)), [...batch, a.shape.at(-2)!, b.shape.at(-1)!])
}

const reshapeDropping = (x: Node, axis: number): Node => {
  const at = normalizeAxis(axis, x.shape.length, 'matmul')
  return reshape(
    x,
    x.shape.filter((_, i) => i !== at),
  )
}

export interface AttentionOptions {
  /** Factor on q·k; default 1/√d. */
  scale?: number
  causal?: boolean
  /** Additive, [batch…|1, heads|1, Lq, Lk]. */
  bias?: Node | undefined
  /** [batch…, Lk]: keys with a value > 0 take part. */
  keyMask?: Node | undefined
}

/** softmax(q kᵀ·scale + bias) v over [batch…, length, heads, d]; a query whose keys are all masked gives zeros. */
export function attention(q: Node, k: Node, v: Node, options: AttentionOptions = {}): Node {
  const { scale = 1 / Math.sqrt(q.shape.at(-1) ?? 1), causal = false, bias, keyMask } = options
  const dtype = [q, k, v]
    .map(product)
    .map((x) => x.dtype)
    .reduce(promote)
  const inputs = [q, k, v].map((x) => cast(product(x), dtype))
  if (bias) inputs.push(cast(bias, 'f32'))
  if (keyMask) inputs.push(cast(keyMask, 'f32'))
  return record('attention', inputs, { scale, causal, hasBias: !!bias, hasMask: !!keyMask })
}

export const layerNorm = (x: Node, gamma: Node, beta: Node, epsilon = 1e-5): Node =>
  record('layerNorm', [widened(x), cast(gamma, 'f32'), cast(beta, 'f32')], { epsilon })

/** Over the last axis. */
export const softmax = (x: Node, log = false): Node => record('softmax', [widened(x)], { log })

export const conv2d = (x: Node, weight: Node, bias: Node | undefined, attrs: Conv2dAttrs): Node =>
  record('conv2d', [product(x), product(weight), ...(bias ? [bias] : [])], attrs)

// ── sugar ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const add = (a: Node, b: Node): Node => binary('add', a, b)
export const sub = (a: Node, b: Node): Node => binary('sub', a, b)
export const mul = (a: Node, b: Node): Node => binary('mul', a, b)
export const div = (a: Node, b: Node): Node => binary('div', a, b)
export const neg = (x: Node): Node => unary('neg', x)
export const exp = (x: Node): Node => unary('exp', x)
/** A number as a tensor of x's dtype, broadcast when used. */
export const like = (x: Node, value: number): Node => full([], value, x.dtype)
export const scale = (x: Node, factor: number): Node => mul(x, like(x, factor))
export const shift = (x: Node, amount: number): Node => add(x, like(x, amount))
export const square = (x: Node): Node => mul(x, x)
export const zerosLike = (x: Node): Node => full(x.shape, 0, x.dtype)
export const sum = (x: Node, axes?: number | readonly number[], keepDims = false): Node =>
  reduce('sum', x, axes, keepDims)
export const transpose = (x: Node): Node => {
  const rank = x.shape.length
  if (rank < 2) throw new ShapeError(`transpose: needs two axes, got ${formatShape(x.shape)}`)
  return permute(x, [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2])
}

export function mean(x: Node, axes?: number | readonly number[], keepDims = false): Node {
  const list = normalizeAxes(axes, x.shape.length, 'mean')
  const count = list.reduce((a, i) => a * x.shape[i]!, 1)
  // In f32, also of halves: their sum may overflow where the mean does not.
  const average = scale(reduce('sum', cast(x, 'f32'), list, keepDims), 1 / count)
  return x.dtype === 'f16' && !castsToHalf() ? cast(average, 'f16') : average
}

/** Sums a gradient back to the shape its operand had before broadcasting. */
export function unbroadcast(x: Node, shape: Shape): Node {
  if (sameShape(x.shape, shape)) return x
  const extra = x.shape.length - shape.length
  const axes = x.shape.flatMap((d, i) => (i < extra || (shape[i - extra] === 1 && d !== 1) ? [i] : []))
  // Halves are summed in f32 and rounded once, however the sum is computed.
  return reshape(axes.length ? cast(reduce('sum', cast(x, 'f32'), axes), x.dtype) : x, shape)
}

/** Elements `index` along `axis`, the axis dropped. */
export function select(x: Node, axis: number, index: number): Node {
  const at = normalizeAxis(axis, x.shape.length, 'select')
  const i = index < 0 ? index + x.shape[at]! : index
  const part = slice(
    x,
    x.shape.map((_, j) => (j === at ? i : 0)),
    x.shape.map((d, j) => (j === at ? 1 : d)),
  )
  return reshape(
    part,
    x.shape.filter((_, j) => j !== at),
  )
}

/** Elements start…end−1 along `axis`; negative bounds count from the back. */
export function narrow(x: Node, axis: number, start: number, end: number = x.shape[axis]!): Node {
  const at = normalizeAxis(axis, x.shape.length, 'slice')
  const d = x.shape[at]!
  const from = start < 0 ? start + d : start
  const to = Math.min(end < 0 ? end + d : end, d)
  if (from < 0 || from > to)
    throw new ShapeError(`slice: ${start}:${end} is out of range for axis ${axis} of ${formatShape(x.shape)}`)
  return slice(
    x,
    x.shape.map((_, j) => (j === at ? from : 0)),
    x.shape.map((s, j) => (j === at ? to - from : s)),
  )
}

export function flip(x: Node, axes?: number | readonly number[]): Node {
  const list = normalizeAxes(axes, x.shape.length, 'flip')
  const on = (i: number) => list.includes(i)
  return slice(
    x,
    x.shape.map((d, i) => (on(i) ? d - 1 : 0)),
    x.shape,
    x.shape.map((_, i) => (on(i) ? -1 : 1)),
  )
}

export function stack(parts: readonly Node[], axis = 0): Node {
  if (!parts.length) throw new ShapeError('stack: needs at least one tensor')
  const at = normalizeAxis(axis, parts[0]!.shape.length + 1, 'stack')
  return concat(
    parts.map((p) => reshape(p, [...p.shape.slice(0, at), 1, ...p.shape.slice(at)])),
    at,
  )
}
