/**
 * Decides which values stand in memory and which are computed where they are used.
 *
 * Kernels and wanted values always stand in memory. A pointwise chain is computed inside its reader, unless doing it again
 * costs more than memory would. A matmul or reduction whose only reader is a chain of the same elements is absorbed by the
 * end of that chain: the chain becomes the kernel's tail.
 */
import { orderInputs, topological, valueInputs } from '../autograd.ts'
import type { Node } from '../graph.ts'
import { numel } from '../shape.ts'
import { resolvePick } from './emit.ts'
import { isKernel, isPointwise, isReduction, isView, swaps, takesTail } from './roles.ts'
import { gpuPrices, softwarePrices, storeShared } from './sharing.ts'
import type { Index } from './symbolic.ts'
import { inStoreOrder, type Meeting, meetings, tailCoordinates } from './tails.ts'
import { axisVariables, isContiguous, type Operand, operandOf, type StridedView, stridedView } from './views.ts'

/** A kernel whose results pass through a pointwise chain before they are stored. */
export interface Tail {
  readonly kernel: Node
  /** The kernel computes its transpose: rows and columns change places. */
  readonly swapped: boolean
  /** Coordinates in the end of the chain of the element (batch, row, col) that the kernel computes. */
  readonly at: readonly Index[]
}

export interface Partition {
  /** Every node of the program, inputs first; realized nodes are leaves. */
  readonly order: readonly Node[]
  /** Nodes whose value is put into memory by a step of their own. */
  readonly stored: ReadonlySet<Node>
  /** The end of a chain → the kernel that it is the tail of. */
  readonly tails: ReadonlyMap<Node, Tail>
  /** How each kernel reads its inputs. */
  readonly operands: ReadonlyMap<Node, readonly Operand[]>
  /** Nodes that read a node's value. */
  readonly consumers: ReadonlyMap<Node, readonly Node[]>
  /** Views that were put into memory because a kernel cannot read them: why. */
  readonly copies: ReadonlyMap<Node, string>
  inMemory(node: Node): boolean
}

export interface PartitionOptions {
  /** Whether a kernel reads input `index` through these strides. */
  acceptsStrides(kernel: Node, index: number, strides: readonly number[]): boolean
  /** Off: every node gets memory of its own (the comparison that tests fusion). */
  readonly fuse: boolean
  /** Values that were found to need memory on an earlier attempt (too many bindings). */
  readonly forced: ReadonlySet<Node>
  /** The adapter is a CPU. */
  readonly software: boolean
}

const given = (node: Node): boolean => node.realized

/** Whether a view shows all of its base, in order. */
const isWhole = (x: Node, { base, ...view }: StridedView): boolean =>
  view.offset === 0 && isContiguous(x, view) && numel(base.shape) === numel(x.shape)

export function partition(roots: readonly Node[], options: PartitionOptions): Partition {
  const order = topological(roots, given, orderInputs)
  const consumers = consumersOf(order)
  const stored = new Set<Node>()
  const store = (n: Node) => {
    const { node } = resolvePick(n)
    if (!given(node)) stored.add(node)
  }
  for (const root of roots) store(root)
  for (const node of options.forced) if (!given(node)) stored.add(node)
  for (const node of order) {
    if (given(node)) continue
    if (isKernel(node) || node.op === 'contiguous' || (!options.fuse && node.op !== 'pick' && node.op !== 'constant'))
      stored.add(node)
  }

  /** Read by a kernel as they are: they cannot hand their result to a tail instead. */
  const operands = new Map<Node, Operand[]>()
  const read = new Set<Node>()
  const copies = new Map<Node, string>()
  for (const node of order) {
    if (given(node) || !isKernel(node)) continue
    operands.set(
      node,
      // What is assigned is computed where it is written, unless it stands in memory anyway.
      node.inputs.map((x, i) => (node.op === 'assign' && i === 1 ? whole(x) : operand(node, i))),
    )
  }
  const tails = options.fuse ? findTails() : new Map<Node, Tail>()
  if (options.fuse)
    storeShared(stored, { order, consumers, given, prices: options.software ? softwarePrices : gpuPrices })
  return {
    order,
    stored,
    tails,
    operands,
    consumers,
    copies,
    inMemory: (n) => given(n) || stored.has(resolvePick(n).node),
  }

  function whole(x: Node): Operand {
    const view = stridedView(x, (n) => n === x)!
    return operandOf(x, { ...view, base: resolvePick(x) })
  }

  function operand(kernel: Node, index: number): Operand {
    const x = kernel.inputs[index]!
    const direct = resolvePick(x)
    if (given(direct.node)) return whole(x)
    const view = stridedView(x, (n) => stored.has(n))
    const base = view && resolvePick(view.base)
    const usable =
      view &&
      base!.node.op !== 'constant' &&
      (kernel.op === 'pack'
        ? isWhole(x, view)
        : options.acceptsStrides(kernel, index, view.strides) || isContiguous(x, view))
    store(usable ? base!.node : x)
    if (!usable && isView(x)) copies.set(x, whyCopied(kernel, view))
    read.add(usable ? base!.node : x)
    return usable ? operandOf(x, { ...view, base: base! }) : whole(x)
  }

  function findTails(): Map<Node, Tail> {
    const found = new Map<Node, Tail>()
    const reducedInto = new Set<Node>()
    const chain = { consumers, position: new Map(order.map((n, i) => [n, i])), stored: (n: Node) => stored.has(n) }
    const ends = (node: Node, from: readonly Index[]): Meeting[] =>
      meetings(node, from, chain).filter((m) => isPointwise(m.node) || stored.has(m.node))
    const free = (node: Node) =>
      !read.has(node) &&
      !options.forced.has(node) &&
      !(stored.has(node) && roots.some((r) => resolvePick(r).node === node))
    for (const node of order) {
      if (given(node) || !free(node)) continue
      if (isReduction(node) && !stored.has(node)) {
        const end = ends(node, axisVariables(node.shape)).at(-1)?.node
        if (!end || found.has(end)) continue
        stored.add(end)
        reducedInto.add(end)
      } else if (takesTail(node)) {
        const tail = (swaps(node) ? [false, true] : [false])
          .flatMap((swapped) =>
            ends(node, tailCoordinates(node, swapped)).map(({ node: end, at }, distance) => ({
              end,
              at,
              swapped,
              distance,
            })),
          )
          .filter(({ end, at, swapped }) => inStoreOrder(node, swapped, at, end.shape))
          .reduce<{ end: Node; at: readonly Index[]; swapped: boolean; distance: number } | undefined>(
            (best, t) => (best && best.distance >= t.distance ? best : t),
            undefined,
          )
        if (!tail || found.has(tail.end) || reducedInto.has(tail.end)) continue
        stored.add(tail.end)
        stored.delete(node)
        found.set(tail.end, { kernel: node, swapped: tail.swapped, at: tail.at })
      }
    }
    return found
  }
}

function whyCopied(kernel: Node, view: StridedView | undefined): string {
  const limits = kernel.op === 'matmul' ? ' (batch axes beyond three are merged into one)' : ''
  return view
    ? `copied: ${kernel.op} reads this input contiguous`
    : `copied: no strides describe this view of ${kernel.op}'s input${limits}`
}

function consumersOf(order: readonly Node[]): Map<Node, Node[]> {
  const consumers = new Map<Node, Node[]>()
  for (const node of order) {
    if (given(node)) continue
    for (const input of new Set(valueInputs(node))) {
      const list = consumers.get(input)
      if (list) list.push(node)
      else consumers.set(input, [node])
    }
  }
  return consumers
}
