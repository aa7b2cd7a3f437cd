/**
 * Attention for GPUs: a workgroup owns `4·groups` rows of one head and runs over the other rows `8·columns` at a time,
 * all staged in workgroup memory. Its 8 × groups invocations form a grid: invocation (tx, ty) computes the scores of
 * rows 4ty..4ty+3 against columns tx, tx + 8, …, hands their weights over through workgroup memory, and sums the vec4
 * components tx, tx + 8, … of the same four rows. Rows in workgroup memory are an odd number of vec4s apart, so that the
 * eight columns of a score fall into different banks.
 *
 * RTX 3090 class (kernel.ts), heads of 64. Scores: of four components a subgroup reads four rows and `columns` others, a pass each, for
 * 16·columns multiply-adds of its own: 8 passes against 16 clocks of arithmetic with four columns, 6 against 8 with two, 5 against
 * 4 with one. Sums: 12 passes a turn for 128, against 32. So 32 × 32 leads and arithmetic is its bound. It keeps 56 values a thread
 * (queries 72, keys 96), no limit; workgroup memory is: 31 kB (39, 43) leave three (two) workgroups, four to six subgroups. Each has 16
 * sums that do not wait for one another, enough for arithmetic's latency and not for all of the memory's: half of the peak is what
 * to expect, 110 µs for 16 frames of 12 heads and 197 tokens where 55 are the least.
 * Sequences of 16: 16 × 16, one subgroup a head. 14.6 kB leave six heads a multiprocessor; k and v come 1 kB a step, 6 kB in flight,
 * what full bandwidth wants. Arithmetic takes some 500 clocks a head, 35 µs for 9408 heads, against 165 µs of memory.
 */
import { type Capabilities, ceilDiv, type Program } from '../kernel.ts'
import {
  type AttentionProblem,
  ownLength,
  type Pass,
  passArrays,
  passProgram,
  passShell,
  rowChunks,
  scoreBases,
  sequences,
  times,
} from './problem.ts'

export interface TileShape {
  /** Rows owned / 4: 2, 4, 8 or 16. */
  readonly groups: number
  /** Columns of a score that an invocation computes: 1, 2 or 4. */
  readonly columns: 1 | 2 | 4
}

export const tileShapes: readonly TileShape[] = [
  { groups: 8, columns: 4 },
  { groups: 8, columns: 2 },
  { groups: 4, columns: 2 },
  { groups: 4, columns: 1 },
  { groups: 2, columns: 1 },
]

/** Distance of rows in workgroup memory, in vec4s. */
export const pitch = (p: AttentionProblem): number => rowChunks(p) | 1

/** Bytes of workgroup memory. */
export function tileBytes(p: AttentionProblem, pass: Pass, { groups, columns }: TileShape): number {
  const { own, other } = passArrays[pass]
  const rows = 16 * pitch(p) * (own.length * 4 * groups + other.length * 8 * columns)
  const weights = groups * 4 * 8 * columns * 4 * (pass === 'keys' ? 2 : 1)
  return rows + weights + (pass === 'forward' ? groups * 4 * 8 * 4 : 0) + (pass === 'keys' ? 2 * 4 * 8 * columns : 0)
}

/** WGSL that kernels over tiles share: `firstRow` is the first own row, `start` the first other one, `pair` the head. */
export interface TileText {
  readonly rows: number
  readonly width: number
  readonly threads: number
  /** Workgroup memory of the staged rows. */
  readonly memory: string
  readonly stageOwn: string
  readonly stageOther: string
  /** Of four own rows: lse and delta. */
  readonly statistics: string
  /** s<i><j>: the scores of own row i and other row j of an invocation. */
  readonly scores: string
  /** p<i><j> and g<i><j>: their weights, and the scores' gradients. */
  readonly gradients: string
  row4(line: (i: number) => string): string
  cell(line: (i: number, j: number) => string): string
}

