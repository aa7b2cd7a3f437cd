/**
 * The order of launches: data before readers, readers before what overwrites it, and whatever frees memory as soon as it can
 * run. Then launches that can go together become one (merge.ts).
 */
import type { OutputSpec } from '../graph.ts'
import { resolvePick, specOf, type ValueRef } from './emit.ts'
import type { Launch, Launches } from './launches.ts'
import { peakOf, sizeOf } from './layout.ts'
import { merge } from './merge.ts'
import type { Partition } from './partition.ts'
import type { Placement } from './placement.ts'
import { effects } from './roles.ts'
import type { Lifetime } from './slots.ts'

export interface ScheduleOptions {
  readonly part: Partition
  /** Values whose memory is not the plan's. */
  readonly wanted: ReadonlySet<OutputSpec>
  /** Storage bindings that a launch may have. */
  readonly limit: number
  readonly fuse: boolean
}

/** A launch among the others. Both sets change as launches are put together. */
export interface Item {
  launch: Launch
  readonly before: Set<Item>
  readonly after: Set<Item>
}

export function schedule({ list, placed }: Launches, options: ScheduleOptions): Launch[] {
  const memory = new MemoryUse(placed, options.wanted)
  const items = ordered(dependencies(list, placed))
  if (!options.fuse) return items.map((i) => i.launch)
  const orders = [freeingFirst(items, memory, 1), freeingFirst(items, memory, 2), items]
  const best = orders.reduce((least, order) => (memory.peak(order) < memory.peak(least) ? order : least))
  return merge(best, memory, placed, options).map((i) => i.launch)
}

/** Which launches must come before which. */
function dependencies(list: readonly Launch[], placed: ReadonlyMap<OutputSpec, Placement>): Item[] {
  const items = list.map((launch): Item => ({ launch, before: new Set(), after: new Set() }))
  const writers = new Map<OutputSpec, Item[]>()
  const readers = new Map<object, Item[]>()
  const push = <K>(map: Map<K, Item[]>, key: K, item: Item) => {
    const known = map.get(key)
    if (known) known.push(item)
    else map.set(key, [item])
  }
  // Two leaves may stand for one storage.
  const home = (ref: ValueRef): object => ref.node.storage ?? specOf(ref)
  for (const item of items) {
    for (const ref of item.launch.writes) {
      push(writers, specOf(ref), item)
      const place = placed.get(specOf(ref))
      if (place) push(writers, place.container.outputs[0]!, item)
    }
    for (const ref of item.launch.reads.values()) push(readers, home(ref), item)
  }
  const precede = (first: Item, second: Item) => {
    if (first === second) return
    first.after.add(second)
    second.before.add(first)
  }
  for (const item of items) {
    for (const spec of item.launch.reads.keys()) for (const writer of writers.get(spec) ?? []) precede(writer, item)
    for (const ref of item.launch.writes)
      for (const [output, input] of effects(ref.node)) {
        if (output !== ref.output) continue
        const target = resolvePick(ref.node.inputs[input]!)
        for (const writer of writers.get(specOf(target)) ?? []) precede(writer, item)
        for (const reader of readers.get(home(target)) ?? []) precede(reader, item)
      }
  }
  return items
}

/** Near the order given, with everything behind what must come before it. */
function ordered(items: readonly Item[]): Item[] {
  const out: Item[] = []
  const state = new Map<Item, 'open' | 'done'>()
  const visit = (item: Item) => {
    if (state.get(item) === 'done') return
    if (state.get(item) === 'open')
      throw new Error(
        `planner: '${item.launch.node.op}' overwrites a value that something after it still needs in its old state; copy it with .contiguous() first`,
      )
    state.set(item, 'open')
    for (const earlier of item.before) visit(earlier)
    state.set(item, 'done')
    out.push(item)
  }
  for (const item of items) visit(item)
  return out
}

/**
 * The same order, but what frees more memory than it takes runs as soon as it can: weight gradients, which let activations go; with
 * `together` 2 also where it takes two launches, one after the other.
 */
