/**
 * Batched symmetric eigensolve by Jacobi rotations: S = Q diag(λ) Qᵀ.
 *
 * A rotation in the plane (p, q) with t = tan θ makes entry (p, q) of Jᵀ S J zero; a sweep does this once for every pair,
 * n/2 disjoint pairs at a time in round-robin order (Brent and Luk 1985, "The solution of singular-value and symmetric
 * eigenvalue problems on multiprocessor arrays"). Sweeps repeat until ‖off(S)‖_F ≤ tolerance · ‖S‖_F or `maxSweeps`.
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
 */
import type { Capabilities, Variant } from '../kernel.ts'
import type { JacobiOptions, JacobiProblem } from './common.ts'
import { jacobiRows } from './rows.ts'
import { jacobiWorkgroup } from './workgroup.ts'

export { type JacobiProblem, jacobiBindings, jacobiNeedsWork } from './common.ts'

/** Largest n whose rows are kept in registers: 4n of them a lane where a lane holds one pair; on a CPU adapter memory serves. */
const rowsLimit = (caps: Capabilities): number => (caps.software ? 48 : 40)

/**
 * Ways to solve the problem, best guess first.
 * @throws RangeError when a size is not a positive integer.
 */
export function jacobiVariants(problem: JacobiProblem, caps: Capabilities): Variant[] {
  const { batch, n } = problem
  if (!Number.isInteger(batch) || !Number.isInteger(n) || batch < 1 || n < 1)
    throw new RangeError(`jacobi: batch and n must be positive integers, got batch ${batch}, n ${n}`)
  const options: JacobiOptions = { maxSweeps: 30, tolerance: 1e-7, ...problem }
  const variants: Variant[] = []
  const pairs = Math.ceil(n / 2)
  if (caps.subgroups && caps.subgroupMinSize > 0 && n <= rowsLimit(caps)) {
    const pairsPerLane = Math.ceil(pairs / caps.subgroupMinSize)
    variants.push({ name: `rows.${pairsPerLane}`, program: () => jacobiRows(options, caps, pairsPerLane) })
  }
  const threads = caps.software ? [8] : n > 24 ? [256, 128, 64] : [64]
  for (const size of threads) {
    if (size > caps.maxInvocations) continue
    variants.push({ name: `workgroup.${size}`, program: () => jacobiWorkgroup(options, caps, size) })
  }
  return variants
}
