/**
 * Attention for CPU adapters: a workgroup is one subgroup; a lane owns `each` rows and all that belongs to them, and the other
 * rows come `block` at a time.
 *
 * Scores: four components at a time, each lane loads its own rows and its share of the block's, which `subgroupBroadcast` with a
 * constant lane hands to all. Sums: the same again, where the weights never leave their lane; a softmax needs no reduction over
 * lanes. An element is thus loaded once for `block` or lanes·each products, which counts where a load costs each lane about
 * as much as a multiply-add (`matmul/subgroup.ts`). Sums over several blocks wait in workgroup memory, each lane's beside the
 * others' and for itself alone: they cost a load and a store for every block·each multiply-adds.
 *
 * What a compiler would unroll stands in function-local arrays that loops of opaque bounds fill and read. A pair's bias, mask and
 * exponential are in the text once for each own row of a lane, and cost a few accesses for every 2·d multiply-adds.
 *
 * Measured on lavapipe, eight lanes, heads of 64, two own rows and blocks of 16: against eight rows held together and handed round
 * by `subgroupShuffle`, a tenth less time for 197 tokens and half of it for sequences of 16. Blocks of 32 rows with four own ones
 * would gain a few hundredths more and compile three times as long.
 */
import { type Capabilities, ceilDiv, oneSubgroupSize, type Program } from '../kernel.ts'
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

export interface SubgroupShape {
  /** The subgroup size. */
  readonly lanes: number
  /** Rows that a lane owns. */
  readonly each: number
  /** Other rows taken together; a multiple of `lanes`. */
  readonly block: number
}

/**
 * WGSL around one block: `start` is its first other row, `firstRow` the first own one, `pair` the head, `count` the block's length as
 * compilers must not know it. Own row i of other row j has its place at j·each + i in `scores` and `slopes`.
 */
export interface BlockText {
  /** Function-local arrays. */
  readonly locals: readonly string[]
  /** Own rows and what belongs to them. */
  readonly own: string
  /** The block's rows. */
  readonly other: string
  /** forward: fills `scores`. Else: fills `scores` with p and `slopes` with ds. */
  readonly fill: string
  /** Runs `body`, which knows j and its place `at`, for every pair. */
  pairs(body: (i: number) => string): string
  /** Loads four components c of the shares of a row array, and runs `use` with `e` the block's row j. */
  shares(name: string, use: (j: number) => string): string
}