export function tileText(p: AttentionProblem, pass: Pass, { groups, columns }: TileShape): TileText {
  const { own, other } = passArrays[pass]
  const [rows, width, threads] = [4 * groups, 8 * columns, 8 * groups]
  const ownRows = pass === 'keys' ? 'u.lk' : 'u.lq'
  const otherRows = pass === 'keys' ? 'u.lq' : 'u.lk'
  const row4 = (f: (i: number) => string): string => times(4, f)
  const cell = (f: (i: number, j: number) => string): string => row4((i) => times(columns, (j) => f(i, j)))
  const stage = (names: readonly string[], count: number, start: string, length: string): string =>
    `for (var i = slot; i < ${count}u * u.chunks; i += ${threads}u) {
    let r = min(${start} + i / u.chunks, ${length} - 1u);
    let to = i / u.chunks * ${pitch(p)}u + i % u.chunks;
${names.map((name) => `    ${name}Tile[to] = ${name}At(${name}First + r * u.${name}_row, i % u.chunks);`).join('\n')}
  }`
  const products = (
    result: string,
    mine: string,
    theirs: string,
  ): string => `${cell((i, j) => `    var ${result}${i}${j} = 0.0;`)}
    for (var c = 0u; c < u.chunks; c++) {
${row4((i) => `      let a${i} = ${mine}Tile[(ty * 4u + ${i}u) * ${pitch(p)}u + c];`)}
${times(columns, (j) => `      let b${j} = ${theirs}Tile[(tx + ${8 * j}u) * ${pitch(p)}u + c];`)}
${cell((i, j) => `      ${result}${i}${j} += dot(a${i}, b${j});`)}
    }`
  const position = (i: number, j: number): string => {
    const [mine, theirs] = [`firstRow + ty * 4u + ${i}u`, `start + tx + ${8 * j}u`]
    return pass === 'keys' ? `${theirs}, ${mine}` : `${mine}, ${theirs}`
  }
  const key = (i: number, j: number): string => position(i, j).split(', ')[1]!
  const attended = (i: number, j: number): string => (pass === 'keys' ? `attended${i}` : `attended${j}`)
  const scores = `${products('s', own[0], other[0])}
${pass === 'keys' ? row4((i) => `    let attended${i} = keyAttended(maskAt, ${key(i, 0)});`) : times(columns, (j) => `    let attended${j} = keyAttended(maskAt, ${key(0, j)});`)}
${cell((i, j) => `    s${i}${j} = score(s${i}${j}, biasOf(biasAt, ${position(i, j)}), ${attended(i, j)}, ${position(i, j)});`)}`
  const gradients = `${scores}
${products('g', own[1] ?? '', other[1] ?? '')}
${cell((i, j) => {
  const at = pass === 'keys' ? `Tile[tx + ${8 * j}u]` : `${i}`
  return `    let p${i}${j} = exp(s${i}${j} - lse${at}); g${i}${j} = p${i}${j} * (g${i}${j} - delta${at});`
})}`
  const tiles = (names: readonly string[], count: number): string[] =>
    names.map((name) => `var<workgroup> ${name}Tile: array<vec4f, ${count * pitch(p)}>;`)
  return {
    ...{ rows, width, threads, scores, gradients, row4, cell },
    memory: [...tiles(own, rows), ...tiles(other, width)].join('\n'),
    stageOwn: stage(own, rows, 'firstRow', ownRows),
    stageOther: stage(other, width, 'start', otherRows),
    statistics: row4(
      (i) => `  let row${i} = pair * u.lq + min(firstRow + ty * 4u + ${i}u, u.lq - 1u);
  let lse${i} = select(lse[row${i}], deadRow, lse[row${i}] < lowest);
  let delta${i} = delta[row${i}];`,
    ),
  }
}

