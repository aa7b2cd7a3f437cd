/** The door through which profiles and checks watch what a device runs. */
import type { Node } from '../graph.ts'
import type { Bound, Executable } from './executable.ts'

export interface ObservedRun {
  readonly executable: Executable
  /** One bind group a step. */
  readonly groups: readonly GPUBindGroup[]
  readonly bound: Bound
  readonly leaves: readonly Node[]
  readonly label: string
  /** `performance.now()` when the run began: before its uploads. */
  readonly began: number
}

export interface Observer {
  /** A plan was looked up, and built if it was new, in `milliseconds`. */
  planned(label: string, milliseconds: number): void
  /** In place of the device's own submit: must dispatch every step of the plan, in order. */
  submit(run: ObservedRun): Promise<void>
}