export function blockText(p: AttentionProblem, pass: Pass, { lanes, each, block }: SubgroupShape): BlockText {
  const { own, other } = passArrays[pass]
  const keys = pass === 'keys'
  const [ownEnd, otherEnd] = keys ? ['u.lk', 'u.lq'] : ['u.lq', 'u.lk']
  const row = (line: (i: number) => string, separator?: string): string => times(each, line, separator)
  const count = block / lanes

  const shares = (name: string, use: (j: number) => string): string => `
${times(count, (s) => `        let e${s} = ${name}At(${name}Share${s}, c);`)}
${times(block, (j) => `        { let e = subgroupBroadcast(e${Math.floor(j / lanes)}, ${j % lanes}u); ${use(j)} }`)}`
  const pairs = (body: (i: number) => string): string => `    for (var j = 0u; j < count; j++) {
${row((i) => `      {\n        let at = j * ${each}u + ${i}u;\n${body(i)}\n      }`)}
    }`
  const products = (result: string, mine: string, theirs: string): string => `    {
${times(block, (j) => row((i) => `      var sum${j}_${i} = 0.0;`))}
      for (var c = 0u; c < u.chunks; c++) {
${row((i) => `        let mine${i} = ${mine}At(${mine}Row${i}, c);`)}
${shares(theirs, (j) => row((i) => `sum${j}_${i} += dot(mine${i}, e);`, ' '))}
      }
${times(block, (j) => row((i) => `      ${result}[${j * each + i}] = sum${j}_${i};`))}
    }`

  const position = (i: number): string => (keys ? `start + j, at${i}` : `at${i}, start + j`)
  const stored = (i: number): string => (keys ? `there, at${i}` : `at${i}, there`)
  const open = (i: number): string => (!p.keyMask ? 'true' : keys ? `open${i}` : 'keyAttended(maskAt, there)')
  const score = (i: number): string => `        let there = min(start + j, ${otherEnd} - 1u);
        let s = score(scores[at], biasOf(biasAt, ${stored(i)}), ${open(i)}, ${position(i)});`
  const statistics = (i: string, at: string): string => `  let statistic${i} = pair * u.lq + ${at};
  let lse${i} = select(lse[statistic${i}], deadRow, lse[statistic${i}] < lowest);
  let delta${i} = delta[statistic${i}];`
  const ownStatistics = {
    forward: '',
    queries: row((i) => statistics(`${i}`, `at${i}`)),
    keys: row((i) => `  let open${i} = keyAttended(maskAt, at${i});`),
  }[pass]
  const weights = (i: number): string => `${score(i)}
${keys ? statistics('', 'there') : ''}
        let weight = exp(s - lse${keys ? '' : i});
        scores[at] = weight;
        slopes[at] = weight * (slopes[at] - delta${keys ? '' : i});`
  const fill =
    pass === 'forward'
      ? `${products('scores', own[0], other[0])}
${row((i) => `    var high${i} = most${i};`)}
${pairs((i) => `${score(i)}\n        scores[at] = s;\n        high${i} = max(high${i}, s);`)}
${row((i) => `    let shrink${i} = exp(most${i} - high${i});\n    most${i} = high${i};\n    total${i} *= shrink${i};`)}
${pairs((i) => `        let weight = exp(scores[at] - high${i});\n        scores[at] = weight;\n        total${i} += weight;`)}`
      : `${products('scores', own[0], other[0])}
${products('slopes', own[1] ?? '', other[1] ?? '')}
${pairs(weights)}`

  return {
    locals: ['scores', ...(pass === 'forward' ? [] : ['slopes'])].map((name) => `${name}: array<f32, ${block * each}>`),
    own: `${row(
      (i) => `  let own${i} = firstRow + ${i * lanes}u + lane;
  let at${i} = min(own${i}, ${ownEnd} - 1u);
${own.map((name) => `  let ${name}Row${i} = ${name}First + at${i} * u.${name}_row;`).join('\n')}`,
    )}
${ownStatistics}`,
    other: times(
      count,
      (s) => `    let other${s} = min(start + ${s * lanes}u + lane, ${otherEnd} - 1u);
${other.map((name) => `    let ${name}Share${s} = ${name}First + other${s} * u.${name}_row;`).join('\n')}`,
    ),
    fill,
    pairs,
    shares,
  }
}

/** Bytes of workgroup memory: the sums of own rows, unless all other rows are one block. */
export const subgroupBytes = (p: AttentionProblem, pass: Pass, { lanes, each, block }: SubgroupShape): number =>
  otherLength(p, pass) <= block ? 0 : passArrays[pass].outputs.length * lanes * each * rowChunks(p) * 16

/** Shapes worth measuring, the best guess first; none where subgroups have no one size. */
export function subgroupShapes(p: AttentionProblem, pass: Pass, caps: Capabilities): SubgroupShape[] {
  const lanes = caps.subgroupMinSize
  if (!oneSubgroupSize(caps)) return []
  const each = ownLength(p, pass) <= lanes ? 1 : 2
  const block = otherLength(p, pass) <= lanes ? lanes : 2 * lanes
  const shapes = [{ lanes, each, block }, ...(each * block > lanes ? [{ lanes, each: 1, block }] : [])]
  return shapes.filter((shape) => subgroupBytes(p, pass, shape) <= caps.maxWorkgroupBytes)
}

