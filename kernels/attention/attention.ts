/**
 * Scaled-dot-product attention, forward: flash style (Dao et al. 2022, arXiv:2205.14135), an online softmax over blocks
 * of keys, so that no lq×lk matrix is ever in memory. `problem.ts` gives formula, layouts and masking rules.
 *
 * RTX 3090 class (kernel.ts): a pass does 4·d (queries 6·d, keys 8·d) flops a pair of rows and moves 16·d (20·d, 24·d) bytes a row. At 197
 * tokens that is 50 to 66 flops a byte, bound by arithmetic; at DIP's 16 and 15 tokens it is 4 to 5, bound by memory. `tile.ts` serves
 * both, `row.ts` narrow rows, and is measured for wide ones of short sequences.
 */
import type { Capabilities, Variant } from '../kernel.ts'
import type { AttentionProblem, Pass } from './problem.ts'
import { checkProblem, otherLength, ownLength, rowChunks, vectorizable } from './problem.ts'
import type { RowStaging } from './row.ts'
import { mostRowRegisters, rowProgram, rowRegisters, rowStagingBytes, shortTile } from './row.ts'
import { subgroupProgram, subgroupShapes } from './subgroup.ts'
import { tileBytes, tileProgram, tileShapes } from './tile.ts'

export type { AttentionOperand, AttentionProblem } from './problem.ts'

/** Heads whose other side has at most this many rows are staged whole. */
const shortLength = 32

/** Candidates of one pass, the best guess first. */
export function passVariants(p: AttentionProblem, pass: Pass, caps: Capabilities): Variant[] {
  checkProblem(p)
  const vector = vectorizable(p)
  const variants: Variant[] = []
  /** Whether it fits the device. */
  const row = (kind: RowStaging['kind'], threads: number, tile: number): boolean => {
    const staging: RowStaging = { kind, threads, tile }
    if (threads > caps.maxInvocations || rowStagingBytes(p, pass, staging) > caps.maxWorkgroupBytes) return false
    const name = kind === 'direct' ? `row.${threads}` : `row.${kind}.${threads}x${tile}`
    variants.push({ name, program: () => rowProgram(p, pass, staging, vector, caps) })
    return true
  }
  if (caps.software) {
    const shapes = subgroupShapes(p, pass, caps)
    for (const shape of shapes)
      variants.push({
        name: `subgroup.${shape.lanes * shape.each}x${shape.block}`,
        program: () => subgroupProgram(p, pass, shape, vector, caps),
      })
    if (rowChunks(p) <= 16 || shapes.length === 0) row('direct', 8, 0)
    return variants
  }
  const own = ownLength(p, pass)
  const short = otherLength(p, pass) <= shortLength
  // Narrow rows in registers leave room for many threads; with wide ones the tiles come first, and those that would spill are theirs.
  const narrow = rowChunks(p) <= 4
  const heads = (): void => {
    if (!short || own > 128 || rowRegisters(p, pass) > mostRowRegisters) return
    for (const threads of own <= 32 ? [64, 32] : own <= 64 ? [64] : [128])
      if (row('heads', threads, shortTile(p, pass))) return
  }
  if (narrow) heads()
  const shapes = tileShapes.filter(
    (shape) => tileBytes(p, pass, shape) <= caps.maxWorkgroupBytes && (shape.groups <= 4 || own > 16),
  )
  for (const shape of shapes.slice(0, 2)) {
    const name = `tile.${4 * shape.groups}x${8 * shape.columns}`
    variants.push({ name, program: () => tileProgram(p, pass, shape, vector, caps) })
  }
  if (narrow) row('tiled', 64, 32)
  else heads()
  if (variants.length === 0) row('direct', 64, 0)
  return variants
}

/** Bindings: q, k, v, [bias], [keyMask], o (rw), lse (rw); see `problem.ts` for shapes. */
export function attentionVariants(p: AttentionProblem, caps: Capabilities): Variant[] {
  return passVariants(p, 'forward', caps)
}
