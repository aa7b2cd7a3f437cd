/** What a run means for the graph: its structure as a key before, and the values that nodes own after. */
import { valueInputs } from '../autograd.ts'
import type { HostArray } from '../dtype.ts'
import { intern, type Node } from '../graph.ts'
import { resolvePick } from '../plan/emit.ts'
import type { Plan } from '../plan/plan.ts'
import { effects } from '../plan/roles.ts'
import { formatShape } from '../shape.ts'
import type { Faults } from './faults.ts'
import type { Memory, Storage } from './storage.ts'

/** @throws Error saying why the buffer that `node` refers to is not to be had, or not on this device */
export function checkAlive(node: Node, memory: Memory, faults: Faults): void {
  const storage = node.storage as Storage | undefined
  if (!storage) return
  if (storage.memory !== memory)
    throw new Error(
      `A tensor ${node.dtype}${formatShape(node.shape)} belongs to another device than the one that computes with it: ` +
        'make it anew on this one, or go back to its own with useDevice().',
    )
  if (storage.disposed) throw new Error(`A tensor ${node.dtype}${formatShape(node.shape)} was used after dispose()`)
  const failure = storage.failure ?? faults.failureOf(storage.run)
  if (failure) throw failure
}

/** @throws Error saying why the value that `node` stands for is not to be had */
export function checkUsable(node: Node, memory: Memory, faults: Faults): void {
  if (!node.storage) return
  checkAlive(node, memory, faults)
  if (node.version !== node.storage.version)
    throw new Error(
      `A value of shape ${formatShape(node.shape)} was recorded before an assignment overwrote its storage, and is asked for after it: ` +
        'realize it before the update, or read it in the same call as the loss.',
    )
}

/** Gradient rules are fresh functions each time and do not change a value's plan. */
const aliasKind = intern('alias')

/** The program's structure as text: equal texts may share a plan. */
export function canonical(order: readonly Node[], roots: readonly Node[], side: readonly Node[]): string {
  const index = new Map<Node, number>()
  const storages = new Map<number, number>()
  const parts: (number | string)[] = []
  order.forEach((node, i) => {
    index.set(node, i)
    if (node.realized) {
      const storage = node.storage?.id
      let alias = -1
      if (storage !== undefined) {
        const known = storages.get(storage)
        if (known === undefined) storages.set(storage, (alias = i))
        else alias = known
      }
      parts.push(intern(`${node.storage ? 'leaf' : 'upload'}|${node.dtype}|${node.shape}`), alias)
    } else {
      parts.push(node.op === 'withGradient' ? aliasKind : node.kind)
      for (const x of valueInputs(node)) parts.push(-index.get(x)! - 2)
    }
  })
  return `${parts.join()}|${roots.map((n) => index.get(n)).join()}|${side.map((n) => index.get(n)).join()}`
}

/** After a submit: wanted nodes own their results, assigned storages have a new version. */
export function settle(plan: Plan, roots: readonly Node[], side: readonly Node[], results: readonly Storage[]): void {
  let next = 0
  const seen = new Map<object, Storage>()
  for (const root of roots) {
    const ref = resolvePick(root)
    const spec = ref.node.outputs[ref.output]!
    if (effects(ref.node).some(([out]) => out === ref.output)) continue
    let storage = seen.get(spec)
    if (!storage) {
      storage = results[next++]!
      seen.set(spec, storage)
    }
    root.storage = storage
    root.version = storage.version
  }
  if (next !== plan.results.length) throw new Error('runner: the plan made other results than were asked for')
  for (const node of side) bumpVersions(node)
}

/** Marks an executed assignment, and those it was built upon, as realized in the storage it wrote. */
function bumpVersions(node: Node): void {
  for (const [, input] of effects(node)) {
    const target = resolvePick(node.inputs[input]!).node
    if (!target.realized && effects(target).length) bumpVersions(target)
  }
  const { inputs } = node
  for (const [output, input] of effects(node)) {
    const storage = inputs[input]!.storage
    if (!storage) throw new Error('runner: an assignment has no storage')
    storage.version++
    const holder = node.outputs[output]!
    for (const done of assigned.get(node) ?? [{ node, output: 0 }]) {
      if (node.outputs[done.output] !== holder) continue
      done.node.storage = storage
      done.node.version = storage.version
      done.node.inputs = []
      newest.set(storage, done.node)
    }
  }
}

/** Of every storage the node of its last assignment: what a parameter or an optimiser's state holds on to. */
const newest = new WeakMap<object, Node>()

/** After a run that failed: its assignments did not happen, and their nodes stand for the old values. */
export function abandon(side: readonly Node[]): void {
  for (const node of side) {
    if (node.realized) continue
    const { inputs } = node
    for (const [output, input] of effects(node)) {
      const target = resolvePick(inputs[input]!).node
      if (!target.realized && effects(target).length) abandon([target])
      const { storage, version } = inputs[input]!
      if (!storage) continue
      for (const done of assigned.get(node) ?? [{ node, output: 0 }]) {
        if (node.outputs[done.output] !== node.outputs[output]) continue
        done.node.storage = storage
        done.node.version = version
        done.node.inputs = []
      }
    }
  }
}

/** The numbers that an assignment would merely copy from host memory into a buffer. */
const copied = (node: Node): Node | undefined => {
  if (node.op !== 'assign') return undefined
  const [target, value] = node.inputs as [Node, Node]
  return target.storage && value.host && !value.storage && !value.refresh ? value : undefined
}

/**
 * Takes out of `side` the assignments of host data to buffers that nothing in this program reads in their old state, and does
 * them at once: no launch, and no second copy of the data on the device. Checkpoints are loaded this way.
 */
export function writeThrough(
  order: readonly Node[],
  side: readonly Node[],
  write: (storage: Storage, data: HostArray) => void,
): Node[] {
  if (!side.some(copied)) return [...side]
  const readers = new Map<object, Set<Node>>()
  for (const node of order) {
    if (node.realized) continue
    for (const { storage } of valueInputs(node)) {
      if (!storage) continue
      if (!readers.has(storage)) readers.set(storage, new Set())
      readers.get(storage)!.add(node)
    }
  }
  return side.filter((node) => {
    const value = copied(node)
    const storage = node.inputs[0]?.storage as Storage | undefined
    if (!value || readers.get(storage!)!.size > 1) return true
    write(storage!, value.host!)
    bumpVersions(node)
    return false
  })
}

/** After a replay: the same storages were written once more. */
export function reassign(side: readonly Node[]): void {
  for (const node of side)
    for (const done of assigned.get(node) ?? [{ node, output: 0 }]) {
      const { storage } = done.node
      if (!storage || !wroteTo(node, done.output)) continue
      storage.version++
      done.node.version = storage.version
      // The replayed trace may be an older one: what was traced since stands for the new value as well.
      const last = newest.get(storage)
      if (last) last.version = storage.version
    }
}

const wroteTo = (node: Node, output: number): boolean => effects(node).some(([out]) => out === output)

/** Nodes that stand for an assignment's outputs: itself, and a `pick` for every further one. */
const assigned = new WeakMap<Node, { node: Node; output: number }[]>()

/** Registers the picks of a multi-output assignment, so that they become leaves once it has run. */
export function registerAssigned(effect: Node, picks: readonly Node[]): void {
  assigned.set(
    effect,
    picks.map((node, output) => ({ node, output })),
  )
}
