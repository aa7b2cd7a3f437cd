/** What runs of plans are made of and give. */
import type { HostArray } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { Plan } from '../plan/plan.ts'
import type { Executable } from './executable.ts'
import type { Storage } from './storage.ts'

export type HostData = Float32Array | Int32Array | Uint32Array

/** A traced computation that can be run again with other input data. */
export interface Replay {
  /** Whether each input takes part at all. */
  readonly used: readonly boolean[]
  readonly plan: Plan
  /** Nodes of the results, in the order of the buffers that `run` returns; those already at hand before have none. */
  readonly roots: readonly Node[]
  /** Runs with new input data (undefined: those of the trace, for the first time). */
  run(data: readonly HostArray[] | undefined): Promise<Storage[]>
  /** Lets go of the plan. */
  dispose(): void
}

/** What a run needs: a plan made ready, and the nodes that it is for. */
export interface Prepared {
  readonly executable: Executable
  readonly leaves: readonly Node[]
  readonly roots: readonly Node[]
  readonly side: readonly Node[]
}
