/** What the planner hands to the runner: an ordered list of launches over slots, leaves and results. */
import type { Program, Variant } from '../../kernels/kernel.ts'
import type { DType } from '../dtype.ts'
import type { OutputSpec } from '../graph.ts'

/**
 * Picks the program for a problem among a kernel's variants, best guess first. Variants must differ in speed alone; `problem` is
 * plain data with everything that can decide which is fastest: sizes, strides, options, dtypes.
 */
export type Chooser = (kernel: string, variants: readonly Variant[], problem: object) => Program

/** Where a binding's bytes are. Offsets and sizes in bytes. */
export type BufferRef =
  | { readonly kind: 'slot'; readonly slot: number; readonly offset: number; readonly bytes: number }
  /** A value that exists before the plan runs: leaf `index` in the order of `leavesOf`. */
  | { readonly kind: 'leaf'; readonly index: number; readonly window?: Window | undefined }
  /** A wanted value, whose buffer is new with every run. */
  | { readonly kind: 'result'; readonly index: number; readonly window?: Window | undefined }

/** Part of a buffer that a binding shows, in bytes; the offset is a multiple of `bindingAlignment`. */
export interface Window {
  readonly offset: number
  readonly bytes: number
}

/** What the offset of a storage binding may need to be a multiple of, in bytes, on any adapter. */
export const bindingAlignment = 256

export interface Step {
  readonly program: Program
  readonly args: readonly BufferRef[]
  /** What each argument holds; undefined for scratch. A window shows part of it. */
  readonly specs: readonly (OutputSpec | undefined)[]
  /** dtype and shape of what each argument holds. */
  readonly values: readonly string[]
  /** Ops that this launch does, innermost first. */
  readonly fused: readonly string[]
  /** The same in short, for profiles and errors. */
  readonly ops: string
  /** Why it is needed, where that is not plain. */
  readonly note?: string | undefined
  readonly origin?: string | undefined
}

export interface Plan {
  readonly steps: readonly Step[]
  /** Bytes of each slot. */
  readonly slots: readonly number[]
  readonly results: readonly { readonly bytes: number; readonly dtype: DType }[]
  /** Largest sum of live intermediate bytes over the steps: the least any slot assignment could need. */
  readonly peakLiveBytes: number
}
