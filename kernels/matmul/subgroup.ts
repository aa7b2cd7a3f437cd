/**
 * Subgroup broadcast: a workgroup is one subgroup; its lanes lie along the columns, one vec4 of columns each, and it
 * computes `rows` rows, four values of k at a time. Each element of A and of B is loaded by one lane only, as a vec4 where the
 * layout allows it: A's are handed round by `subgroupBroadcast` with a constant lane.
 *
 * On a CPU adapter this is the fast tier. lavapipe executes a load once a lane, with a bounds check and a branch an element: about
 * as long as a multiply-add of all lanes for each element loaded. A tile of 32 rows × 32 columns loads 64 elements for 1024
 * multiply-adds, the most that still compiles in reason. Two more facts shape the loop: what it carries from pass to pass is
 * blended with the loop's mask each time, so every row sums its four steps at once (16 % of the time); and more loads in the
 * loop's text than those of four steps slow every one of them, so it is not unrolled further.
 * Measured on 512³, all layouts alike, as a share of the multiply-add ceiling: 0.32 with 8 rows, 0.42 with 16, 0.50 with 32.
 *
 * On a GPU with 32 lanes, 8 rows keep 32 accumulators a thread, no workgroup memory: full occupancy. A pass of 4 k reads
 * 8·16 B of A and 4·512 B of B for 2·4·8·128 flops, 3.8 flops a byte: twice what an SM of the RTX 3090 class needs of its L1 (256 flops
 * and 128 B a clock), a tenth of the 38 that 936 GB/s of memory ask for where caches miss. Behind the tiles in workgroup memory, ahead of
 * them where there are too few rows for a tile.
 *
 * The workgroup must be exactly one whole subgroup: usable only where the adapter has a single subgroup size.
 */
import type { Capabilities, Program } from '../kernel.ts'
import * as operand from './operand.ts'
import type { MatmulProblem } from './problem.ts'

/** Multiples of 4; lanes without rows of their own load what others load. */
export type SubgroupRows = 4 | 8 | 16 | 24 | 32

export function subgroupProgram(problem: MatmulProblem, caps: Capabilities, rows: SubgroupRows): Program {
  const lanes = caps.subgroupMinSize
  const { a, b } = operand.sidesOf(problem, caps)
  const { lines } = operand
  const share = sharesOfA(a, rows, lanes)

  const step = (steps: 1 | 4): string => `${share.load(steps)}
${operand.loadSteps(b, 4, steps)}
${lines(steps, (s) => `    let b_at${s} = ${operand.elements(b, 0, s, steps)};`)}
${lines(rows, (r) => lines(steps, (s) => `    acc${r}_0 += ${share.element(r, s)} * b_at${s};`))}`
  // An operand read along k has k divisible by 4.
  const tail = problem.k % 4 ? `  for (; k < u.k; k++) {\n${step(1)}\n  }` : ''

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
${share.bases}
${operand.declareBases(b, 4, 'col')}
${operand.declareSums(rows, 1)}
  var k = 0u;
  for (; k + 4u <= u.k; k += 4u) {
${step(4)}
  }
${tail}
${operand.storeSums(rows, 1, caps)}
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

interface Shares {
  /** Declares the element index at k = 0 of every load a lane does. */
  readonly bases: string
  /** Loads this lane's share of A for `steps` values of k from `k` on. */
  load(steps: 1 | 4): string
  /** A's element in row r at k + step, in every lane. */
  element(r: number, step: number): string
}

/** Deals the rows of A out to the lanes: one row a lane and load, or four where memory runs across the rows. */
function sharesOfA({ access, array }: operand.Side, rows: number, lanes: number): Shares {
  const each = access === 'across' ? 4 : 1
  const count = Math.ceil(rows / each / lanes)
  const mine = (s: number): string => `(${s * lanes}u + lane)${rows / each < lanes ? ` % ${rows / each}u` : ''}`
  const last = access === 'across' ? 'u.m - 4u' : 'u.m - 1u'
  const bases = operand.lines(
    count,
    (s) =>
      `  let aBase${s} = aMatrix + min(row + ${mine(s)} * ${each}u, ${last}) * ${access === 'across' ? '1u' : 'u.aRow'};`,
  )
  const load = (steps: 1 | 4): string =>
    operand.lines(count, (s) =>
      access === 'alongK'
        ? `    let share${s} = ${array.load(`(aBase${s} + k) >> 2u`)};`
        : operand.lines(steps, (step) => {
            const at = `aBase${s} + (k + ${step}u) * u.aCol`
            return `    let share${s}_${step} = ${array.load(access === 'across' ? `(${at}) >> 2u` : at)};`
          }),
    )
  const element = (r: number, step: number): string => {
    const owner = Math.floor(r / each)
    const name = `share${Math.floor(owner / lanes)}`
    const value =
      access === 'alongK' ? `${name}[${step}]` : access === 'across' ? `${name}_${step}[${r % 4}]` : `${name}_${step}`
    return `subgroupBroadcast(${value}, ${owner % lanes}u)`
  }
  return { bases, load, element }
}