export function tileProgram(
  p: AttentionProblem,
  pass: Pass,
  shape: TileShape,
  vector: boolean,
  caps: Capabilities,
): Program {
  const { columns } = shape
  const { own, other, outputs } = passArrays[pass]
  const parts = passShell(p, pass, vector, caps)
  const text = tileText(p, pass, shape)
  const { rows, width, threads, scores, gradients, row4, cell } = text
  const spans = ceilDiv(rowChunks(p), 8)
  const ownRows = pass === 'keys' ? 'u.lk' : 'u.lq'
  const otherRows = pass === 'keys' ? 'u.lq' : 'u.lk'
  const weightType = { 1: 'f32', 2: 'vec2f', 4: 'vec4f' }[columns]
  const weights = { forward: ['p'], queries: ['g'], keys: ['p', 'g'] }[pass]
  const component = (j: number): string => (columns === 1 ? '' : `.${'xyzw'[j]}`)

  const memory = [
    text.memory,
    ...weights.map((name) => `var<workgroup> ${name}Weights: array<${weightType}, ${rows * 8}>;`),
    ...(pass === 'forward' ? [`var<workgroup> partial: array<f32, ${rows * 8}>;`] : []),
    ...(pass === 'keys' ? ['lse', 'delta'].map((name) => `var<workgroup> ${name}Tile: array<f32, ${width}>;`) : []),
  ].join('\n')
  const publish = weights
    .map((w) =>
      row4(
        (i) =>
          `    ${w}Weights[(ty * 4u + ${i}u) * 8u + tx] = ${weightType}(${times(columns, (j) => `${w}${i}${j}`, ', ')});`,
      ),
    )
    .join('\n')
  const rowReduce = (
    value: (i: number) => string,
    result: string,
    start: string,
    combine: (a: string, b: string) => string,
  ): string =>
    `${row4((i) => `    partial[(ty * 4u + ${i}u) * 8u + tx] = ${value(i)};`)}
    workgroupBarrier();
${row4((i) => `    var ${result}${i} = ${start}${start === 'most' ? i : ''};`)}
    for (var t = 0u; t < 8u; t++) {
${row4((i) => `      ${result}${i} = ${combine(`${result}${i}`, `partial[(ty * 4u + ${i}u) * 8u + t]`)};`)}
    }`
  const add = (
    sum: string,
    weight: string,
    from: string,
  ): string => `    for (var turn = 0u; turn < min(8u, ${otherRows} - start); turn++) {
${row4((i) => `      let w${i} = ${weight}Weights[(ty * 4u + ${i}u) * 8u + turn];`)}
${times(columns, (j) =>
  times(
    spans,
    (m) => `      let e${j}${m} = ${from}Tile[(turn + ${8 * j}u) * ${pitch(p)}u + column${m}];
${row4((i) => `      ${sum}${i}${m} += w${i}${component(j)} * e${j}${m};`)}`,
  ),
)}
    }`
  const largest = (i: number): string =>
    times(columns - 1, () => 'max(', '') + times(columns, (j) => (j ? `, s${i}${j})` : `s${i}${j}`), '')
  const inner = {
    forward: `${scores}
${rowReduce(largest, 'high', 'most', (a, b) => `max(${a}, ${b})`)}
${row4((i) => `    let shrink${i} = exp(most${i} - high${i}); most${i} = high${i};`)}
${cell((i, j) => `    let p${i}${j} = exp(s${i}${j} - high${i});`)}
${row4((i) => `    total${i} = total${i} * shrink${i} + (${times(columns, (j) => `p${i}${j}`, ' + ')});`)}
${row4((i) => times(spans, (m) => `    o${i}${m} *= shrink${i};`))}
${publish}
    workgroupBarrier();
${add('o', 'p', 'v')}`,
    queries: `${gradients}\n${publish}\n    workgroupBarrier();\n${add('dq', 'g', 'k')}`,
    keys: `${gradients}\n${publish}\n    workgroupBarrier();\n${add('dk', 'g', 'q')}\n${add('dv', 'p', 'dout')}`,
  }[pass]
  const statistics = `for (var i = slot; i < ${width}u; i += ${threads}u) {
    let r = pair * u.lq + min(start + i, u.lq - 1u);
    lseTile[i] = select(lse[r], deadRow, lse[r] < lowest);
    deltaTile[i] = delta[r];
  }`
  const state = {
    forward: row4((i) => `  var most${i} = lowest; var total${i} = 0.0;`),
    queries: text.statistics,
    keys: '',
  }[pass]
  const factor = (name: string, i: number): string =>
    ({ o: ` * scale${i}`, dq: ' * u.scale', dk: ' * u.scale' })[name] ?? ''
  const finish = `${
    pass === 'forward'
      ? `  workgroupBarrier();
${rowReduce(
  (i) => `total${i}`,
  'sum',
  '0.0',
  (a, b) => `${a} + ${b}`,
)}
${row4((i) => `  let scale${i} = select(1.0 / sum${i}, 0.0, sum${i} == 0.0);`)}`
      : ''
  }
${row4(
  (i) => `  if (firstRow + ty * 4u + ${i}u < ${ownRows}) {
    let row = firstRow + ty * 4u + ${i}u;
${pass === 'forward' ? `    if (tx == 0u) { lse[pair * u.lq + row] = select(most${i} + log(sum${i}), bitcast<f32>(u.minusInfinity), sum${i} == 0.0); }` : ''}
${outputs.map((name) => times(spans, (m) => `    if (tx + ${8 * m}u < u.chunks) { ${name}Put(${name}First + row * u.${name}_row, tx + ${8 * m}u, ${name}${i}${m}${factor(name, i)}); }`)).join('\n')}
  }`,
)}`
  const first = p.causal && pass === 'keys' ? `firstRow / ${width}u * ${width}u` : '0u'
  const end = p.causal && pass !== 'keys' ? `min(u.lk, firstRow + ${rows}u)` : otherRows
  const bases = [...new Set([...own, ...other, ...outputs])]
  const main = `${memory}
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) slot: u32, @builtin(workgroup_id) wid: vec3u,
        @builtin(num_workgroups) groupCount: vec3u) {
  let group = wid.x + wid.y * groupCount.x;
  let tiles = (${ownRows} + ${rows - 1}u) / ${rows}u;
  if (group >= u.sequences * u.heads * tiles) { return; }
  let pair = group / tiles;
  let firstRow = (group % tiles) * ${rows}u;
  let sequence = pair / u.heads;
  let head = pair % u.heads;
  let tx = slot % 8u;
  let ty = slot / 8u;
${scoreBases(p)}
${bases.map((name) => `  let ${name}First = ${name}Base(sequence, head);`).join('\n')}
${times(spans, (m) => `  let column${m} = min(tx + ${8 * m}u, u.chunks - 1u);`)}
${outputs.map((name) => row4((i) => times(spans, (m) => `  var ${name}${i}${m} = vec4f();`, ''))).join('\n')}
${state}
  ${text.stageOwn}
  for (var start = ${first}; start < ${end}; start += ${width}u) {
  workgroupBarrier();
  ${text.stageOther}
  ${pass === 'keys' ? statistics : ''}
  workgroupBarrier();
${inner}
  }
${finish}
}
`
  const name = `tile.${rows}x${width}`
  const count = sequences(p) * p.heads * ceilDiv(ownLength(p, pass), rows)
  // Sums of four rows, their statistics (in `keys` those of the columns wait in workgroup memory), and a score (and slope) a cell.
  const kept = 16 * spans * outputs.length + (pass === 'keys' ? 0 : 8) + 4 * columns * (pass === 'forward' ? 1 : 2)
  const workgroupBytes = tileBytes(p, pass, shape)
  return passProgram(p, pass, name, parts, main, count, caps, { workgroupBytes, accumulators: kept })
}
