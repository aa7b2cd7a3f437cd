/**
 * Turns wanted nodes into a plan: which values stand in memory (partition.ts), which launches make them (launches.ts), in which
 * order and how many at once (schedule.ts), in which memory (layout.ts).
 */
import type { Capabilities, Program } from '../../kernels/kernel.ts'
import { valueInputs } from '../autograd.ts'
import { byteSize } from '../dtype.ts'
import type { Node, OutputSpec } from '../graph.ts'
import { bindingCount } from './bindings.ts'
import { resolvePick, specOf, type ValueRef } from './emit.ts'
import { type GeneratorContext, generateLaunch, generateTail } from './generated.ts'
import {
  acceptsStrides,
  type Call,
  kernelLowerings,
  type LoweringContext,
  lowerMatmul,
  lowerWithTail,
  writesStrided,
} from './kernels.ts'
import { type Launch, launchesOf } from './launches.ts'
import { type Draft, layOut, sizeOf } from './layout.ts'
import { type Partition, partition } from './partition.ts'
import type { Placement } from './placement.ts'
import type { Chooser, Plan } from './plan.ts'
import { schedule } from './schedule.ts'
import type { Place } from './views.ts'

export interface PlannerOptions {
  readonly caps: Capabilities
  readonly choose: Chooser
  /** Default true; false gives every node a launch of its own, which tests compare against. */
  readonly fuse?: boolean
}

export function buildPlan(roots: readonly Node[], sideEffects: readonly Node[], options: PlannerOptions): Plan {
  const fuse = options.fuse ?? true
  const limit = options.caps.maxStorageBuffers
  const wanted = new Set(roots.map((r) => specOf(resolvePick(r))))
  const forced = new Set<Node>()
  for (let attempt = 0; attempt < 50; attempt++) {
    const part = partition([...roots, ...sideEffects], {
      acceptsStrides,
      fuse,
      forced,
      software: options.caps.software,
    })
    const launches = launchesOf(part, wanted)
    const before = forced.size
    for (const launch of launches.list) {
      if (bindingCount(launch, launches.placed) <= limit) continue
      const split = widestInput(launch, part)
      if (split) forced.add(split)
    }
    if (forced.size > before) continue
    const ordered = schedule(launches, { part, wanted, limit, fuse })
    const drafting = new Drafting(part, launches.placed, options)
    const conflicts = drafting.run(ordered)
    if (!conflicts.length) return layOut(drafting.drafts, drafting.temps, part, roots)
    for (const value of conflicts) forced.add(value)
    if (forced.size === before) break
  }
  throw new Error(`planner: an op reads more buffers than this adapter binds at once (${limit})`)
}

/** Generates and lowers launches, in their order. */
class Drafting {
  readonly drafts: Draft[] = []
  /** Bytes of scratch buffers that kernels asked for. */
  readonly temps: number[] = []

  constructor(
    private readonly part: Partition,
    private readonly placed: ReadonlyMap<OutputSpec, Placement>,
    private readonly options: PlannerOptions,
  ) {}

  /** Values that must stand in memory before they are assigned, where some were found; none when all is drafted. */
  run(launches: readonly Launch[]): Node[] {
    for (const launch of launches) {
      if (launch.kind === 'kernel') this.kernel(launch)
      else {
        const made = generateLaunch(launch, this.context)
        if (!made) return launch.segments.flat().flatMap((o) => (o.ref.node === o.value ? [] : [o.value]))
        this.push(made.program, made.args, launch)
      }
    }
    return []
  }

  private get context(): GeneratorContext & LoweringContext {
    const { caps, choose } = this.options
    return { part: this.part, caps, choose, placement: (ref) => this.placed.get(specOf(ref)) }
  }

  private push(program: Program, args: readonly (Place | { temp: number })[], launch: Launch): void {
    this.drafts.push({
      program,
      args,
      fused: opsOf(launch, this.part),
      note: this.part.copies.get(launch.node),
      origin: originOf(launch),
    })
  }

