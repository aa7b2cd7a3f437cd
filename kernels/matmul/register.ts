/**
 * Register tiles without workgroup memory: every invocation computes `rows` × 4·`groups` outputs on its own, four values
 * of k at a time. Invocations are numbered along the columns first, so neighbours share rows of A and read B side by side.
 * No barrier, no shared memory: the fallback that runs well on CPU adapters and correctly everywhere.
 *
 * RTX 3090 class (kernel.ts): four k of an 8 × 4 tile are 8 vec4s of A, which a subgroup shares, and 4 of B, four passes each: 24 passes
 * against 32 clocks of arithmetic, if L1 has them; it holds few rows of A and B at once, and L2 gives less. 32 (16) sums a thread:
 * occupancy is full. First only where tiles would be mostly empty.
 */
import type { Capabilities, Program } from '../kernel.ts'
import * as operand from './operand.ts'
import type { MatmulProblem } from './problem.ts'

const workgroupSize = 64

export interface RegisterShape {
  readonly rows: 4 | 8
  /** vec4 columns an invocation computes. */
  readonly groups: 1 | 2
}

export function registerProgram(problem: MatmulProblem, caps: Capabilities, { rows, groups }: RegisterShape): Program {
  const { a, b } = operand.sidesOf(problem, caps)
  // An operand read along k has k divisible by 4: then there is no tail.
  const tail = a.access === 'alongK' || b.access === 'alongK' ? '' : step(1)
  function step(steps: number): string {
    return `  for (; k + ${steps}u <= u.k; k += ${steps}u) {
${operand.loadSteps(a, rows, steps)}
${operand.loadSteps(b, 4 * groups, steps)}
${operand.multiplySteps(a, b, rows, groups, steps)}
  }`
  }
  const main = `@compute @workgroup_size(${workgroupSize})
fn main(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let tile = (wid.x + wid.y * workgroups.x) * ${workgroupSize}u + lid;
  if (tile >= u.tilesM * u.tilesN * u.batches) { return; }
${operand.locateTile}
  let row = tileRow * ${rows}u;
  let col = tileCol * ${4 * groups}u;
${operand.declareBases(a, rows, 'row')}
${operand.declareBases(b, 4 * groups, 'col')}
${operand.declareSums(rows, groups)}
  var k = 0u;
${step(4)}
${tail}
${operand.storeSums(rows, groups, caps)}
}
`
  return operand.assemble(problem, caps, {
    label: `matmul.register.${rows}x${4 * groups}.${operand.sidesLabel(a, b)}`,
    a,
    b,
    tileM: rows,
    tileN: 4 * groups,
    tilesPerWorkgroup: workgroupSize,
    main,
    accumulators: rows * groups * 4,
  })
}
