/**
 * Scaled-dot-product attention, forward: flash style (Dao et al. 2022, arXiv:2205.14135), an online softmax over blocks
 * of keys, so that no lq×lk matrix is ever in memory. `problem.ts` gives formula, layouts and masking rules.
 */
import type { Capabilities, Variant } from '../kernel.ts'
import type { AttentionProblem, Pass } from './problem.ts'
import { checkProblem, otherLength, ownLength, rowChunks, vectorizable } from './problem.ts'
import type { RowStaging } from './row.ts'
import { rowProgram, rowStagingBytes, shortTile } from './row.ts'
import { subgroupProgram } from './subgroup.ts'

export type { AttentionOperand, AttentionProblem } from './problem.ts'

/** Heads whose other side has at most this many rows are staged whole. */
const shortLength = 32

/** Candidates of one pass, the best guess first. */
export function passVariants(p: AttentionProblem, pass: Pass, caps: Capabilities): Variant[] {
  checkProblem(p)
  const vector = vectorizable(p)
  const variants: Variant[] = []
  const row = (kind: RowStaging['kind'], threads: number, tile: number): void => {
    const staging: RowStaging = { kind, threads, tile }
    if (threads > caps.maxInvocations || rowStagingBytes(p, pass, staging) > caps.maxWorkgroupBytes) return
    const name = kind === 'direct' ? `row.${threads}` : `row.${kind}.${threads}x${tile}`
    variants.push({ name, program: () => rowProgram(p, pass, staging, vector, caps) })
  }
  const lanes = caps.subgroupMinSize
  const oneSize = caps.subgroups && lanes >= 4 && lanes === caps.subgroupMaxSize
  const subgroup = (rows: number): void => {
    variants.push({
      name: `subgroup.${lanes}x${rows}`,
      program: () => subgroupProgram(p, pass, lanes, rows, vector, caps),
    })
  }
  const short = otherLength(p, pass) <= shortLength
  // Products of a row of the pass with its other side: the size of the code that each owned row adds.
  const work = rowChunks(p) * (pass === 'forward' ? 1 : 2)
  if (caps.software) {
    if (oneSize) {
      const most = work <= 16 ? 8 : work <= 32 ? 4 : 2
      subgroup(most)
      if (most > 2) subgroup(most / 2)
    }
    if (rowChunks(p) <= 16 || !oneSize) row('direct', 8, 0)
    return variants
  }
  const own = ownLength(p, pass)
  if (short && own <= 256)
    for (const threads of [64, 128, 256]) if (own <= threads) row('heads', threads, shortTile(p, pass))
  for (const tile of [32, 16, 8]) row('tiled', 64, tile)
  if (rowChunks(p) <= 16 || variants.length === 0) row('direct', 64, 0)
  return variants
}

/** Bindings: q, k, v, [bias], [keyMask], o (rw), lse (rw); see `problem.ts` for shapes. */
export function attentionVariants(p: AttentionProblem, caps: Capabilities): Variant[] {
  return passVariants(p, 'forward', caps)
}
