/** From drafted launches to a plan: slots for what lives inside it, results for what is wanted. */
import type { Program } from '../../kernels/kernel.ts'
import { byteSize } from '../dtype.ts'
import type { Node, OutputSpec } from '../graph.ts'
import { formatShape, numel, type Shape } from '../shape.ts'
import { resolvePick, specOf } from './emit.ts'
import type { Partition } from './partition.ts'
import type { BufferRef, Plan, Step } from './plan.ts'
import { effects } from './roles.ts'
import { assignSlots, type Lifetime } from './slots.ts'
import type { Place } from './views.ts'

export const sizeOf = (shape: Shape, dtype: Node['dtype']): number =>
  Math.max(4, Math.ceil((numel(shape) * byteSize(dtype)) / 4) * 4)

/** Realized nodes that the program reads, in a fixed order: the plan's leaves. */
export const leavesOf = (order: readonly Node[]): Node[] => order.filter((n) => n.realized)

/** A step before memory is assigned; its arguments in binding order. */
export interface Draft {
  readonly program: Program
  readonly args: readonly (Place | { temp: number })[]
  readonly fused: readonly string[]
  readonly note?: string | undefined
  readonly origin?: string | undefined
}

/** Gives every intermediate a slot and every wanted value a result. */
export function layOut(
  drafts: readonly Draft[],
  temps: readonly number[],
  part: Partition,
  roots: readonly Node[],
): Plan {
  const leaves = new Map(leavesOf(part.order).map((n, i) => [n, i]))
  const results = new Map<OutputSpec, number>()
  const resultList: { bytes: number; dtype: Node['dtype'] }[] = []
  for (const root of roots) {
    const ref = resolvePick(root)
    const spec = specOf(ref)
    if (ref.node.realized || results.has(spec) || effects(ref.node).some(([out]) => out === ref.output)) continue
    results.set(spec, resultList.length)
    resultList.push({ bytes: sizeOf(spec.shape, spec.dtype), dtype: spec.dtype })
  }

  /** Where a value outside the plan's own memory is: a leaf, what an assignment overwrites, or a result. */
  const external = ({ node, output, window }: Place): BufferRef | undefined => {
    if (node.realized) return { kind: 'leaf', index: leaves.get(node)!, window }
    const effect = effects(node).find(([out]) => out === output)
    if (effect) return external({ ...resolvePick(node.inputs[effect[1]]!), window })
    const result = results.get(specOf({ node, output }))
    return result === undefined ? undefined : { kind: 'result', index: result, window }
  }

  // An intermediate is known by its spec, a scratch buffer by its number.
  const lifetimes = new Map<OutputSpec | number, { bytes: number; from: number; to: number }>()
  const touch = (id: OutputSpec | number, bytes: number, at: number) => {
    const life = lifetimes.get(id)
    if (life) life.to = at
    else lifetimes.set(id, { bytes, from: at, to: at })
  }
  drafts.forEach(({ args }, at) => {
    for (const a of args) {
      if ('temp' in a) touch(a.temp, temps[a.temp]!, at)
      else if (!external(a)) touch(specOf(a), sizeOf(specOf(a).shape, specOf(a).dtype), at)
    }
  })
  const list: Lifetime[] = [...lifetimes.values()]
  const { sizes, slotOf } = assignSlots(list)
  const slots = new Map([...lifetimes.keys()].map((id, i) => [id, slotOf[i]!]))
  const slotRef = (a: Place | { temp: number }): BufferRef => {
    if ('temp' in a) return { kind: 'slot', slot: slots.get(a.temp)!, offset: 0, bytes: temps[a.temp]! }
    const spec = specOf(a)
    const { offset, bytes } = a.window ?? { offset: 0, bytes: sizeOf(spec.shape, spec.dtype) }
    return { kind: 'slot', slot: slots.get(spec)!, offset, bytes }
  }
  const steps = drafts.map(
    ({ program, fused, note, origin, args }): Step => ({
      program,
      fused,
      ops: inShort(fused),
      note,
      origin,
      specs: args.map((a) => ('temp' in a ? undefined : specOf(a))),
      values: args.map((a) => ('temp' in a ? 'scratch' : described(a))),
      args: args.map((a) => ('temp' in a ? undefined : external(a)) ?? slotRef(a)),
    }),
  )
  return { steps, slots: sizes, results: resultList, peakLiveBytes: peakOf(list, steps.length) }
}

const described = (a: Place): string => `${specOf(a).dtype}${formatShape(specOf(a).shape)}`

const inShort = (ops: readonly string[]): string =>
  ops.length > 8
    ? `${ops.slice(0, 4).join('+')}+…${ops.length - 7}…+${ops.slice(-3).join('+')}`
    : ops.join('+') || 'copy'

/** Largest sum of bytes alive at once. */
export function peakOf(lifetimes: readonly Lifetime[], steps: number): number {
  const change = new Float64Array(steps + 1)
  for (const { bytes, from, to } of lifetimes) {
    change[from]! += bytes
    change[to + 1]! -= bytes
  }
  let [live, peak] = [0, 0]
  for (let at = 0; at < steps; at++) {
    live += change[at]!
    peak = Math.max(peak, live)
  }
  return peak
}
