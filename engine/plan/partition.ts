/**
 * Decides which values stand in memory and which are computed where they are used.
 *
 * Kernels and wanted values always stand in memory. A pointwise chain is computed inside its reader, unless several readers would
 * repeat costly work. A matmul or reduction whose only reader is a pointwise chain of the same size is absorbed by the
 * end of that chain, which becomes its epilogue.
 */
import { topological, valueInputs } from '../autograd.ts'
import { byteSize } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { OpName } from '../ops/names.ts'
import { pointwise } from '../ops/pointwise.ts'
import { contiguousStrides, numel } from '../shape.ts'
import { resolvePick, type ValueRef } from './emit.ts'
import { bindingAlignment, type Window } from './plan.ts'
import { constant, dot, type Index, plus, reshapeCoordinates, times, variable } from './symbolic.ts'

const views = new Set<OpName>(['reshape', 'permute', 'expand', 'slice', 'detach', 'withGradient'])
const inlined = new Set<OpName>(['constant', 'iota', 'randomBits', 'pad', 'concat', 'gather', 'pick', ...views])
const reductions = new Set<OpName>(['sum', 'max', 'min', 'prod'])
const sameOrder = new Set<OpName>(['reshape', 'detach', 'withGradient'])

const isPointwise = (node: Node): boolean => node.op in pointwise && node.op !== 'detach'
export const isReduction = (node: Node): boolean => reductions.has(node.op)
/** Ops that are launched as kernels of their own, whatever surrounds them. */
export const isKernel = (node: Node): boolean => !isPointwise(node) && !inlined.has(node.op) && !isReduction(node)

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

/** Follows views down to memory; undefined where the view is no plain stride pattern. */
export function stridedView(
  node: Node,
  stop: (node: Node) => boolean,
): { base: Node; strides: number[]; offset: number } | undefined {
  let at: Index[] = node.shape.map((d, i) => variable(`c${i}`, d))
  let x = node
  while (views.has(x.op) && !x.realized && !stop(x)) {
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
    }
    x = input
  }
  const index = dot(at, contiguousStrides(x.shape))
  const strides = node.shape.map(() => 0)
  for (const { atom, factor } of index.terms.values()) {
    if (atom.kind !== 'variable' || factor < 0) return undefined
    strides[Number(atom.key.slice(1))] = factor
  }
  return { base: x, strides, offset: index.constant }
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

/** Whether elements stand one after another, from a place where a binding may start. */
export const isContiguous = (
  { shape, dtype }: Pick<Node, 'shape' | 'dtype'>,
  { strides, offset }: { strides: readonly number[]; offset: number },
): boolean => {
  const want = contiguousStrides(shape)
  return (offset * byteSize(dtype)) % bindingAlignment === 0 && shape.every((d, i) => d === 1 || strides[i] === want[i])
}

export interface Partition {
  /** Every node of the program, inputs first; realized nodes are leaves. */
  readonly order: Node[]
  /** Nodes whose value is put into memory by a step of their own. */
  readonly stored: Set<Node>
  /** A stored pointwise node that ends in a kernel's epilogue → that matmul. */
  readonly epilogue: Map<Node, Node>
  inMemory(node: Node): boolean
}

export interface PartitionOptions {
  /** Whether input `index` of a kernel may be a strided view. */
  acceptsStrides(kernel: Node, index: number): boolean
  /** Off: every node gets memory of its own (the comparison that tests fusion). */
  fuse: boolean
  /** Values that were found to need memory on an earlier attempt (too many bindings). */
  forced: ReadonlySet<Node>
}

const recomputeLimit = 6

