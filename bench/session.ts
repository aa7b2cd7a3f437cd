/**
 * One library in this realm, and the row that it is at: prepares, reads, times, counts. In Node with peers a session lives in a
 * child process of its own (`processes.ts`) and is spoken to through the same interface.
 */
import {
  type Contestant,
  contestantName,
  contestantsOf,
  type DeviceInfo,
  type Group,
  type Launch,
  type Library,
  type Outputs,
  type Row,
  type RowContext,
} from './contract.ts'
import { Counter, type Counts } from './counter.ts'
import type { Ceilings } from './roofline.ts'
import { waitQuietly } from './wait.ts'

export interface PreparedInfo {
  readonly outputs: Outputs
  readonly launches?: readonly Launch[]
  readonly discreteLaunches?: readonly Launch[]
}

export interface Usage {
  readonly counts: Counts
  /** Largest bytes of live buffers in the runs, above those before the contestant was prepared. */
  readonly peakBytes: number
}

/** A row by its names, since functions do not travel between processes. */
export interface RowAddress {
  readonly group: string
  readonly row: string
  readonly context: RowContext
}

/** What the harness asks of a library, wherever it lives. */
export interface Runner {
  readonly library: Library['name']
  readonly version: string
  /** Of this engine only. */
  readonly device?: DeviceInfo | undefined
  ceilings(): Promise<Ceilings>
  /** Makes a contestant ready and returns what it computes. Rejects where it cannot. */
  prepare(row: RowAddress, contestant: string): Promise<PreparedInfo>
  /** Ms a run, of `repeats` runs issued together; `expected` is that of the sample, or 0. */
  sample(contestant: string, repeats: number, expected: number): Promise<number>
  /** Ms of each of `runs` runs, every one submitted and waited for by itself. */
  samples(contestant: string, runs: number): Promise<number[]>
  /** Counts of a run; undefined where the library's device cannot be seen. */
  count(contestant: string, runs: number): Promise<Usage | undefined>
  /** Lets the row go. */
  release(): Promise<void>
  close(): Promise<void>
}

interface Ready {
  readonly prepared: Awaited<ReturnType<Contestant['prepare']>>
  readonly baseline: number
}

export class Session implements Runner {
  private readonly ready = new Map<string, Ready>()
  readonly counter = new Counter()

  constructor(
    private readonly opened: Library,
    private readonly groups: readonly Group[],
  ) {}

  private find({ group, row, context }: RowAddress): Row {
    const found = this.groups
      .find(({ name }) => name === group)
      ?.rows(context)
      .find(({ name }) => name === row)
    if (!found) throw new Error(`bench: there is no row '${row}' in group '${group}'`)
    return found
  }

  get library(): Library['name'] {
    return this.opened.name
  }

  get version(): string {
    return this.opened.version
  }

  get device(): DeviceInfo | undefined {
    return this.opened.device
  }

  async ceilings(): Promise<Ceilings> {
    if (!this.opened.ceilings) throw new Error(`bench: ceilings are measured by this engine, not by ${this.library}`)
    return this.opened.ceilings()
  }

  async prepare(address: RowAddress, contestant: string): Promise<PreparedInfo> {
    const row = this.find(address)
    const chosen = contestantsOf(row).find((c) => contestantName(c) === contestant)
    if (!chosen) throw new Error(`bench: row '${address.group} ${address.row}' has no contestant '${contestant}'`)
    this.counter.install()
    try {
      const baseline = this.counter.liveBytes
      const prepared = await chosen.prepare(this.opened, row.inputs())
      this.ready.set(contestant, { prepared, baseline })
      const outputs = await prepared.outputs()
      const { launches, discreteLaunches } = prepared
      return { outputs, ...(launches && { launches }), ...(discreteLaunches && { discreteLaunches }) }
    } finally {
      this.counter.uninstall()
    }
  }

  private at(contestant: string): Ready {
    const ready = this.ready.get(contestant)
    if (!ready) throw new Error(`bench: '${contestant}' was not prepared`)
    return ready
  }

  private async runs({ prepared }: Ready, repeats: number, expected: number): Promise<number> {
    const started = performance.now()
    for (let i = 0; i < repeats; i++) {
      const pending = prepared.run()
      if (pending) await pending
    }
    const pending = this.opened.flush()
    if (pending) await pending
    if (this.opened.queue) await waitQuietly(this.opened.queue, started, expected)
    return performance.now() - started
  }

  async sample(contestant: string, repeats: number, expected: number): Promise<number> {
    return (await this.runs(this.at(contestant), repeats, expected)) / repeats
  }

  async samples(contestant: string, runs: number): Promise<number[]> {
    const ready = this.at(contestant)
    const took: number[] = []
    for (let i = 0; i < runs; i++) took.push(await this.runs(ready, 1, 0))
    return took
  }

  async count(contestant: string, runs: number): Promise<Usage | undefined> {
    if (!this.opened.queue) return undefined
    const ready = this.at(contestant)
    this.counter.install()
    this.counter.reset()
    try {
      for (let i = 0; i < runs; i++) await this.runs(ready, 1, 0)
      return { counts: this.counter.read(runs), peakBytes: this.counter.peakBytes - ready.baseline }
    } finally {
      this.counter.uninstall()
    }
  }

  async release(): Promise<void> {
    this.counter.install()
    for (const { prepared } of this.ready.values()) prepared.dispose?.()
    this.ready.clear()
    await this.opened.trim?.()
    this.counter.uninstall()
  }

  async close(): Promise<void> {
    await this.release()
  }
}
