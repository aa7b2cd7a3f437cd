/**
 * Puts generated launches together: a chain goes into the launch whose result it reads element by element, and launches that
 * do not depend on one another become segments of one. Saves launches and reads; never lets memory grow.
 */
import { isFloat } from '../dtype.ts'
import type { OutputSpec } from '../graph.ts'
import { contiguousStrides, numel } from '../shape.ts'
import { bindingCount } from './bindings.ts'
import { specOf } from './emit.ts'
import { generatedLaunch, hasReduction, type Launch, tailLaunch } from './launches.ts'
import type { Partition, Tail } from './partition.ts'
import type { Placement } from './placement.ts'
import { takesTail } from './roles.ts'
import type { Item, MemoryUse, ScheduleOptions } from './schedule.ts'
import { dot, type Index, unflatten, variable } from './symbolic.ts'
import { coordinatesThrough, inStoreOrder, tailCoordinates } from './tails.ts'

/** Segments that one launch may have, and nodes that it may compute: more take long to compile. */
const segmentLimit = 8
/** Elements above which a launch is long enough to go alone. */
const sizeLimit = 2 ** 21

export function merge(
  order: readonly Item[],
  memory: MemoryUse,
  placed: ReadonlyMap<OutputSpec, Placement>,
  options: ScheduleOptions,
): Item[] {
  const merging = new Merging([...order], memory, placed, options)
  merging.chains()
  merging.neighbours()
  return merging.items
}

class Merging {
  private positions = new Map<Item, number>()
  private lives: ReturnType<MemoryUse['lifetimes']> = new Map()
  private live = new Float64Array(0)
  private readonly budget: number

  constructor(
    readonly items: Item[],
    private readonly memory: MemoryUse,
    private readonly placed: ReadonlyMap<OutputSpec, Placement>,
    private readonly options: ScheduleOptions,
  ) {
    this.budget = memory.peak(items) * 1.01
    this.measure()
  }

  private measure(): void {
    this.positions = new Map(this.items.map((item, i) => [item, i]))
    this.lives = this.memory.lifetimes(this.items)
    const live = new Float64Array(this.items.length + 1)
    for (const { bytes, from, to } of this.lives.values()) {
      live[from]! += bytes
      live[to + 1]! -= bytes
    }
    for (let i = 1; i < live.length; i++) live[i]! += live[i - 1]!
    this.live = live
  }

  private at(item: Item): number {
    return this.positions.get(item)!
  }

  /** Whether `bytes` more may be alive from launch `from` to launch `to`. */
  private affordable(bytes: number, from: number, to: number): boolean {
    if (bytes === 0) return true
    let most = 0
    for (let i = from; i <= to; i++) most = Math.max(most, this.live[i]!)
    return most + bytes <= this.budget
  }

  /** `item` can run at the place of an earlier one. */
  private canRise(item: Item, to: number): boolean {
    for (const earlier of item.before) if (this.at(earlier) >= to) return false
    let bytes = 0
    for (const [id, size] of this.memory.written(item.launch)) if (this.lives.get(id)!.from > to) bytes += size
    return this.affordable(bytes, to, this.at(item))
  }

  /** `item` can run at the place of a later one. */
  private canSink(item: Item, to: number): boolean {
    for (const later of item.after) if (this.at(later) <= to) return false
    let bytes = 0
    for (const [id, size] of this.memory.read(item.launch)) if (this.lives.get(id)!.to < to) bytes += size
    return this.affordable(bytes, this.at(item), to)
  }

  /** `kept` computes what `gone` did as well. */
  private join(kept: Item, gone: Item, launch: Launch): void {
    kept.launch = launch
    for (const earlier of gone.before) {
      earlier.after.delete(gone)
      if (earlier !== kept) {
        earlier.after.add(kept)
        kept.before.add(earlier)
      }
    }
    for (const later of gone.after) {
      later.before.delete(gone)
      if (later !== kept) {
        later.before.add(kept)
        kept.after.add(later)
      }
    }
    this.items.splice(this.at(gone), 1)
    this.measure()
  }

  private fits(launch: Launch): boolean {
    return bindingCount(launch, this.placed) <= this.options.limit
  }

  /** A pointwise chain that reads another launch's result element by element becomes a further result of that launch. */
  chains(): void {
    const { part } = this.options
    for (let i = 0; i < this.items.length; i++) {
      const item = this.items[i]!
      const chain = plainChain(item.launch, part)
      if (!chain) continue
      for (const source of item.before) {
        const launch = extended(source.launch, chain, part, this.placed)
        if (!launch || !this.fits(launch)) continue
        const others = [...item.before].filter((b) => b !== source)
        if (others.some((b) => this.at(b) >= this.at(source))) continue
        let bytes = 0
        for (const [, size] of this.memory.written(item.launch)) bytes += size
        if (!this.affordable(bytes, this.at(source), i)) continue
        this.join(source, item, launch)
        i--
        break
      }
    }
  }

