/** A profile as numbers, as a table and as a trace for chrome://tracing or Perfetto. */
import { type AdapterDescription, describeAdapter } from '../device/adapter.ts'
import type { Ceilings } from './ceilings.ts'
import type { Stopwatch } from './stopwatch.ts'

export interface Dispatch {
  /** Index of the submit that it belongs to. */
  readonly submit: number
  /** The kernel. */
  readonly label: string
  /** Ops that the launch computes, innermost first. */
  readonly ops: string
  /** Source line that recorded them, while `recordOrigins` is on. */
  readonly origin?: string | undefined
  readonly grid: readonly [number, number, number]
  readonly flops: number
  /** Bytes that must cross memory at least once. */
  readonly bytes: number
  /** Microseconds since the profile began. GPU clocks have a zero of their own: the first launch of a submit is put at its end. */
  readonly start: number
  readonly microseconds: number
}

export interface Submit {
  readonly label: string
  readonly dispatches: number
  /** Host milliseconds: recording ops (and whatever else the function did) before it, … */
  readonly record: number
  /** … finding or building its plan, … */
  readonly plan: number
  /** … and uploading, binding and encoding it. */
  readonly encode: number
  /** Milliseconds since the profile began. */
  readonly start: number
}

export interface ProfileData {
  readonly dispatches: readonly Dispatch[]
  readonly submits: readonly Submit[]
  readonly ceilings: Ceilings
  readonly method: Stopwatch['method']
  readonly adapter: AdapterDescription
  /** Milliseconds from begin to end. */
  readonly wall: number
}

/** Launches that are alike, added up: a row of the table. */
export interface ProfileRow {
  readonly label: string
  readonly ops: string
  readonly count: number
  readonly microseconds: number
  /** Of all launches' time, 0 to 1. */
  readonly share: number
  readonly gflops: number
  readonly gbps: number
  /** Of the adapter's measured ceilings; above 1 where data come from a cache. */
  readonly ofArithmetic: number
  readonly ofBandwidth: number
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((s, item) => s + of(item), 0)

export class Profile implements ProfileData {
  readonly dispatches: readonly Dispatch[]
  readonly submits: readonly Submit[]
  readonly ceilings: Ceilings
  readonly method: Stopwatch['method']
  readonly adapter: AdapterDescription
  readonly wall: number

  constructor(data: ProfileData) {
    this.dispatches = data.dispatches
    this.submits = data.submits
    this.ceilings = data.ceilings
    this.method = data.method
    this.adapter = data.adapter
    this.wall = data.wall
  }

  /** Milliseconds that the launches took. */
  get gpu(): number {
    return sum(this.dispatches, (d) => d.microseconds) / 1e3
  }

  /** Milliseconds that the host took to record, plan and encode. */
  get host(): number {
    return sum(this.submits, (s) => s.record + s.plan + s.encode)
  }

  /** Launches of the same kernel doing the same ops on as much data, the costliest first. */
  rows(): ProfileRow[] {
    const groups = new Map<string, Dispatch[]>()
    for (const d of this.dispatches) {
      const key = [d.label, d.ops, d.flops, d.bytes].join('|')
      const group = groups.get(key)
      if (group) group.push(d)
      else groups.set(key, [d])
    }
    const total = this.gpu * 1e3 || 1
    return [...groups.values()]
      .map((group) => {
        const microseconds = sum(group, (d) => d.microseconds)
        const rate = (of: (d: Dispatch) => number) => (microseconds ? sum(group, of) / microseconds / 1e3 : 0)
        const [gflops, gbps] = [rate((d) => d.flops), rate((d) => d.bytes)]
        return {
          label: group[0]!.label,
          ops: group[0]!.ops,
          count: group.length,
          microseconds,
          share: microseconds / total,
          gflops,
          gbps,
          ofArithmetic: gflops / this.ceilings.gflops,
          ofBandwidth: gbps / this.ceilings.gbps,
        }
      })
      .sort((a, b) => b.microseconds - a.microseconds)
  }

  /** The table, `most` rows of it, with totals. */
  table(most = 40): string {
    const rows = this.rows()
    const number = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2))
    const percent = (value: number) => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`
    const cells = rows
      .slice(0, most)
      .map((r) => [
        number(r.microseconds),
        percent(r.share),
        String(r.count),
        number(r.gflops),
        percent(r.ofArithmetic),
        number(r.gbps),
        percent(r.ofBandwidth),
        r.label,
        r.ops,
      ])
    const head = ['µs', 'share', '×', 'GFLOP/s', 'of peak', 'GB/s', 'of peak', 'kernel', 'ops']
    const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i]!.length)))
    // Numbers to the right, names to the left.
    const line = (row: string[]) =>
      row
        .map((cell, i) => (i < 7 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd()
    const left = rows.slice(most)
    const host = (of: keyof Submit) => number(sum(this.submits, (s) => s[of] as number))
    return [
      line(head),
      ...cells.map(line),
      ...(left.length ? [`… and ${left.length} rows more, ${number(sum(left, (r) => r.microseconds))} µs`] : []),
      '',
      `${this.dispatches.length} launches in ${this.submits.length} ${this.submits.length === 1 ? 'submit' : 'submits'}: ${number(this.gpu)} ms ${this.method === 'timestamps' ? 'on the GPU' : 'in launches, each submitted and waited for by itself: this device has no timestamps'}`,
      `host ${number(this.host)} ms: ${host('record')} recording, ${host('plan')} planning, ${host('encode')} encoding; ${number(this.wall)} ms in all`,
      `peak: ${number(this.ceilings.gflops)} GFLOP/s of multiply-adds, ${number(this.ceilings.gbps)} GB/s of a copy, measured on ${describeAdapter(this.adapter)}`,
    ].join('\n')
  }

  toString(): string {
    return this.table()
  }

  /** JSON of the Trace Event Format: open it in chrome://tracing or ui.perfetto.dev. */
  toChromeTrace(): string {
    const named = (tid: number, name: string) => ({ ph: 'M', pid: 1, tid, name: 'thread_name', args: { name } })
    const event = (tid: number, name: string, ts: number, dur: number, args: object) => ({
      ph: 'X',
      pid: 1,
      tid,
      name,
      ts,
      dur,
      args,
    })
    const host = this.submits.flatMap((s) => {
      const at = s.start * 1e3
      return [
        event(1, 'record', at - s.record * 1e3, s.record * 1e3, { before: s.label }),
        event(1, `plan ${s.label}`, at, s.plan * 1e3, {}),
        event(1, `encode ${s.label}`, at + s.plan * 1e3, s.encode * 1e3, { dispatches: s.dispatches }),
      ]
    })
    const gpu = this.dispatches.map(({ label, start, microseconds, flops, bytes, ...rest }) =>
      event(2, label, start, microseconds, {
        ...rest,
        grid: rest.grid.join(' × '),
        flops,
        bytes,
        'GFLOP/s': microseconds ? flops / microseconds / 1e3 : 0,
        'GB/s': microseconds ? bytes / microseconds / 1e3 : 0,
      }),
    )
    const traceEvents = [
      { ph: 'M', pid: 1, name: 'process_name', args: { name: describeAdapter(this.adapter) } },
      named(1, 'host'),
      named(2, this.method === 'timestamps' ? 'GPU' : 'GPU, submit by submit'),
      ...host,
      ...gpu,
    ]
    return JSON.stringify({ displayTimeUnit: 'ms', traceEvents })
  }
}
