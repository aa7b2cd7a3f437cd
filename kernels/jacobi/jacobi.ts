/**
 * Batched symmetric eigensolve by Jacobi rotations: S = Q diag(λ) Qᵀ.
 *
 * A rotation in the plane (p, q) with t = tan θ makes entry (p, q) of Jᵀ S J zero; a sweep does this once for every pair,
 * n/2 disjoint pairs at a time in round-robin order (Brent and Luk 1985, "The solution of singular-value and symmetric
 * eigenvalue problems on multiprocessor arrays"). Sweeps repeat until ‖off(S)‖_F ≤ tolerance · ‖S‖_F or `maxSweeps`; entries
 * below tolerance · ‖S‖_F / n are left as they are.
 *
 * Layout, f32, row-major:
 *   s        [batch, n, n]  read; only its symmetric part (S + Sᵀ)/2 counts
 *   values   [batch, n]     ascending
 *   vectors  [batch, n, n]  columns are the eigenvectors: vectors[b][i][r] = component i of eigenvector r
 *   info     [batch, 2]     sweeps used, final ‖off‖_F / ‖S‖_F (above `tolerance`: it did not converge)
 *   work     [batch, n, n]  scratch, only bound when `jacobiNeedsWork(n)`
 *
 * Every matrix is scaled by a power of two to a largest magnitude in [1, 2) first, so squares neither overflow nor
 * vanish; finite input never gives NaN. Two runs give the same bits.
 *
 *   rows        the matrix in one subgroup's registers: no memory, no barrier, the least work a matrix
 *   workgroup   the matrix in memory, shared out over a workgroup: the least time of one matrix
 *
 * RTX 3090 class: 18 n flops for each of n²/2 pairs a sweep and 8n² bytes in all are 240 flop/B at n = 28, so that neither memory nor, at
 * 100 MFLOP for 64 of them, arithmetic bounds a batch: what counts is the chain of n − 1 dependent rounds a sweep. A round of 28×28 is about
 * 500 instructions of one subgroup in registers, some 1000 clocks where it is alone on its scheduler; 256 threads do it in some 500,
 * two barriers among them, with 850 instructions in all. So a few matrices a multiprocessor are the workgroup's, and from some
 * six each (500 on 82 of them) the registers' fewer instructions win. Up to n = 24 a round is too short for its barriers.
 */
import type { Capabilities, Variant } from '../kernel.ts'
import type { JacobiOptions, JacobiProblem } from './common.ts'
import { jacobiRows } from './rows.ts'
import { jacobiWorkgroup } from './workgroup.ts'

export { type JacobiProblem, jacobiBindings, jacobiNeedsWork } from './common.ts'

/** Matrices from which on a GPU is busy with one subgroup each, and the n below which rounds are shorter than barriers. */
const manyMatrices = 512
const shortRounds = 24

/**
 * Largest n whose rows are kept in registers: 4n of them a lane where a lane holds one pair. On a CPU adapter memory serves, and a lane
 * holds at most four pairs: the text of six compiles for twelve seconds on SwiftShader, whose subgroups have four lanes.
 */
const rowsLimit = ({ software, subgroupMinSize }: Capabilities): number =>
  software ? Math.min(48, 8 * subgroupMinSize) : 40

/**
 * Ways to solve the problem, best guess first.
 * @throws RangeError when a size is not a positive integer.
 */
export function jacobiVariants(problem: JacobiProblem, caps: Capabilities): Variant[] {
  const { batch, n } = problem
  if (!Number.isInteger(batch) || !Number.isInteger(n) || batch < 1 || n < 1)
    throw new RangeError(`jacobi: batch and n must be positive integers, got batch ${batch}, n ${n}`)
  const options: JacobiOptions = { maxSweeps: 30, tolerance: 1e-7, ...problem }
  const registers: Variant[] = []
  const pairs = Math.ceil(n / 2)
  if (caps.subgroups && caps.subgroupMinSize > 0 && n <= rowsLimit(caps)) {
    const pairsPerLane = Math.ceil(pairs / caps.subgroupMinSize)
    registers.push({ name: `rows.${pairsPerLane}`, program: () => jacobiRows(options, caps, pairsPerLane) })
  }
  const threads = caps.software ? [8] : n > shortRounds ? [256, 128, 64] : [64]
  const shared = threads
    .filter((size) => size <= caps.maxInvocations)
    .map((size): Variant => ({ name: `workgroup.${size}`, program: () => jacobiWorkgroup(options, caps, size) }))
  const together = caps.software || n <= shortRounds || batch >= manyMatrices
  return together ? [...registers, ...shared] : [...shared, ...registers]
}