export function partition(roots: readonly Node[], options: PartitionOptions): Partition {
  const order = topological(roots, (n) => n.realized, valueInputs)
  const stored = new Set<Node>()
  const given = (n: Node) => n.realized
  const store = (n: Node) => {
    const { node } = resolvePick(n)
    if (!given(node)) stored.add(node)
  }
  const consumers = new Map<Node, Node[]>()
  for (const node of order) {
    if (given(node)) continue
    for (const input of new Set(valueInputs(node))) {
      const list = consumers.get(input)
      if (list) list.push(node)
      else consumers.set(input, [node])
    }
  }

  for (const root of roots) store(root)
  for (const node of options.forced) if (!given(node)) stored.add(node)
  for (const node of order) {
    if (given(node)) continue
    if (isKernel(node) || (!options.fuse && node.op !== 'pick' && node.op !== 'constant')) stored.add(node)
  }
  /** Read by a kernel as they are: they cannot hand their result to an epilogue instead. */
  const operands = new Set<Node>()
  const storeOperand = (kernel: Node, index: number) => {
    const x = kernel.inputs[index]!
    if (given(resolvePick(x).node)) return
    const view = stridedView(x, (n) => stored.has(n))
    const base = view && resolvePick(view.base).node
    const usable = view && base!.op !== 'constant' && (options.acceptsStrides(kernel, index) || isContiguous(x, view))
    store(usable ? view.base : x)
    operands.add(usable ? base! : x)
  }
  for (const node of order)
    if (!given(node) && isKernel(node))
      // What is assigned is computed where it is written, unless it stands in memory anyway.
      node.inputs.forEach((_, i) => (node.op === 'assign' && i === 1) || storeOperand(node, i))

  const epilogue = new Map<Node, Node>()
  const reducedInto = new Set<Node>()
  const position = new Map(order.map((n, i) => [n, i]))
  /** The node where all that is computed from `start`, element by element and in its order, comes together again: GELU's product. */
  const meetingPoint = (start: Node): Node | undefined => {
    const frontier = new Set(consumers.get(start))
    for (let steps = 0; steps < 32; steps++) {
      let next: Node | undefined
      for (const node of frontier) if (!next || position.get(node)! < position.get(next)!) next = node
      if (!next || numel(next.shape) !== numel(start.shape) || !(isPointwise(next) || sameOrder.has(next.op)))
        return undefined
      if (frontier.size === 1) return next
      const users = consumers.get(next)
      if (stored.has(next) || !users) return undefined
      frontier.delete(next)
      for (const user of users) frontier.add(user)
    }
    return undefined
  }
  const absorb = (start: Node): Node | undefined => {
    let current = start
    let sink: Node | undefined
    const isRoot = stored.has(start) && roots.some((r) => resolvePick(r).node === start)
    if (isRoot || options.forced.has(start)) return undefined
    for (;;) {
      if (current !== start && stored.has(current)) break
      const user = meetingPoint(current)
      if (user?.dtype !== 'f32') break
      current = user
      if (isPointwise(user) || stored.has(user)) sink = user
    }
    return sink
  }
  for (const node of order) {
    if (given(node) || !options.fuse || operands.has(node)) continue
    if (node.op !== 'matmul' && (!isReduction(node) || stored.has(node))) continue
    const sink = node.dtype === 'f32' || isReduction(node) ? absorb(node) : undefined
    if (!sink || epilogue.has(sink) || (node.op === 'matmul' && reducedInto.has(sink))) {
      stored.add(node)
      continue
    }
    stored.add(sink)
    if (node.op === 'matmul') {
      stored.delete(node)
      epilogue.set(sink, node)
    } else reducedInto.add(sink)
  }

  // Costly values that several steps would each compute, or that broadcasting would repeat, get memory.
  const cost = new Map<Node, number>()
  for (const node of order)
    cost.set(
      node,
      costOf(node, (n) => given(n) || stored.has(resolvePick(n).node), cost),
    )
  const sinks = new Map<Node, Set<Node>>()
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i]!
    if (given(node) || stored.has(node) || node.op === 'pick' || node.op === 'constant') continue
    const all = new Set<Node>()
    let repeated = false
    for (const user of consumers.get(node) ?? []) {
      if (stored.has(user)) all.add(user)
      else for (const s of sinks.get(user) ?? []) all.add(s)
      const grows = (user.op === 'expand' || user.op === 'gather') && numel(user.shape) >= 2 * numel(node.shape)
      if (grows && user.inputs[0] === node && cost.get(node)! >= 4) repeated = true
    }
    // The gradient of max and min looks for the elements equal to the extremum: they must be the very numbers it was taken of,
    // and a value computed in two kernels may be rounded in two ways.
    const compared = cost.get(node)! > 1 && consumers.get(node)!.some((u) => u.op === 'max' || u.op === 'min')
    if (repeated || (all.size > 1 && (compared || cost.get(node)! >= recomputeLimit))) stored.add(node)
    else sinks.set(node, all)
  }
  return { order, stored, epilogue, inMemory: (n) => given(n) || stored.has(resolvePick(n).node) }
}

function costOf(node: Node, stands: (n: Node) => boolean, cost: Map<Node, number>): number {
  if (stands(node)) return 1
  if (node.op === 'constant' || node.op === 'iota') return 0
  if (node.op === 'randomBits') return 60
  const inputs = node.inputs.reduce((sum, x) => sum + (stands(x) ? 1 : cost.get(x)!), 0)
  if (isReduction(node)) return Number.POSITIVE_INFINITY
  const rule = pointwise[node.op as keyof typeof pointwise]
  return inputs + (rule ? rule.flops : node.op === 'gather' || node.op === 'concat' || node.op === 'pad' ? 2 : 0)
}
