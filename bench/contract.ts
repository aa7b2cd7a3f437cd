/**
 * What a benchmark is made of. A file in `groups/` exports one `group`; a group has rows; a row is a problem with its inputs, its
 * check against float64 and the contestants that solve it.
 *
 * Everything here is plain data and functions without a platform: the same groups run in Node, in child processes (one a
 * library) and in a browser. A row's inputs must therefore be the same numbers wherever they are made (`data.ts`).
 */
import type { Cost } from '../kernels/kernel.ts'
import type { Ceilings } from './roofline.ts'

export interface Input {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

export type Inputs = Readonly<Record<string, Input>>

/** Results by name, read back to the host. */
export type Outputs = Readonly<Record<string, ArrayLike<number>>>

/** One comparison with the float64 reference: ‖got − want‖ / ‖want‖ and what it may be at most. */
export interface Check {
  readonly what: string
  readonly error: number
  readonly limit: number
}

/** What the benchmark prints of one program that a run launches. */
export interface Launch {
  readonly label: string
  /** Ops that it computes. */
  readonly ops: string
  readonly flops: number
  readonly bytes: number
  /** Bytes of workgroup memory, and values that a thread keeps in registers (kernels/kernel.ts); absent where the text is a user's. */
  readonly workgroupBytes?: number | undefined
  readonly accumulators?: number | undefined
}

/** A contestant ready to run. */
export interface Prepared {
  /** Issues the work once. Submitting what is pending and waiting for the device are the harness's part. */
  run(): void | Promise<void>
  /** Computes once and reads the results back. */
  outputs(): Promise<Outputs>
  /** Programs of one run, where the library can tell: as launched here, and as a discrete GPU would get them. */
  readonly launches?: readonly Launch[]
  readonly discreteLaunches?: readonly Launch[]
  dispose?(): void
}

export const libraryNames = ['diptych', 'tfjs', 'jax-js', 'ort-web', 'ort-node'] as const
export type LibraryName = (typeof libraryNames)[number]

/** One way to solve a row. `prepare` gets the opened library that it names. */
export interface Contestant {
  readonly library: LibraryName
  /** Tells contestants of one library apart, e.g. `fused`. */
  readonly variant?: string
  prepare(library: any, inputs: Inputs): Promise<Prepared>
}

export interface Row {
  readonly name: string
  inputs(): Inputs
  /** Compares outputs with the float64 reference; every entry must be within its limit before anything is timed. */
  check(outputs: Outputs, inputs: Inputs): readonly Check[] | Promise<readonly Check[]>
  /** Arithmetic of the problem, and bytes that must cross memory at least once. */
  readonly cost: Cost
  /** What speed is given in: the resource that the problem is made of. */
  readonly unit: 'GFLOP/s' | 'GB/s'
  readonly contestants: readonly (Contestant | readonly Contestant[])[]
  /** Runs only if `--filter` names it: too large to run by default. */
  readonly onRequest?: boolean
}

/** What rows may depend on. */
export interface RowContext {
  /** The adapter runs on the CPU: smaller problems. */
  readonly software: boolean
  /** Bytes of one storage binding. */
  readonly maxBinding: number
  /** Tiny problems and few samples: shows that everything runs, says little about speed. */
  readonly quick: boolean
  /** Nothing is executed or compared (Dawn's null backend): contestants may leave out what only serves the check. */
  readonly unchecked?: boolean
}

export interface Group {
  readonly name: string
  /** One line on what is measured. */
  readonly about: string
  rows(context: RowContext): readonly Row[]
}

/** The adapter that this engine opened. */
export interface DeviceInfo {
  readonly adapter: string
  readonly driver: string
  readonly software: boolean
  readonly maxBinding: number
}

/** A library opened in this realm. `Contestant.prepare` and the harness use it; each library adds what its contestants need. */
export interface Library {
  readonly name: LibraryName
  readonly version: string
  /** Of this engine only: what the rows and the report depend on. */
  readonly device?: DeviceInfo
  /** The queue to wait for; undefined where the library waits by itself. */
  readonly queue: GPUQueue | undefined
  /** Submits what is pending. */
  flush(): void | Promise<void>
  /** Frees what is kept between rows. */
  trim?(): void | Promise<void>
  /** The adapter's ceilings; of this engine only. */
  ceilings?(): Promise<Ceilings>
}

export const contestantsOf = (row: Row): readonly Contestant[] => row.contestants.flat()

export const contestantName = ({ library, variant }: Pick<Contestant, 'library' | 'variant'>): string =>
  variant ? `${library} ${variant}` : library