  /** Launches that do not depend on one another become one, the later at the place of the earlier or the other way round. */
  neighbours(): void {
    for (let i = 0; i < this.items.length; i++) {
      const item = this.items[i]!
      if (!isSmall(item.launch)) continue
      for (let j = i - 1; j >= 0; j--) {
        const other = this.items[j]!
        if (!isSmall(other.launch) || other.launch.segments.length + item.launch.segments.length > segmentLimit)
          continue
        const rises = this.canRise(item, j)
        if (!rises && !this.canSink(other, i)) continue
        const launch = together(other.launch, item.launch, this.options.part)
        if (!this.fits(launch)) continue
        if (rises) this.join(other, item, launch)
        else this.join(item, other, launch)
        i--
        break
      }
    }
  }
}

const isSmall = (launch: Launch): boolean =>
  launch.kind === 'generated' && launch.segments.every((s) => numel(s[0]!.value.shape) <= sizeLimit)

/** The one result of a launch that is a pointwise chain and nothing else. */
function plainChain(launch: Launch, part: Partition) {
  if (launch.kind !== 'generated' || launch.segments.length !== 1 || launch.segments[0]!.length !== 1) return undefined
  const [output] = launch.segments[0]!
  return output!.ref.node === output!.value && !hasReduction([output!], part) ? output : undefined
}

/** `launch` with `chain` as a further result, if its elements are the launch's own, one by one and in order. */
function extended(
  launch: Launch,
  chain: NonNullable<ReturnType<typeof plainChain>>,
  part: Partition,
  placed: ReadonlyMap<OutputSpec, Placement>,
): Launch | undefined {
  const { shape, dtype } = chain.value
  const inOrder = (
    from: (value: Launch['node']) => readonly Index[],
    sources: Launch['node'][],
    wanted: (at: readonly Index[]) => boolean,
  ) => {
    const read = sources.filter((s) => s !== chain.value && readsNode(chain.value, s, part))
    return (
      read.length > 0 &&
      read.every((s) => {
        const at = coordinatesThrough(chain.value, s, from(s), (n) => part.inMemory(n))
        return at && wanted(at)
      })
    )
  }
  if (launch.kind === 'generated') {
    if (launch.segments.length !== 1) return undefined
    const [segment] = launch.segments
    const count = numel(segment![0]!.value.shape)
    if (numel(shape) !== count || segment!.some((o) => o.ref.node !== o.value)) return undefined
    const linear = variable('i', count)
    const follows = inOrder(
      (value) => unflatten(linear, value.shape),
      segment!.map((o) => o.value),
      (at) => dot(at, contiguousStrides(shape)).key === linear.key,
    )
    return follows ? generatedLaunch([[...segment!, chain]], part) : undefined
  }
  const kernel = launch.node
  if (!takesTail(kernel) || !isFloat(dtype) || placed.has(specOf(chain.ref))) return undefined
  const tail: Tail = launch.tail ?? { kernel, swapped: false, at: tailCoordinates(kernel, false) }
  const outputs = launch.segments[0] ?? [{ value: kernel, ref: { node: kernel, output: 0 } }]
  const first = outputs[0]!.value
  if (numel(shape) !== numel(first.shape)) return undefined
  const follows = inOrder(
    (value) => (value === first ? tail.at : coordinatesThrough(value, first, tail.at, (n) => part.inMemory(n))!),
    outputs.map((o) => o.value),
    (at) => inStoreOrder(kernel, tail.swapped, at, shape),
  )
  return follows ? tailLaunch(tail, [...outputs, chain], part) : undefined
}

/** Whether computing `value` reads `source` from memory. */
function readsNode(value: Launch['node'], source: Launch['node'], part: Partition): boolean {
  const seen = new Set<Launch['node']>()
  const visit = (node: Launch['node']): boolean => {
    if (node === source) return true
    if (seen.has(node)) return false
    seen.add(node)
    if (node !== value && part.inMemory(node)) return false
    return node.inputs.some(visit)
  }
  return visit(value)
}

/** One launch for two, over one index space where both are plain chains of the same number of elements. */
function together(a: Launch, b: Launch, part: Partition): Launch {
  const [first, second] = [a.segments[0]!, b.segments[0]!]
  const alike =
    a.segments.length === 1 &&
    b.segments.length === 1 &&
    numel(first[0]!.value.shape) === numel(second[0]!.value.shape) &&
    !hasReduction(first, part) &&
    !hasReduction(second, part) &&
    [...a.reads.keys()].some((spec) => b.reads.has(spec))
  return generatedLaunch(alike ? [[...first, ...second]] : [...a.segments, ...b.segments], part)
}