export function subgroupProgram(
  p: AttentionProblem,
  pass: Pass,
  shape: SubgroupShape,
  vector: boolean,
  caps: Capabilities,
): Program {
  const { lanes, each, block } = shape
  const { own, other, outputs } = passArrays[pass]
  const parts = passShell(p, pass, vector, caps, true)
  const rows = lanes * each
  const [ownEnd, otherEnd] = pass === 'keys' ? ['u.lk', 'u.lq'] : ['u.lq', 'u.lk']
  const text = blockText(p, pass, shape)
  const row = (line: (i: number) => string, separator?: string): string => times(each, line, separator)
  const bytes = subgroupBytes(p, pass, shape)
  const whole = bytes === 0

  const factor = (name: string, i: number): string =>
    ({ o: ` * scale${i}`, dq: ' * u.scale', dk: ' * u.scale' })[name] ?? ''
  const put = (name: string, i: number, value: string): string =>
    `if (own${i} < ${ownEnd}) { ${name}Put(${name}First + own${i} * u.${name}_row, c, ${value}${factor(name, i)}); }`
  const kept = (name: string, i: number): string => `${name}Sums[(c * ${each}u + ${i}u) * ${lanes}u + lane]`
  const before = (name: string, i: number): string =>
    whole ? 'vec4f()' : `${kept(name, i)}${name === 'o' ? ` * shrink${i}` : ''}`
  /** Adds the block's rows, weighted, to the sums of the own ones. */
  const add = (name: string, weights: string, from: string): string => `    {
${times(block, (j) => row((i) => `      let weight${j}_${i} = ${weights}[${j * each + i}];`))}
      for (var c = 0u; c < u.chunks; c++) {
${row((i) => `        var sum${i} = ${before(name, i)};`)}
${text.shares(from, (j) => row((i) => `sum${i} += weight${j}_${i} * e;`, ' '))}
${row((i) => `        ${whole ? put(name, i, `sum${i}`) : `${kept(name, i)} = sum${i};`}`)}
      }
    }`
  const adds = {
    forward: [add('o', 'scores', 'v')],
    queries: [add('dq', 'slopes', 'k')],
    keys: [add('dk', 'slopes', 'q'), add('dv', 'scores', 'dout')],
  }[pass].join('\n')

  const scales = row((i) => `  let scale${i} = select(1.0 / total${i}, 0.0, total${i} == 0.0);`)
  const forward = pass === 'forward'
  const lse = row(
    (i) => `  if (own${i} < u.lq) {
    lse[pair * u.lq + own${i}] = select(most${i} + log(total${i}), bitcast<f32>(u.minusInfinity), total${i} == 0.0);
  }`,
  )
  const keep = outputs.map((name) => row((i) => `    ${put(name, i, kept(name, i))}`)).join('\n')
  const first = p.causal && pass === 'keys' ? `firstRow / ${block}u * ${block}u` : '0u'
  const end = p.causal && pass !== 'keys' ? `min(u.lk, firstRow + ${rows}u)` : otherEnd
  const bases = [...new Set([...own, ...other, ...outputs])]
  const memory = whole
    ? []
    : outputs.map((name) => `var<workgroup> ${name}Sums: array<vec4f, ${bytes / 16 / outputs.length}>;`)
  const main = `${memory.join('\n')}
@compute @workgroup_size(${lanes})
fn main(@builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) wid: vec3u,
        @builtin(num_workgroups) groupCount: vec3u) {
  let group = wid.x + wid.y * groupCount.x;
  let count = ${block}u * groupCount.z;
  let tiles = (${ownEnd} + ${rows - 1}u) / ${rows}u;
  if (group >= u.sequences * u.heads * tiles) { return; }
  let pair = group / tiles;
  let firstRow = (group % tiles) * ${rows}u;
  let sequence = pair / u.heads;
  let head = pair % u.heads;
${scoreBases(p)}
${bases.map((name) => `  let ${name}First = ${name}Base(sequence, head);`).join('\n')}
${text.own}
${forward ? row((i) => `  var most${i} = lowest;\n  var total${i} = 0.0;`) : ''}
${text.locals.map((local) => `  var ${local};`).join('\n')}
  for (var start = ${first}; start < ${end}; start += ${block}u) {
${text.other}
${text.fill}
${forward && whole ? scales : ''}
${adds}
  }
${forward && !whole ? scales : ''}
${forward ? lse : ''}
${whole ? '' : `  for (var c = 0u; c < u.chunks; c++) {\n${keep}\n  }`}
}
`
  const groups = sequences(p) * p.heads * ceilDiv(ownLength(p, pass), rows)
  // Scores (and slopes) of a block, statistics, and four components of the sums.
  const accumulators = each * (forward ? block + 6 : 2 * block + 6)
  const name = `subgroup.${rows}x${block}`
  return passProgram(p, pass, name, parts, main, groups, caps, { workgroupBytes: bytes, accumulators })
}
