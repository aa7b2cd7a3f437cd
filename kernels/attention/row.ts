/**
 * Attention with one invocation a row: it keeps its row and its sums in registers and runs over the other rows four at
 * a time. The other rows are read from memory as they are, or from tiles that the workgroup stages in its memory:
 *
 *   direct   any device; rows of neighbouring heads share a workgroup
 *   tiled    a workgroup owns `threads` rows of one head and stages `tile` other rows at a time
 *   heads    short sequences: a workgroup owns several whole heads and stages all their other rows at once
 *
 * RTX 3090 class (kernel.ts): the threads of a head read the same staged row, a pass for up to eight heads in a subgroup, and four rows
 * give 16 multiply-adds: as many clocks of memory as of arithmetic, so that half of the peak is the most. That is no matter to short
 * sequences, which do 1 to 5 flops a byte. Narrow rows (d = 16) keep 38 values a thread, queries 58 and keys 72, with 9 kB or less a
 * workgroup: occupancy is full, memory the bound. At d = 64 they keep 134 (queries 202; keys would spill) and 33 kB of a workgroup hold
 * four heads: twelve on a multiprocessor, twice those of the tile, but only six subgroups of few registers to spare. So the tile is
 * the first guess there and this one is measured.
 */
import type { Capabilities, Program } from '../kernel.ts'
import { ceilDiv } from '../kernel.ts'
import type { AttentionProblem, Pass } from './problem.ts'
import {
  otherLength,
  ownLength,
  passArrays,
  passProgram,
  passShell,
  rowChunks,
  scoreBases,
  sequences,
  times,
} from './problem.ts'

export interface RowStaging {
  readonly kind: 'direct' | 'tiled' | 'heads'
  readonly threads: number
  /** Other rows staged at once (for `heads`: of each head); unused when direct. */
  readonly tile: number
}

const block = 4

/** Registers of a row and its sums. */
export const rowRegisters = (p: AttentionProblem, pass: Pass): number =>
  4 * rowChunks(p) * (passArrays[pass].own.length + passArrays[pass].outputs.length)

/** Of the 255 that a thread may have: more spill, and unrolled their text only grows. */
export const mostRowRegisters = 192

/** Bytes of workgroup memory a staging takes. */
export function rowStagingBytes(p: AttentionProblem, pass: Pass, staging: RowStaging): number {
  if (staging.kind === 'direct') return 0
  const heads = staging.kind === 'heads' ? Math.floor(staging.threads / ownLength(p, pass)) : 1
  const scalars = pass === 'keys' ? 2 : 0
  return heads * staging.tile * (passArrays[pass].other.length * rowChunks(p) * 16 + scalars * 4)
}