  private kernel(launch: Launch): void {
    const { node, tail } = launch
    const operands = this.part.operands.get(node)!
    if (tail) {
      const { epilogue, args, bytes } = generateTail(launch, this.context)
      const program = lowerWithTail(node, operands, this.context, {
        epilogue,
        swapped: tail.swapped,
        dtype: launch.segments[0]![0]!.value.dtype,
      })
      const cost = { flops: program.cost.flops, bytes: program.cost.bytes + bytes }
      const refs = [...(tail.swapped ? [...operands].reverse() : operands).map((o) => o.ref), ...args]
      return this.push({ ...program, cost }, [...refs, this.written(launch.writes[0]!)], launch)
    }
    const firstTemp = this.temps.length
    for (const { program, args } of this.calls(node)) {
      const refs = args.map((a) => {
        if ('in' in a) return operands[a.in]!.ref
        if ('out' in a) return this.written({ node, output: a.out })
        this.temps[firstTemp + a.temp] = a.bytes
        return { temp: firstTemp + a.temp }
      })
      this.push(program, refs, launch)
    }
  }

  private calls(node: Node): Call[] {
    const operands = this.part.operands.get(node)!
    if (node.op === 'matmul')
      return [{ program: lowerMatmul(node, operands, this.context), args: [{ in: 0 }, { in: 1 }, { out: 0 }] }]
    if (node.op === 'custom')
      return (node as Node<'custom'>).attrs.op.lower(node as Node<'custom'>, operands, this.context)
    const lowering = kernelLowerings[node.op as keyof typeof kernelLowerings]
    if (!lowering) throw new Error(`planner: no lowering for '${node.op}'`)
    const places = writesStrided(node)
      ? node.outputs.map((_, output) => this.placed.get(specOf({ node, output })))
      : undefined
    return lowering(node as never, operands, places ? { ...this.context, places } : this.context)
  }

  /** Where a kernel's output is bound: its own memory, or its part of a larger value. */
  private written(ref: ValueRef): Place {
    const place = this.placed.get(specOf(ref))
    if (!place) return ref
    const container = { node: place.container, output: 0 }
    if (writesStrided(ref.node)) return container
    const { shape, dtype } = specOf(ref)
    return { ...container, window: { offset: place.offset * byteSize(dtype), bytes: sizeOf(shape, dtype) } }
  }
}

/** Where the ops of a launch were recorded: its last one that says so. */
const originOf = (launch: Launch): string | undefined =>
  [...launch.segments.flat().map((o) => o.value), launch.node].reverse().find((n) => n.origin)?.origin

/** The ops that a launch computes, innermost first; views and constants are left out. */
function opsOf(launch: Launch, part: Partition): string[] {
  const quiet = new Set(['reshape', 'permute', 'expand', 'slice', 'constant', 'detach', 'pick', 'leaf', 'contiguous'])
  const names: string[] = []
  const seen = new Set<Node>()
  const visit = (node: Node, inside: boolean) => {
    if (seen.has(node)) return
    seen.add(node)
    if (!inside && part.inMemory(node)) return
    if (node !== launch.tail?.kernel) for (const x of valueInputs(node)) visit(x, false)
    if (!quiet.has(node.op)) names.push(node.op)
  }
  if (!launch.segments.length) return [launch.node.op]
  for (const { value, ref } of launch.segments.flat()) {
    visit(value, ref.node === value)
    if (ref.node !== value) names.push(ref.node.op)
  }
  return names
}

/** Among the values that a launch computes in place, one that reads many buffers but not all: splitting there halves the launch. */
function widestInput(launch: Launch, part: Partition): Node | undefined {
  const computed = new Set(launch.segments.flat().map((o) => o.value))
  const loads = new Map<Node, Set<OutputSpec>>()
  const visit = (n: Node): Set<OutputSpec> => {
    const known = loads.get(n)
    if (known) return known
    const set = new Set<OutputSpec>()
    loads.set(n, set)
    if (n === launch.tail?.kernel) return set
    for (const x of valueInputs(n))
      if (part.inMemory(x)) set.add(specOf(resolvePick(x)))
      else for (const y of visit(x)) set.add(y)
    return set
  }
  const total = new Set([...computed].flatMap((n) => [...visit(n)])).size
  let best: Node | undefined
  let bestScore = Number.POSITIVE_INFINITY
  for (const [n, set] of loads) {
    if (computed.has(n) || n === launch.tail?.kernel || set.size < 2 || set.size >= total) continue
    const score = Math.abs(set.size - total / 2)
    if (score < bestScore) [best, bestScore] = [n, score]
  }
  return best
}
