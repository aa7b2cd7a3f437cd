/** What computing tensors would launch, before anything runs: the plan as text and as plain data. */
import { formatBytes } from '../device/errors.ts'
import type { BufferRef, Plan, Step } from '../plan/plan.ts'
import { currentDevice } from '../runtime/current.ts'
import type { HasNode } from './subject.ts'

export interface ExplainedBuffer {
  /** `slot 3` (memory of the plan, shared over time), `leaf 0` (a value that exists before), `result 1` (wanted, new each run). */
  readonly buffer: string
  /** Bytes from the buffer's start, and bytes bound. */
  readonly offset: number
  readonly bytes: number | undefined
  /** dtype and shape, e.g. `f32[4, 196]`. */
  readonly value: string
}

export interface ExplainedDispatch {
  readonly index: number
  readonly kernel: string
  /** Ops that it computes, innermost first; views and constants are left out. */
  readonly ops: readonly string[]
  readonly grid: readonly [number, number, number]
  readonly reads: readonly ExplainedBuffer[]
  readonly writes: readonly ExplainedBuffer[]
  readonly flops: number
  /** Bytes that must cross memory at least once. */
  readonly bytes: number
  /** Why it is there, where that is not plain. */
  readonly note?: string | undefined
  /** Source line that recorded it, while `recordOrigins` is on. */
  readonly origin?: string | undefined
}

export interface ExplainedTotals {
  readonly dispatches: number
  /** Ops that the dispatches compute. */
  readonly ops: number
  /** Different kernels, each compiled once. */
  readonly pipelines: number
  readonly slots: number
  readonly slotBytes: number
  /** Most bytes of intermediates alive at once: the least that the slots could take. */
  readonly peakLiveBytes: number
  readonly resultBytes: number
  readonly flops: number
  readonly bytes: number
}

export class Explanation {
  readonly dispatches: readonly ExplainedDispatch[]
  readonly totals: ExplainedTotals

  constructor(private readonly plan: Plan) {
    const { steps, slots, results, peakLiveBytes } = plan
    this.dispatches = steps.map(explained)
    const sum = (of: (step: Step) => number) => steps.reduce((total, step) => total + of(step), 0)
    this.totals = {
      dispatches: steps.length,
      ops: sum((s) => s.fused.length),
      pipelines: new Set(steps.map((s) => s.program.wgsl)).size,
      slots: slots.length,
      slotBytes: slots.reduce((a, b) => a + b, 0),
      peakLiveBytes,
      resultBytes: results.reduce((a, r) => a + r.bytes, 0),
      flops: sum((s) => s.program.cost.flops),
      bytes: sum((s) => s.program.cost.bytes),
    }
  }

  /** Complete WGSL of a dispatch, as it is compiled. @throws RangeError */
  wgsl(index: number): string {
    const step = this.plan.steps[index]
    if (!step) throw new RangeError(`explain: no dispatch ${index}, there are ${this.plan.steps.length}`)
    return step.program.wgsl
  }

  toString(): string {
    const { dispatches, ops, pipelines, slots, slotBytes, peakLiveBytes, resultBytes, flops, bytes } = this.totals
    const head = [
      `${dispatches} dispatches (${pipelines} kernels) for ${ops} ops, ${count(flops)}flop, ${formatBytes(bytes)} moved`,
      `${slots} slots of ${formatBytes(slotBytes)} in all, ${formatBytes(peakLiveBytes)} alive at most; results ${formatBytes(resultBytes)}`,
    ]
    return [...head, ...this.dispatches.flatMap(lines)].join('\n')
  }

  /** Node prints the text. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

function explained({ program, args, values, fused, note, origin }: Step, index: number): ExplainedDispatch {
  const buffers = args.map((ref, i): ExplainedBuffer => ({ ...located(ref), value: values[i]! }))
  const written = (i: number) => program.bindings[i]!.access === 'read_write'
  return {
    index,
    kernel: program.label,
    ops: fused,
    grid: program.grid,
    reads: buffers.filter((_, i) => !written(i)),
    writes: buffers.filter((_, i) => written(i)),
    flops: program.cost.flops,
    bytes: program.cost.bytes,
    note,
    origin,
  }
}

function located(ref: BufferRef): Omit<ExplainedBuffer, 'value'> {
  if (ref.kind === 'slot') return { buffer: `slot ${ref.slot}`, offset: ref.offset, bytes: ref.bytes }
  return { buffer: `${ref.kind} ${ref.index}`, offset: ref.window?.offset ?? 0, bytes: ref.window?.bytes }
}

function lines(d: ExplainedDispatch): string[] {
  const show = ({ buffer, offset, value }: ExplainedBuffer) => `${buffer}${offset ? `+${offset}` : ''} ${value}`
  const list = (buffers: readonly ExplainedBuffer[]) => buffers.map(show).join(', ') || 'nothing'
  const work = `${d.grid.join('×')} workgroups, ${count(d.flops)}flop, ${formatBytes(d.bytes)}`
  return [
    `${String(d.index).padStart(4)}  ${d.kernel}  [${d.ops.join(' ') || 'copy'}]  ${work}`,
    `      ${list(d.reads)} → ${list(d.writes)}`,
    ...(d.note ? [`      ${d.note}`] : []),
    ...(d.origin ? [`      recorded at ${d.origin}`] : []),
  ]
}

/** 1.2 k, 3.4 M, 5.6 G … */
function count(value: number): string {
  const units = ['', 'k', 'M', 'G', 'T']
  let unit = 0
  let scaled = value
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000
    unit++
  }
  return `${unit ? scaled.toPrecision(3) : scaled} ${units[unit]}`
}

/**
 * The plan of computing `tensors`, with the assignments recorded so far (optimiser steps): every dispatch with its ops, shapes, memory
 * and cost. Runs nothing. Print it (`console.log(explain(loss))`), read `dispatches` and `totals`, or see a kernel with `wgsl(i)`.
 * @throws Error when no device is open
 */
export function explain(tensors: HasNode | readonly HasNode[]): Explanation {
  const list = Array.isArray(tensors) ? (tensors as readonly HasNode[]) : [tensors as HasNode]
  return new Explanation(currentDevice().plan(list.map((t) => t.node)))
}