export function rowProgram(
  p: AttentionProblem,
  pass: Pass,
  staging: RowStaging,
  vector: boolean,
  caps: Capabilities,
): Program {
  const { own, other, outputs } = passArrays[pass]
  const chunks = rowChunks(p)
  const { kind, threads, tile } = staging
  const staged = kind !== 'direct'
  const parts = passShell(p, pass, vector, caps)
  const ownRows = pass === 'keys' ? 'u.lk' : 'u.lq'
  const otherRows = pass === 'keys' ? 'u.lq' : 'u.lk'
  const headCount = sequences(p) * p.heads
  const groupHeads = kind === 'heads' ? Math.floor(threads / ownLength(p, pass)) : 1
  const groups =
    kind === 'direct'
      ? ceilDiv(headCount * ownLength(p, pass), threads)
      : kind === 'heads'
        ? ceilDiv(headCount, groupHeads)
        : headCount * ceilDiv(ownLength(p, pass), threads)

  const place = {
    direct: `  let index = group * ${threads}u + slot;
  if (index >= u.sequences * u.heads * ${ownRows}) { return; }
  let pair = index / ${ownRows};
  let row = index % ${ownRows};`,
    tiled: `  let tiles = (${ownRows} + ${threads - 1}u) / ${threads}u;
  if (group >= u.sequences * u.heads * tiles) { return; }
  let pair = group / tiles;
  let unclamped = (group % tiles) * ${threads}u + slot;
  let live = unclamped < ${ownRows};
  let row = min(unclamped, ${ownRows} - 1u);`,
    heads: `  let pairs = u.sequences * u.heads;
  let firstPair = group * ${groupHeads}u;
  if (firstPair >= pairs) { return; }
  let local = min(slot / ${ownRows}, ${groupHeads - 1}u);
  let live = slot < ${groupHeads}u * ${ownRows} && firstPair + local < pairs;
  let pair = min(firstPair + local, pairs - 1u);
  let row = slot % ${ownRows};`,
  }[kind]

  const memory = staged
    ? [
        ...other.map((name) => `var<workgroup> ${name}Tile: array<vec4f, ${groupHeads * tile * chunks}>;`),
        ...(pass === 'keys' ? ['lse', 'delta'] : []).map(
          (name) => `var<workgroup> ${name}Tile: array<f32, ${groupHeads * tile}>;`,
        ),
      ].join('\n')
    : ''
  const stageOne = `      let r = min(at, ${otherRows} - 1u);
      for (var c = 0u; c < ${chunks}u; c++) {
${other.map((name) => `        ${name}Tile[i * ${chunks}u + c] = ${name}At(${name}Base(s, h) + r * u.${name}_row, c);`).join('\n')}
      }
${pass === 'keys' ? times(2, (i) => `      ${['lse', 'delta'][i]}Tile[i] = ${['lse', 'delta'][i]}[(s * u.heads + h) * u.lq + r];`) : ''}`
  const stage = {
    direct: '',
    tiled: `    workgroupBarrier();
    for (var i = slot; i < ${tile}u; i += ${threads}u) {
      let at = start + i;
      let s = sequence;
      let h = head;
${stageOne}
    }
    workgroupBarrier();`,
    heads: `    for (var i = slot; i < ${groupHeads * tile}u; i += ${threads}u) {
      let at = i % ${tile}u;
      let owner = min(firstPair + i / ${tile}u, pairs - 1u);
      let s = owner / u.heads;
      let h = owner % u.heads;
${stageOne}
    }
    workgroupBarrier();`,
  }[kind]

  // Chunks of a row are loops over function-local arrays, which GPU compilers unroll into registers. Software adapters
  // spend tens of milliseconds of compile time on every load they see, so their loops have a bound that is not constant.
  const bound = caps.software || rowRegisters(p, pass) > mostRowRegisters ? 'u.chunks' : `${chunks}u`
  const each = (body: string): string => `for (var c = 0u; c < ${bound}; c++) { ${body} }`
  const read = (name: string, j: number): string =>
    staged ? `${name}Tile[at${j} * ${chunks}u + c]` : `${name}At(${name}First + at${j} * u.${name}_row, c)`
  const products = (result: string, mine: string, theirs: string): string => {
    const sums = times(block, (j) => `${result}${j} += dot(mine, ${read(theirs, j)});`, ' ')
    return `${times(block, (j) => `      var ${result}${j} = 0.0;`)}
      ${each(`let mine = ${mine}Own[c]; ${sums}`)}`
  }
  const scores = `${products('s', own[0], other[0])}
${times(block, (j) => {
  const [query, key] = pass === 'keys' ? [`j + ${j}u`, 'row'] : ['row', `j + ${j}u`]
  return `      s${j} = score(s${j}, biasOf(biasAt, ${query}, ${key}), keyAttended(maskAt, ${key}), ${query}, ${key});`
})}`
  const perRow = (name: string, j: number): string =>
    pass === 'queries' ? `own_${name}` : staged ? `${name}Tile[at${j}]` : `${name}[pair * u.lq + at${j}]`
  const gradients = `${scores}
${products('g', own[1] ?? '', other[1] ?? '')}
${times(
  block,
  (j) => `      var l${j} = ${perRow('lse', j)};
      if (l${j} < lowest) { l${j} = deadRow; }
      let p${j} = exp(s${j} - l${j});
      g${j} = p${j} * (g${j} - ${perRow('delta', j)});`,
)}`
  const weighted = (weight: string, from: string): string =>
    times(block, (j) => `${weight}${j} * ${read(from, j)}`, ' + ')
  const local = kind === 'heads' ? `local * ${tile}u + ` : ''
  const limit = kind === 'heads' ? `${tile - 1}u` : `${otherRows} - 1u`
  const position = (j: number): string =>
    kind === 'tiled' ? `let at${j} = j - start + ${j}u;` : `let at${j} = ${local}min(j + ${j}u, ${limit});`
  const inner = {
    forward: `${scores}
      let high = max(max(max(s0, s1), max(s2, s3)), most);
      let shrink = exp(most - high);
      most = high;
${times(block, (j) => `      let p${j} = exp(s${j} - high);`)}
      total = total * shrink + ((p0 + p1) + (p2 + p3));
      ${each(`oSum[c] = oSum[c] * shrink + (${weighted('p', 'v')});`)}`,
    queries: `${gradients}
      ${each(`dqSum[c] += ${weighted('g', 'k')};`)}`,
    keys: `${gradients}
      ${each(`dkSum[c] += ${weighted('g', 'q')}; dvSum[c] += ${weighted('p', 'dout')};`)}`,
  }[pass]

  // Under a causal mask, no query of this tile sees keys beyond its last one; no key is seen by queries before its first.
  const tileStep = kind === 'tiled' ? `${tile}u` : otherRows
  const causalTile = p.causal && kind === 'tiled'
  const end = causalTile && pass !== 'keys' ? `min(u.lk, (group % tiles + 1u) * ${threads}u)` : otherRows
  const first = causalTile && pass === 'keys' ? `((group % tiles) * ${threads}u) / ${tile}u * ${tile}u` : '0u'
  const loop = `  let end = ${end};
  for (var start = ${first}; start < end; start += ${tileStep}) {
${stage}
    let stop = ${kind === 'tiled' ? `min(end, start + ${tile}u)` : 'end'};
    for (var j = start; j < stop; j += ${block}u) {
${times(block, (j) => `      ${position(j)}`)}
      ${inner}
    }
  }`
  const finish = {
    forward: `  let scale = select(1.0 / total, 0.0, total == 0.0);
  lse[pair * u.lq + row] = select(most + log(total), bitcast<f32>(u.minusInfinity), total == 0.0);
  ${each('oPut(oRow, c, oSum[c] * scale);')}`,
    queries: `  ${each('dqPut(dqRow, c, dqSum[c] * u.scale);')}`,
    keys: `  ${each('dkPut(dkRow, c, dkSum[c] * u.scale); dvPut(dvRow, c, dvSum[c]);')}`,
  }[pass]

  const main = `${memory}
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) slot: u32, @builtin(workgroup_id) wid: vec3u,
        @builtin(num_workgroups) groupCount: vec3u) {
  let group = wid.x + wid.y * groupCount.x;
${place}
  let sequence = pair / u.heads;
  let head = pair % u.heads;
${scoreBases(p)}
${own.map((name) => `  let ${name}Row = ${name}Base(sequence, head) + row * u.${name}_row;`).join('\n')}
${staged ? '' : other.map((name) => `  let ${name}First = ${name}Base(sequence, head);`).join('\n')}
${own.map((name) => `  var ${name}Own: array<vec4f, ${chunks}>;\n  ${each(`${name}Own[c] = ${name}At(${name}Row, c);`)}`).join('\n')}
${pass === 'queries' ? '  let own_lse = lse[pair * u.lq + row];\n  let own_delta = delta[pair * u.lq + row];' : ''}
${pass === 'forward' ? '  var most = lowest;\n  var total = 0.0;' : ''}
${outputs.map((name) => `  var ${name}Sum: array<vec4f, ${chunks}>;`).join('\n')}
${loop}
${staged ? '  if (!live) { return; }' : ''}
${outputs.map((name) => `  let ${name}Row = ${name}Base(sequence, head) + row * u.${name}_row;`).join('\n')}
${finish}
}
`
  const name = kind === 'direct' ? `row.${threads}` : `row.${kind}.${threads}x${tile}`
  // The row and its sums, its statistics, and a score (and slope) for each row of a block.
  const accumulators = rowRegisters(p, pass) + (pass === 'keys' ? 0 : 2) + block * (pass === 'forward' ? 1 : 2)
  const workgroupBytes = rowStagingBytes(p, pass, staging)
  return passProgram(p, pass, name, parts, main, groups, caps, { workgroupBytes, accumulators })
}

/** Other rows a short head has, rounded to whole blocks. */
export const shortTile = (p: AttentionProblem, pass: Pass): number => ceilDiv(otherLength(p, pass), block) * block
