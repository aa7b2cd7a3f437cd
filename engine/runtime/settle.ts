/** What a run means for the graph: its structure as a key before, and the values that nodes own after. */
import { valueInputs } from '../autograd.ts'
import { intern, type Node } from '../graph.ts'
import { resolvePick } from '../plan/emit.ts'
import type { Plan } from '../plan/plan.ts'
import { effects } from '../plan/roles.ts'
import type { Storage } from './storage.ts'

export function checkVersion(node: Node): void {
  if (!node.storage) return
  if (node.storage.disposed) throw new Error(`A tensor ${node.dtype}[${node.shape}] was used after dispose()`)
  if (node.version !== node.storage.version)
    throw new Error(
      `A value of shape [${node.shape}] was recorded before an assignment overwrote its storage, and is asked for after it: ` +
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
    }
  }
}

/** After a replay: the same storages were written once more. */
export function reassign(side: readonly Node[]): void {
  for (const node of side)
    for (const done of assigned.get(node) ?? [{ node, output: 0 }]) {
      const { storage } = done.node
      if (!storage || !wroteTo(node, done.output)) continue
      storage.version++
      done.node.version = storage.version
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