function freeingFirst(items: readonly Item[], memory: MemoryUse, together: 1 | 2): Item[] {
  const out: Item[] = []
  const done = new Set<Item>()
  const waiting = new Map(items.map((i) => [i, i.before.size]))
  const ready = new Set<Item>()
  const readersLeft = memory.readerCounts(items)
  const alive = new Set<object>()
  /** Bytes that launches free beyond those they take, run one after the other. */
  const gain = (...run: Item[]): number => {
    const reads = new Map<object, { bytes: number; readers: number }>()
    const made = new Set<object>()
    let freed = 0
    for (const { launch } of run) {
      for (const [id, bytes] of memory.read(launch))
        reads.set(id, { bytes, readers: (reads.get(id)?.readers ?? 0) + 1 })
      // What gradients are gathered in has to be there in any case.
      for (const [id, bytes] of memory.written(launch)) {
        if (alive.has(id) || memory.gathers(id) || made.has(id)) continue
        made.add(id)
        freed -= bytes
      }
    }
    for (const [id, { bytes, readers }] of reads) if (readersLeft.get(id) === readers) freed += bytes
    return freed
  }
  /** Launches that free memory together, from one that is ready: a recomputed activation and the weight gradient that reads it. */
  const freeing = (first: Item): Item[] => {
    if (gain(first) > 0) return [first]
    if (together < 2) return []
    const second = [...first.after].find((next) => waiting.get(next) === 1 && gain(first, next) > 0)
    return second ? [first, second] : []
  }
  const run = (item: Item) => {
    done.add(item)
    ready.delete(item)
    out.push(item)
    for (const [id] of memory.written(item.launch)) alive.add(id)
    for (const [id] of memory.read(item.launch)) readersLeft.set(id, readersLeft.get(id)! - 1)
    for (const later of item.after) {
      const left = waiting.get(later)! - 1
      waiting.set(later, left)
      if (left === 0) ready.add(later)
    }
  }
  for (const item of items) if (item.before.size === 0) ready.add(item)
  for (const item of items) {
    if (!done.has(item)) run(item)
    for (let again = true; again; ) {
      again = false
      for (const candidate of ready)
        for (const next of freeing(candidate)) {
          run(next)
          again = true
        }
    }
  }
  return out
}

/** Bytes of the plan's own memory that launches read and write. */
export class MemoryUse {
  private readonly containers: ReadonlySet<object>
  private readonly cache = new Map<Launch, { read: Map<object, number>; written: Map<object, number> }>()

  constructor(
    private readonly placed: ReadonlyMap<OutputSpec, Placement>,
    private readonly wanted: ReadonlySet<OutputSpec>,
  ) {
    this.containers = new Set([...placed.values()].map((p) => p.container.outputs[0]!))
  }

  read(launch: Launch): ReadonlyMap<object, number> {
    return this.of(launch).read
  }

  written(launch: Launch): ReadonlyMap<object, number> {
    return this.of(launch).written
  }

  private of(launch: Launch) {
    let known = this.cache.get(launch)
    if (!known) {
      known = { read: this.sizes(launch.reads.values()), written: this.sizes(launch.writes) }
      this.cache.set(launch, known)
    }
    return known
  }

  /** Whether a value is made of parts that several launches write. */
  gathers(id: object): boolean {
    return this.containers.has(id)
  }

  /** Values by what holds them, without what is outside the plan. */
  private sizes(refs: Iterable<ValueRef>): Map<object, number> {
    const sizes = new Map<object, number>()
    for (const ref of refs) {
      const spec = this.placed.get(specOf(ref))?.container.outputs[0] ?? specOf(ref)
      const outside =
        ref.node.realized || this.wanted.has(spec) || effects(ref.node).some(([output]) => output === ref.output)
      if (!outside) sizes.set(spec, sizeOf(spec.shape, spec.dtype))
    }
    return sizes
  }

  readerCounts(items: readonly Item[]): Map<object, number> {
    const counts = new Map<object, number>()
    for (const { launch } of items) for (const [id] of this.read(launch)) counts.set(id, (counts.get(id) ?? 0) + 1)
    return counts
  }

  /** First and last launch that touches each value. */
  lifetimes(items: readonly Item[]): Map<object, { bytes: number; from: number; to: number }> {
    const lives = new Map<object, { bytes: number; from: number; to: number }>()
    items.forEach(({ launch }, at) => {
      for (const map of [this.read(launch), this.written(launch)])
        for (const [id, bytes] of map) {
          const life = lives.get(id)
          if (life) life.to = at
          else lives.set(id, { bytes, from: at, to: at })
        }
    })
    return lives
  }

  peak(items: readonly Item[]): number {
    return peakOf([...this.lifetimes(items).values()] as Lifetime[], items.length)
  }
}
