/**
 * Subgroup broadcast: a workgroup is one subgroup; its lanes lie along the columns, one vec4 of columns each, and it
 * computes `rows` rows. A is loaded one value of k a lane and handed round by `subgroupBroadcast` with a constant lane, so
 * that `rows` scalar loads of A a lane serve `chunk` values of k, and every vec4 of B serves `rows` multiply-adds.
 *
 * The workgroup must be exactly one whole subgroup: usable only where the adapter has a single subgroup size. 8 values of
 * k a pass (4 where subgroups have 4 lanes) keep the code small; lanes from the eighth on load what others load.
 */
import type { Capabilities, Program } from '../kernel.ts'
import * as operand from './operand.ts'
import type { MatmulProblem } from './problem.ts'

/** Whether a workgroup of one whole subgroup can be asked for. */
export function subgroupUsable(caps: Capabilities): boolean {
  const size = caps.subgroupMinSize
  return caps.subgroups && size === caps.subgroupMaxSize && size >= 4 && size <= Math.min(64, caps.maxInvocations)
}

export function subgroupProgram(problem: MatmulProblem, caps: Capabilities, rows: 4 | 8): Program {
  const lanes = caps.subgroupMinSize
  const chunk = Math.min(lanes, 8)
  const { a, b } = operand.sidesOf(problem, caps, true)
  const { lines } = operand

  // Each lane's share of A: its own k, every row.
  const loadShare =
    a.access === 'across'
      ? lines(
          rows / 4,
          (g) => `    let share${g} = ${a.array.load(`(aBase${g} + (chunkStart + kLane) * u.aCol) >> 2u`)};`,
        )
      : lines(rows, (r) => `    let share${r} = ${a.array.load(`aBase${r} + (chunkStart + kLane) * u.aCol`)};`)
  const share = (r: number, lane: number): string =>
    a.access === 'across'
      ? `subgroupBroadcast(share${r >> 2}[${r & 3}], ${lane}u)`
      : `subgroupBroadcast(share${r}, ${lane}u)`

  const fours = (index: number): string => `    {
    let k = chunkStart + ${4 * index}u;
${operand.loadSteps(b, 4, 4)}
${lines(4, (step) => {
  const columns = `    let b_at${step} = ${operand.elements(b, 0, step, 4)};`
  return `${columns}\n${lines(rows, (r) => `    acc${r}_0 += ${share(r, 4 * index + step)} * b_at${step};`)}`
})}
    }`

  const main = `@compute @workgroup_size(${lanes})
fn main(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tile = wid.x + wid.y * workgroups.x;
  if (tile >= u.tilesM * u.tilesN * u.batches) { return; }
${operand.locateTile}
  let row = tileRow * ${rows}u;
  let col = tileCol * ${4 * lanes}u + lane * 4u;
  let kLane = lane % ${chunk}u;
${operand.declareBases(a, rows, 'row')}
${operand.declareBases(b, 4, 'col')}
${operand.declareSums(rows, 1)}
  let whole = u.k - u.k % ${chunk}u;
  for (var chunkStart = 0u; chunkStart < whole; chunkStart += ${chunk}u) {
${loadShare}
${lines(chunk / 4, fours)}
  }
  for (var k = whole; k < u.k; k++) {
${operand.loadSteps(a, rows, 1)}
${operand.loadSteps(b, 4, 1)}
${operand.multiplySteps(a, b, rows, 1, 1)}
  }
${operand.storeSums(rows, 1)}
}
`
  return operand.assemble(problem, caps, {
    label: `matmul.subgroup.${rows}x${4 * lanes}.${operand.sidesLabel(a, b)}`,
    a,
    b,
    tileM: rows,
    tileN: 4 * lanes,
    tilesPerWorkgroup: 1,
    enable: 'enable subgroups;\n',
    main,
    accumulators: rows * 4,
  })
}
