/**
 * Workgroup-memory tiles, for GPUs. A workgroup computes tileM × tileN outputs over slices of 16 (or 8) values of k.
 *
 * Every invocation loads one block of 4 outer elements × 4 k of A or of B into registers, transposing it there when memory runs along
 * k, so that workgroup memory holds vec4s of four rows (columns) at one k: asTile[k][tileM/4], bsTile[k][tileN/4].
 * While a slice is multiplied the next one is already on its way into registers. An invocation computes `rows` × `cols`
 * outputs as 4 × 4 blocks that lie tileM/(rows/4) rows and tileN/(cols/4) columns apart, so a warp reads bsTile side by side.
 *
 * Bank conflicts: block (k/4, outer/4) is kept at column outer/4 ^ 2·(k/4), which spreads the eight 16-byte stores that are
 * served together over all 32 banks, without the bytes that padding costs (the largest tile fills 16 KiB exactly).
 *
 * RTX 3090 class (kernel.ts): of one k a subgroup of the 128² tile reads two vec4s of A, a pass each, and two of B, two passes each, for 64
 * multiply-adds: 6 passes against 16 clocks of arithmetic (8 × 4 outputs: 4 against 8; 4 × 4: 2 against 4), its bound. 64 sums,
 * 16 values on their way and 16 operands are some 110 registers: two workgroups of 256, four subgroups a scheduler. From memory 128²
 * does 32 flops a byte, a little below the 38 that are wanted, and L2 gives the rest, for tiles of a row share A. 64² does 16 and 32²
 * 8, where all of B (2.4 MB at 768×768) stays in an L2 of 6 MB.
 */
import type { Capabilities, Program } from '../kernel.ts'
import * as operand from './operand.ts'
import type { MatmulProblem } from './problem.ts'

/** (tileM/4 + tileN/4) · depth/4 must equal the invocations, (tileM/rows) · (tileN/cols): one block each. */
export interface TiledShape {
  readonly tileM: number
  readonly tileN: number
  readonly depth: 8 | 16
  readonly rows: 4 | 8
  readonly cols: 4 | 8
}

export const tiledShapes = {
  large: { tileM: 128, tileN: 128, depth: 16, rows: 8, cols: 8 },
  medium: { tileM: 64, tileN: 64, depth: 16, rows: 8, cols: 4 },
  small: { tileM: 32, tileN: 32, depth: 16, rows: 4, cols: 4 },
} as const satisfies Record<string, TiledShape>

export const tiledBytes = ({ tileM, tileN, depth }: TiledShape): number => 4 * depth * (tileM + tileN)

export function tiledProgram(problem: MatmulProblem, caps: Capabilities, shape: TiledShape): Program {
  const { tileM, tileN, depth, rows, cols } = shape
  const { lines } = operand
  const { a, b } = operand.sidesOf(problem, caps)
  const across = tileN / cols
  const invocations = (tileM / rows) * across
  const aBlocks = (tileM / 4) * (depth / 4)

  /** Loads block (kBlock, outerBlock) of one operand into block0 … block3, vec4s across at k = start + 4·kBlock + i. */
  function loadBlock(side: operand.Side): string {
    const bases = operand.declareBases(side, 4, 'outer')
    const whole = lines(4, (step) => `    block${step} = ${operand.elements(side, 0, step, 4)};`)
    const one = (step: number): string => `    if (kFirst + ${step}u < u.k) {
    let k = kFirst + ${step}u;
${operand.loadSteps(side, 4, 1)}
    block${step} = ${operand.elements(side, 0, 0, 1)};
    } else { block${step} = vec4f(); }`
    // Along k a block of four is inside or outside as a whole.
    const body =
      side.access === 'alongK'
        ? `    if (kFirst < u.k) {
    let k = kFirst;
${operand.loadSteps(side, 4, 4)}
${whole}
    } else { ${[0, 1, 2, 3].map((i) => `block${i} = vec4f();`).join(' ')} }`
        : lines(4, one)
    return `${bases}\n${body}`
  }

  const kBlocks = depth / 4
  const locate = (side: operand.Side, index: string, tile: number): string =>
    operand.runsAlongK(problem, side)
      ? `    kBlock = ${index} % ${kBlocks}u; outerBlock = ${index} / ${kBlocks}u;`
      : `    kBlock = ${index} / ${tile / 4}u; outerBlock = ${index} % ${tile / 4}u;`
  const load = `  {
  let kFirst = start + kBlock * 4u;
  if (loadsA) {
    let outer = tileRow * ${tileM}u + outerBlock * 4u;
${loadBlock(a)}
  } else {
    let outer = tileCol * ${tileN}u + outerBlock * 4u;
${loadBlock(b)}
  }
  }`
  const keep = (name: string, tile: number): string =>
    lines(4, (i) => `    ${name}[(kBlock * 4u + ${i}u) * ${tile / 4}u + (outerBlock ^ (kBlock * 2u))] = block${i};`)

  const main = `var<workgroup> asTile: array<vec4f, ${(depth * tileM) / 4}>;
var<workgroup> bsTile: array<vec4f, ${(depth * tileN) / 4}>;

@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let tile = wid.x + wid.y * workgroups.x;
  if (tile >= u.tilesM * u.tilesN * u.batches) { return; }
${operand.locateTile}
  let loadsA = lid < ${aBlocks}u;
  var kBlock: u32;
  var outerBlock: u32;
  if (loadsA) {
${locate(a, 'lid', tileM)}
  } else {
${locate(b, `(lid - ${aBlocks}u)`, tileN)}
  }
  let threadRow = lid / ${across}u;
  let threadCol = lid % ${across}u;
${operand.declareSums(rows, cols / 4)}
  var block0: vec4f;
  var block1: vec4f;
  var block2: vec4f;
  var block3: vec4f;
  var start = 0u;
${load}
  for (; start < u.k;) {
    if (loadsA) {
${keep('asTile', tileM)}
    } else {
${keep('bsTile', tileN)}
    }
    workgroupBarrier();
    start += ${depth}u;
    if (start < u.k) {
${load}
    }
    for (var i = 0u; i < ${operand.loopBound(depth, caps)}; i++) {
      let twist = (i >> 2u) * 2u;
${lines(rows / 4, (g) => `      let a_${g} = asTile[i * ${tileM / 4}u + ((threadRow + ${(g * tileM) / rows}u) ^ twist)];`)}
${lines(cols / 4, (g) => `      let b_${g} = bsTile[i * ${tileN / 4}u + ((threadCol + ${(g * tileN) / cols}u) ^ twist)];`)}
${lines(rows, (r) => lines(cols / 4, (g) => `      acc${r}_${g} += a_${r >> 2}[${r & 3}] * b_${g};`))}
    }
    workgroupBarrier();
  }
  let row = tileRow * ${tileM}u + threadRow * 4u;
  let col = tileCol * ${tileN}u + threadCol * 4u;
${operand.storeSums(rows, cols / 4, caps, `${(4 * tileM) / rows}u`, `${(4 * tileN) / cols}u`)}
}
`
  return operand.assemble(problem, caps, {
    label: `matmul.tiled.${tileM}x${tileN}.${operand.sidesLabel(a, b)}`,
    a,
    b,
    tileM,
    tileN,
    tilesPerWorkgroup: 1,
    main,
    workgroupBytes: tiledBytes(shape),
    accumulators: rows * cols,
  })
}
