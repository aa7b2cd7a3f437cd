/**
 * k split over the invocations of a workgroup, for few outputs and long k (dW = dYᵀ·X over batch·tokens).
 *
 * A workgroup of 256 computes side·4 × side·4 outputs, side² blocks of 4 × 4. For every block there are 256/side² invocations;
 * invocation s of them takes the k with ⌊k/4⌋ ≡ s. Their sums are added pairwise in workgroup memory, in an order fixed by
 * the shape alone: one launch, no scratch buffer, no atomics, the same bits each time.
 *
 * RTX 3090 class (kernel.ts): a thread loads 8 values for 16 multiply-adds, and the blocks of a workgroup read each row side times: 16 outputs
 * a side do 4 flops a byte of L2, 8 do 2. That is far from arithmetic's bound and right where time is a chain of loads: 768 k are
 * 3 steps for each of 64 invocations instead of 192. 16 sums and 16 kB: six workgroups a multiprocessor.
 */
import type { Capabilities, Program } from '../kernel.ts'
import * as operand from './operand.ts'
import type { MatmulProblem } from './problem.ts'

const workgroupSize = 256
/** 4 vec4 an invocation. */
export const splitBytes = workgroupSize * 64

export function splitProgram(problem: MatmulProblem, caps: Capabilities, side: 2 | 4): Program {
  const { lines } = operand
  const { a, b } = operand.sidesOf(problem, caps)
  const blocks = side * side
  const slices = workgroupSize / blocks
  const accumulate = (steps: number): string => `${operand.loadSteps(a, 4, steps)}
${operand.loadSteps(b, 4, steps)}
${operand.multiplySteps(a, b, 4, 1, steps)}`
  const tail =
    a.access === 'alongK' || b.access === 'alongK'
      ? ''
      : `  for (var k = whole + slice; k < u.k; k += ${slices}u) {
${accumulate(1)}
  }`
  const main = `var<workgroup> partial: array<vec4f, ${4 * workgroupSize}>;

@compute @workgroup_size(${workgroupSize})
fn main(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let tile = wid.x + wid.y * workgroups.x;
  if (tile >= u.tilesM * u.tilesN * u.batches) { return; }
${operand.locateTile}
  let slice = lid / ${blocks}u;
  let row = tileRow * ${4 * side}u + (lid % ${blocks}u) / ${side}u * 4u;
  let col = tileCol * ${4 * side}u + lid % ${side}u * 4u;
${operand.declareBases(a, 4, 'row')}
${operand.declareBases(b, 4, 'col')}
${operand.declareSums(4, 1)}
  let whole = u.k - u.k % 4u;
  for (var k = slice * 4u; k < whole; k += ${4 * slices}u) {
${accumulate(4)}
  }
${tail}
${lines(4, (r) => `  partial[${r * workgroupSize}u + lid] = acc${r}_0;`)}
  for (var half = ${operand.loopBound(slices / 2, caps)}; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (slice < half) {
${lines(4, (r) => `      partial[${r * workgroupSize}u + lid] += partial[${r * workgroupSize}u + lid + half * ${blocks}u];`)}
    }
  }
  if (slice > 0u) { return; }
  for (var r = 0u; r < ${operand.loopBound(4, caps)}; r++) { store(partial[r * ${workgroupSize}u + lid], batch, row + r, col); }
}
`
  return operand.assemble(problem, caps, {
    label: `matmul.split.${4 * side}x${4 * side}.${operand.sidesLabel(a, b)}`,
    a,
    b,
    tileM: 4 * side,
    tileN: 4 * side,
    tilesPerWorkgroup: 1,
    main,
    workgroupBytes: splitBytes,
    accumulators: 16,
  })
}
