/**
 * What bounds a launch: arithmetic over bytes against a machine's two ceilings (Williams, Waterman, Patterson 2009, "Roofline").
 * One machine is the adapter at hand, by measured ceilings; the other is a discrete GPU by its data sheet.
 */
import type { Capabilities } from '../kernels/kernel.ts'

export interface Ceilings {
  /** f32 multiply-adds in registers, GFLOP/s. */
  readonly gflops: number
  /** A copy of each size: bytes read plus bytes written, GB/s. Small copies stay in caches. Ascending by bytes. */
  readonly copies: readonly { readonly bytes: number; readonly gbs: number }[]
}

/** GB/s for a working set: of the smallest measured copy that holds it, else of the largest. */
export function bandwidthFor({ copies }: Ceilings, bytes: number): number {
  return (copies.find((copy) => copy.bytes >= bytes) ?? copies[copies.length - 1]!).gbs
}

export type Bound = 'compute' | 'memory'

export interface Estimate {
  readonly bound: Bound
  /** Least milliseconds that the ceilings allow. */
  readonly milliseconds: number
}

/** The bound of `flops` over `bytes`, and the time at the ceiling. */
export function estimate(cost: { readonly flops: number; readonly bytes: number }, ceilings: Ceilings): Estimate {
  const compute = cost.flops / (ceilings.gflops * 1e6)
  const memory = cost.bytes / (bandwidthFor(ceilings, cost.bytes) * 1e6)
  return compute > memory ? { bound: 'compute', milliseconds: compute } : { bound: 'memory', milliseconds: memory }
}

/** NVIDIA's data sheet of the RTX 3090: 35.6 TFLOP/s f32, 936 GB/s. */
export const rtx3090: Ceilings = { gflops: 35_600, copies: [{ bytes: Number.POSITIVE_INFINITY, gbs: 936 }] }

/** What such an adapter offers through WebGPU: subgroups of 32, 48 KiB of workgroup memory. */
export const discreteGpu: Capabilities = {
  f16: true,
  subgroups: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  software: false,
  maxWorkgroupBytes: 49152,
  maxInvocations: 1024,
  maxStorageBuffers: 16,
  maxGrid: 65535,
}
