/** What a run of the benchmark found: plain data, written by `--json`, drawn by `--html`, shown by the page. */
import type { Check, Launch, LibraryName } from './contract.ts'
import type { Counts } from './counter.ts'
import type { Bound, Ceilings } from './roofline.ts'

/** Statistics of one contestant's samples, ms a run. */
export interface Timing {
  readonly samples: number
  /** Runs timed together in a sample. */
  readonly repeats: number
  readonly median: number
  readonly best: number
  readonly mean: number
  /** Median absolute deviation over the median. */
  readonly spread: number
}

export interface ContestantResult {
  readonly name: string
  readonly library: LibraryName
  /** `failed`: its result is wrong, so it was not timed. `unable`: it could not run at all. */
  readonly status: 'ok' | 'failed' | 'unable'
  /** Why it is not `ok`. */
  readonly reason?: string
  readonly checks: readonly Check[]
  readonly timing?: Timing
  /** GFLOP/s or GB/s of the problem, as the row's unit says. */
  readonly speed?: number
  /** Time at the measured ceiling over the median time. */
  readonly share?: number
  /** A run's. Absent where the library's device cannot be seen. */
  readonly counts?: Counts
  /** Bytes that the launches must move: by their own cost where known, else what their bindings hold. */
  readonly bytesMoved?: number
  /** Largest bytes of live buffers while running, above those before the row. */
  readonly peakBytes?: number
  readonly launches?: readonly LaunchResult[]
  /** The same as a discrete GPU would get it. */
  readonly discreteLaunches?: readonly LaunchResult[]
}

export interface LaunchResult extends Launch {
  /** flops over bytes */
  readonly intensity: number
  readonly bound: Bound
  /** Least ms by the ceilings. */
  readonly least: number
}

export interface RowResult {
  readonly name: string
  readonly unit: 'GFLOP/s' | 'GB/s'
  readonly flops: number
  readonly bytes: number
  readonly intensity: number
  /** By the measured ceilings, and least ms there. */
  readonly bound: Bound
  readonly least: number
  /** By those of an RTX 3090. */
  readonly discreteBound: Bound
  readonly discreteLeast: number
  readonly contestants: readonly ContestantResult[]
  /** Median of the fastest peer over this engine's. */
  readonly lead?: number
}

export interface GroupResult {
  readonly name: string
  readonly about: string
  readonly rows: readonly RowResult[]
}

/** One way to make the training step, on the null backend. */
export interface HostResult {
  readonly name: string
  readonly library: LibraryName
  readonly status: ContestantResult['status']
  readonly reason?: string
  readonly checks: readonly Check[]
  readonly timing?: Timing
  readonly counts?: Counts
  readonly peakBytes?: number
}

/** Memory over many steps of one program. */
export interface MemoryResult {
  readonly name: string
  readonly library: LibraryName
  readonly status: ContestantResult['status']
  readonly reason?: string
  /** Where it ran. */
  readonly backend: 'null' | 'adapter'
  readonly steps: number
  /** Live buffer bytes: before the model, at most in a step, after the steps, and once all of it was let go. */
  readonly before: number
  readonly peak: number
  readonly after: number
  readonly released: number
  /** Growth over the steps after the first ten, bytes. */
  readonly gpuGrowth: number
  readonly heapGrowth: number
  /** Buffers, bind groups and pipelines made a step in that time. */
  readonly made: number
}

export interface Target {
  readonly what: string
  readonly value: number
  readonly limit: number
  readonly met: boolean
}

export interface HostReport {
  readonly about: string
  readonly rows: readonly HostResult[]
  readonly memory: readonly MemoryResult[]
  readonly targets: readonly Target[]
}

export interface Environment {
  readonly date: string
  readonly adapter: string
  readonly driver: string
  readonly software: boolean
  /** What ran it: Node's version, or the browser's own words. */
  readonly platform: string
  readonly versions: Readonly<Record<string, string>>
}

export interface Report {
  readonly format: 1
  readonly quick: boolean
  readonly environment: Environment
  readonly ceilings: Ceilings
  readonly groups: readonly GroupResult[]
  readonly host?: HostReport
  /** Every check that this engine had to pass was passed. */
  readonly ok: boolean
}
