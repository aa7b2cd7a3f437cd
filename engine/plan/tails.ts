/** Chains that a matmul or a reduction can end in: everything computed from it, element by element, up to where it comes together. */
import { valueInputs } from '../autograd.ts'
import { isFloat } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { contiguousStrides, numel } from '../shape.ts'
import { isPointwise, rearranges, swaps } from './roles.ts'
import { dot, type Index, unflatten, variable } from './symbolic.ts'
import { pushed } from './views.ts'

export interface ChainOptions {
  readonly consumers: ReadonlyMap<Node, readonly Node[]>
  readonly position: ReadonlyMap<Node, number>
  stored(node: Node): boolean
}

/** A node at which all that is computed from `start` comes together, and its coordinates of start's element. */
export interface Meeting {
  readonly node: Node
  readonly at: readonly Index[]
}

const same = (a: readonly Index[], b: readonly Index[]): boolean => a.every((index, i) => index.key === b[i]!.key)

/**
 * The nodes, nearest first, where all that is computed from `start` comes together again (GELU's product, say), as long as every
 * element depends on one element of `start` alone. `from` are coordinates in `start`.
 */
export function meetings(start: Node, from: readonly Index[], options: ChainOptions): Meeting[] {
  const { consumers, position, stored } = options
  const found: Meeting[] = []
  const coordinates = new Map<Node, readonly Index[]>([[start, from]])
  let current = start
  while (current === start || !stored(current)) {
    const meeting = next(current)
    if (!meeting || !isFloat(meeting.dtype)) break
    found.push({ node: meeting, at: coordinates.get(meeting)! })
    current = meeting
  }
  return found

  function next(node: Node): Node | undefined {
    const frontier = new Set(consumers.get(node))
    for (let steps = 0; steps < 32; steps++) {
      let first: Node | undefined
      for (const n of frontier) if (!first || position.get(n)! < position.get(first)!) first = n
      if (!first || numel(first.shape) !== numel(start.shape) || !enter(first)) return undefined
      if (frontier.size === 1) return first
      const users = consumers.get(first)
      if (stored(first) || !users) return undefined
      frontier.delete(first)
      for (const user of users) frontier.add(user)
    }
    return undefined
  }

  /** Whether `node` sees one element of `start` at each of its own; keeps where. */
  function enter(node: Node): boolean {
    if (!isPointwise(node) && !rearranges(node)) return false
    for (const x of isPointwise(node) ? node.inputs : node.inputs.slice(0, 1)) {
      const at = coordinates.get(x)
      if (!at) continue
      const here = isPointwise(node) ? at : pushed(node, at)!
      const known = coordinates.get(node)
      if (known && !same(known, here)) return false
      coordinates.set(node, here)
    }
    return coordinates.has(node)
  }
}

/** Sizes of what a kernel with a tail computes, batch × rows × columns: kernels over rows count all of them in one batch. */
export const tailGrid = (kernel: Node): [number, number, number] => {
  const { shape } = kernel
  const columns = shape[shape.length - 1]!
  if (!swaps(kernel)) return [1, numel(shape) / columns, columns]
  return [numel(shape.slice(0, -2)), shape[shape.length - 2]!, columns]
}

/** Coordinates of the element (batch, row, col) that a kernel computes, rows and columns exchanged when it computes its transpose. */
export function tailCoordinates(kernel: Node, swapped: boolean): Index[] {
  const { shape } = kernel
  const [batch, rows, columns] = tailGrid(kernel)
  if (!swaps(kernel)) return [...unflatten(variable('row', rows), shape.slice(0, -1)), variable('col', columns)]
  const [row, col] = swapped ? ['col', 'row'] : ['row', 'col']
  return [...unflatten(variable('batch', batch), shape.slice(0, -2)), variable(row!, rows), variable(col!, columns)]
}

/** Whether elements stand in the order in which the kernel stores them, at these coordinates of a value of `shape`. */
export function inStoreOrder(kernel: Node, swapped: boolean, at: readonly Index[], shape: readonly number[]): boolean {
  const [batch, m, n] = tailGrid(kernel)
  const [rows, columns] = swapped ? [n, m] : [m, n]
  const wanted = dot(
    [variable('batch', batch), variable('row', rows), variable('col', columns)],
    [rows * columns, columns, 1],
  )
  return dot(at, contiguousStrides(shape)).key === wanted.key
}

/**
 * Coordinates of `value` at the element of `source` that stands at `from`, when `value` depends on `source` element by element;
 * undefined when it looks at other elements too, or not at source at all. `stands`: what is read from memory instead.
 */
export function coordinatesThrough(
  value: Node,
  source: Node,
  from: readonly Index[],
  stands: (node: Node) => boolean,
): readonly Index[] | undefined {
  const known = new Map<Node, readonly Index[] | undefined>([[source, from]])
  let broken = false
  const visit = (node: Node): readonly Index[] | undefined => {
    if (known.has(node)) return known.get(node)
    known.set(node, undefined)
    if (node !== value && stands(node)) return undefined
    let at: readonly Index[] | undefined
    for (const x of valueInputs(node)) {
      const there = visit(x)
      if (!there) continue
      const here = isPointwise(node) ? there : pushed(node, there)
      if (!here || (at && !same(at, here))) broken = true
      at = here
    }
    known.set(node, at)
    return at
  }
  const at = visit(value)
  return broken ? undefined : at
}
