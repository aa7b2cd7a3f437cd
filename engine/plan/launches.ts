/**
 * From a partition to launches: what each computes, reads and overwrites, and which must come before which. Nothing is generated
 * yet, so launches can still be put together (merge.ts).
 */
import { valueInputs } from '../autograd.ts'
import type { Node, OutputSpec } from '../graph.ts'
import { resolvePick, specOf, type ValueRef } from './emit.ts'
import type { Partition, Tail } from './partition.ts'
import { type Placement, placeInConcat, placeInPack, placeRearranged } from './placement.ts'
import { effects, isKernel, isReduction, rearranges } from './roles.ts'
import { flatWindow } from './views.ts'

/** A result of a generated launch. */
export interface Output {
  /** What is computed. */
  readonly value: Node
  /** Where it is put: the value's own memory, or what an assignment overwrites. */
  readonly ref: ValueRef
}

/** Results over one index space: that of the first. */
export type Segment = readonly Output[]

export interface Launch {
  readonly kind: 'generated' | 'kernel'
  /** The kernel's op; of generated code the first result. */
  readonly node: Node
  /** Generated code: its segments. A kernel: none, or one, the results of its tail. */
  readonly segments: readonly Segment[]
  readonly tail?: Tail | undefined
  /** Values in memory that it reads. */
  readonly reads: ReadonlyMap<OutputSpec, ValueRef>
  /** Values that it makes. */
  readonly writes: readonly ValueRef[]
  /** Storage bindings that it reads through: a kernel binds a buffer once for every operand. */
  readonly readBindings: number
}

export interface Launches {
  /** In an order that respects data, not yet assignments. */
  readonly list: Launch[]
  /** Values that are written into a part of a larger one. */
  readonly placed: ReadonlyMap<OutputSpec, Placement>
}

/** Values in memory that computing `outputs` reads; `provided` is what surrounding code has at hand. */
function readsOf(outputs: readonly Output[], part: Partition, provided?: Node) {
  const reads = new Map<OutputSpec, ValueRef>()
  const bindings = new Set<string>()
  const computed = new Set(outputs.filter((o) => o.ref.node === o.value).map((o) => o.value))
  const seen = new Set<Node>()
  const visit = (node: Node) => {
    if (seen.has(node)) return
    seen.add(node)
    if (node === provided) return
    const window = flatWindow(node)
    if (window) {
      const whole = { node: node.inputs[0]!, output: 0 }
      reads.set(specOf(whole), whole)
      bindings.add(`${specId(specOf(whole))}+${window.offset}`)
      return
    }
    if (!computed.has(node) && part.inMemory(node)) {
      const ref = resolvePick(node)
      reads.set(specOf(ref), ref)
      bindings.add(`${specId(specOf(ref))}`)
      return
    }
    for (const x of valueInputs(node)) visit(x)
  }
  for (const { value } of outputs) visit(value)
  return { reads, bindings }
}

const ids = new WeakMap<OutputSpec, number>()
let nextId = 1
const specId = (spec: OutputSpec): number => {
  let id = ids.get(spec)
  if (!id) ids.set(spec, (id = nextId++))
  return id
}

export function generatedLaunch(segments: readonly Segment[], part: Partition): Launch {
  const read = segments.map((outputs) => readsOf(outputs, part))
  const reads = new Map(read.flatMap((r) => [...r.reads]))
  const readBindings = new Set(read.flatMap((r) => [...r.bindings])).size
  const writes = segments.flatMap((outputs) => outputs.map((o) => o.ref))
  const { node } = segments[0]![0]!.ref
  return { kind: 'generated', node, segments, reads, writes, readBindings }
}

export function tailLaunch(tail: Tail, outputs: Segment, part: Partition): Launch {
  const operands = part.operands.get(tail.kernel)!
  const { reads, bindings } = readsOf(outputs, part, tail.kernel)
  const readBindings = bindings.size + operands.length
  for (const { ref } of operands) reads.set(specOf(ref), ref)
  const writes = outputs.map((o) => o.ref)
  return { kind: 'kernel', node: tail.kernel, segments: [outputs], tail, reads, writes, readBindings }
}

function kernelLaunch(node: Node, part: Partition): Launch {
  const operands = part.operands.get(node)!
  const reads = new Map(operands.map(({ ref }) => [specOf(ref), ref]))
  const writes = node.outputs.map((_, output) => ({ node, output }))
  return { kind: 'kernel', node, segments: [], reads, writes, readBindings: operands.length }
}

const own = (value: Node): Output => ({ value, ref: { node: value, output: 0 } })

/** One launch per stored value; packs, and concats and rearrangements that kernels can write into, become places instead of launches. */
export function launchesOf(part: Partition, wanted: ReadonlySet<OutputSpec>): Launches {
  const made = new Map<Node, Launch>()
  for (const node of part.order) {
    if (node.realized || !part.stored.has(node) || node.op === 'pick') continue
    const tail = part.tails.get(node)
    if (tail) made.set(node, tailLaunch(tail, [own(node)], part))
    else if (node.op === 'assign')
      made.set(node, generatedLaunch([[{ value: node.inputs[1]!, ref: { node, output: 0 } }]], part))
    else if (isKernel(node)) made.set(node, kernelLaunch(node, part))
    else made.set(node, generatedLaunch([[own(node)]], part))
  }
  const readers = new Map<OutputSpec, number>()
  for (const { reads } of made.values())
    for (const spec of reads.keys()) readers.set(spec, (readers.get(spec) ?? 0) + 1)
  /** Made here and read by one launch alone, so that it needs no memory of its own. */
  const only = (ref: ValueRef) =>
    !ref.node.realized && !wanted.has(specOf(ref)) && readers.get(specOf(ref)) === 1 && effects(ref.node).length === 0

  const placed = new Map<OutputSpec, Placement>()
  const list: Launch[] = []
  for (const [node, launch] of made) {
    if (node.op === 'pack') {
      for (const output of placeInPack(node as Node<'pack'>, part, only, placed))
        list.push(generatedLaunch([[output]], part))
      continue
    }
    if (launch.kind === 'generated' && rearranges(node) && placeRearranged(node, part, only, placed)) continue
    const zeros = node.op === 'concat' ? placeInConcat(node as Node<'concat'>, part, only, placed) : undefined
    if (!zeros) list.push(launch)
    else if (zeros.length)
      list.push(
        generatedLaunch(
          zeros.map((z) => [z]),
          part,
        ),
      )
  }
  return { list, placed }
}

/** Whether computing these results runs over reductions. */
export const hasReduction = (outputs: Segment, part: Partition): boolean => {
  const seen = new Set<Node>()
  const computed = new Set(outputs.map((o) => o.value))
  const visit = (node: Node): boolean => {
    if (seen.has(node)) return false
    seen.add(node)
    if (!computed.has(node) && part.inMemory(node)) return false
    return isReduction(node) || valueInputs(node).some(visit)
  }
  return outputs.some((o) => visit(o.value))
}
