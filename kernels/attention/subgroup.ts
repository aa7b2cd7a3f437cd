/**
 * Attention with one subgroup a workgroup and no workgroup memory: `rows` rows are owned together.
 *
 * For the scores, lanes are other rows: each lane loads its own row and meets the owned rows, which are held one vec4 a
 * lane and handed round by `subgroupShuffle`. For the sums, lanes are components: each lane loads its components of
 * another row and adds them to all owned rows, the weights handed round the same way. Both
 * run in loops whose bounds are uniforms, lest a compiler unroll them: software adapters spend tens of milliseconds of
 * compile time on every load in the text.
 */
import type { Capabilities, Program } from '../kernel.ts'
import { ceilDiv } from '../kernel.ts'
import type { AttentionProblem, Pass } from './problem.ts'
import {
  outputArray,
  ownLength,
  passArrays,
  passProgram,
  passShell,
  rowChunks,
  scoreBases,
  sequences,
  times,
} from './problem.ts'

/** `lanes` is the subgroup size. */
export function subgroupProgram(
  p: AttentionProblem,
  pass: Pass,
  lanes: number,
  rows: number,
  vectorOperands: boolean,
  caps: Capabilities,
): Program {
  const { own, other, outputs } = passArrays[pass]
  const chunks = rowChunks(p)
  // Components a lane sums: as few as cover d, so that narrow heads keep every lane busy.
  const width = p.d > 2 * lanes ? 4 : p.d > lanes ? 2 : 1
  const vector = vectorOperands && width === 4
  const parts = passShell(p, pass, vector, caps, true)
  const spans = ceilDiv(p.d, lanes * width)
  const type = ['', 'f32', 'vec2f', '', 'vec4f'][width]!
  const ownRows = pass === 'keys' ? 'u.lk' : 'u.lq'
  const otherRows = pass === 'keys' ? 'u.lq' : 'u.lk'
  // An owned row is held in `held` blocks of as many vec4s, at most one a lane. Their ends are written with a uniform.
  const held = ceilDiv(chunks, lanes)
  const blockStart = (b: number): number => Math.floor((chunks * b) / held)
  const blockEnd = (b: number): string => (held === 1 ? 'u.chunks' : `u.chunks * ${b + 1}u / ${held}u`)

  const components = ['0.0', '0.0', '0.0', '0.0']
  /** Loads and stores of the components that a lane owns, guarded where d leaves lanes idle. */
  const part = (name: string): string => {
    const index = `m * ${lanes * width}u + lane * ${width}u`
    if (width === 4)
      return `fn ${name}Part(row: u32, lane: u32, m: u32) -> vec4f {
  let c = m * ${lanes}u + lane;
  if (c >= ${chunks}u) { return vec4f(); }
  return ${name}At(row, c);
}`
    const loads = components
      .slice(0, width)
      .map(
        (_, i) => `select(0.0, ${parts.arrays[name]!.load(`row + min(e + ${i}u, ${p.d - 1}u)`)}, e + ${i}u < ${p.d}u)`,
      )
    return `fn ${name}Part(row: u32, lane: u32, m: u32) -> ${type} {
  let e = ${index};
  return ${type}(${loads.join(', ')});
}`
  }
  const store = (name: string): string => {
    if (width === 4)
      return `fn ${name}Keep(row: u32, lane: u32, m: u32, value: vec4f) {
  let c = m * ${lanes}u + lane;
  if (c < ${chunks}u) { ${name}Put(row, c, value); }
}`
    const value = (i: number): string => (width === 1 ? 'value' : `value.${'xy'[i]}`)
    return `fn ${name}Keep(row: u32, lane: u32, m: u32, value: ${type}) {
  let e = m * ${lanes * width}u + lane * ${width}u;
  ${times(width, (i) => `if (e + ${i}u < ${p.d}u) { ${parts.arrays[outputArray(p, name)]!.store(`row + e + ${i}u`, value(i))} }`, ' ')}
}`
  }
  const summed = { forward: ['v'], queries: ['k'], keys: ['q', 'dout'] }[pass]

  // Every load and store stands in the text once, in a loop that fills a function-local array; the array is then read at
  // constant places only, that is, from registers.
  const loadOwn = `${own.map((name) => `  var ${name}Own: array<vec4f, ${rows * held}>;`).join('\n')}
${pass === 'queries' ? `  var lseOwn: array<f32, ${rows}>;\n  var deltaOwn: array<f32, ${rows}>;` : ''}
${pass === 'keys' ? `  var attendedOwn: array<bool, ${rows}>;` : ''}
  for (var r = 0u; r < live; r++) {
${pass === 'queries' ? '    lseOwn[r] = lse[pair * u.lq + firstRow + r];\n    deltaOwn[r] = delta[pair * u.lq + firstRow + r];' : ''}
${pass === 'keys' ? '    attendedOwn[r] = keyAttended(maskAt, firstRow + r);' : ''}
${own
  .map(
    (name) => `    for (var b = 0u; b * ${lanes}u < u.chunks; b++) {
      ${name}Own[r * ${held}u + b] = ${name}At(${name}First + (firstRow + r) * u.${name}_row, min(lane + u.chunks * b / ${held}u, ${chunks - 1}u));
    }`,
  )
  .join('\n')}
  }
${own.map((name) => times(rows, (r) => times(held, (b) => `  let ${name}${r}_${b} = ${name}Own[${r * held + b}];`))).join('\n')}`
  const products = (
    result: string,
    mine: string,
    theirs: string,
  ): string => `${times(rows, (r) => `    var ${result}${r} = 0.0;`)}
${times(
  held,
  (b) => `    for (var c = 0u; c < ${blockEnd(b)} - ${blockStart(b)}u; c++) {
      let e = ${theirs}At(${theirs}Row, c + ${blockStart(b)}u);
${times(rows, (r) => `      ${result}${r} += dot(subgroupShuffle(${mine}${r}_${b}, c), e);`)}
    }`,
)}`
  const position = (r: string): string => (pass === 'keys' ? `at, firstRow + ${r}` : `firstRow + ${r}, at`)
  const scores = `${products('s', own[0], other[0])}
${p.bias ? `    for (var r = 0u; r < live; r++) { biases[r] = biasOf(biasAt, ${position('r')}); }` : ''}
${pass === 'keys' ? '' : '    let attended = keyAttended(maskAt, safe);'}
${times(rows, (r) => {
  const attended = pass === 'keys' ? `attendedOwn[${r}]` : 'attended'
  return `    s${r} = score(s${r}, ${p.bias ? `biases[${r}]` : '0.0'}, ${attended}, ${position(`${r}u`)});`
})}`
  const lseOf = (r: number): string => (pass === 'keys' ? 'otherLse' : `lse${r}`)
  const deltaOf = (r: number): string => (pass === 'keys' ? 'otherDelta' : `delta${r}`)
  const gradients = `${scores}
${products('g', own[1] ?? '', other[1] ?? '')}
${times(rows, (r) => `    let p${r} = exp(s${r} - ${lseOf(r)}); g${r} = p${r} * (g${r} - ${deltaOf(r)});`)}`
  const add = (pairs: [sum: string, weight: string, from: string][]): string => {
    const body = pairs.map(
      ([sum, weight, from]) => `      let ${from}Each = ${from}First + turn * u.${from}_row;
${times(spans, (m) => `      let ${from}${m} = ${from}Part(${from}Each, lane, ${m}u);`)}
${times(rows, (r) => {
  const w = `${weight}${r}Now`
  return `      let ${w} = subgroupShuffle(${weight}${r}, turn - j);
${times(spans, (m) => `      ${sum}${r}_${m} += ${w} * ${from}${m};`)}`
})}`,
    )
    return `    let stop = min(j + ${lanes}u, ${otherRows});\n    for (var turn = j; turn < stop; turn++) {\n${body.join('\n')}\n    }`
  }
  const inner = {
    forward: `${scores}
${times(
  rows,
  (r) => `    let high${r} = max(most${r}, subgroupMax(s${r}));
    let shrink${r} = exp(most${r} - high${r});
    most${r} = high${r};
    let p${r} = exp(s${r} - high${r});
    total${r} = total${r} * shrink${r} + p${r};
${times(spans, (m) => `    o${r}_${m} *= shrink${r};`)}`,
)}
${add([['o', 'p', 'v']])}`,
    queries: `${gradients}\n${add([['dq', 'g', 'k']])}`,
    keys: `    var otherLse = lse[pair * u.lq + safe];
    if (otherLse < lowest) { otherLse = deadRow; }
    let otherDelta = delta[pair * u.lq + safe];
${gradients}
${add([
  ['dk', 'g', 'q'],
  ['dv', 'p', 'dout'],
])}`,
  }[pass]
  const rowState = {
    forward: times(rows, (r) => `  var most${r} = lowest; var total${r} = 0.0;`),
    queries: times(
      rows,
      (r) => `  var lse${r} = lseOwn[${r}];
  if (lse${r} < lowest) { lse${r} = deadRow; }
  let delta${r} = deltaOwn[${r}];`,
    ),
    keys: '',
  }[pass]
  const hand = (name: string, r: number, factor: string): string =>
    times(spans, (m) => `${name}Out[${r * spans + m}] = ${name}${r}_${m}${factor};`, ' ')
  const finish = `${outputs.map((name) => `  var ${name}Out: array<${type}, ${rows * spans}>;`).join('\n')}
${
  {
    forward: `  var lseOut: array<f32, ${rows}>;
${times(
  rows,
  (r) => `  {
    let sum = subgroupAdd(total${r});
    let dead = sum == 0.0;
    let scale = select(1.0 / sum, 0.0, dead);
    lseOut[${r}] = select(most${r} + log(sum), bitcast<f32>(u.minusInfinity), dead);
    ${hand('o', r, ' * scale')}
  }`,
)}`,
    queries: times(rows, (r) => `  ${hand('dq', r, ' * u.scale')}`),
    keys: times(rows, (r) => `  ${hand('dk', r, ' * u.scale')} ${hand('dv', r, '')}`),
  }[pass]
}
  for (var r = 0u; r < live; r++) {
${pass === 'forward' ? '    if (lane == 0u) { lse[pair * u.lq + firstRow + r] = lseOut[r]; }' : ''}
    for (var m = 0u; m * ${lanes * width}u < u.d; m++) {
${outputs.map((name) => `      ${name}Keep(${name}First + (firstRow + r) * u.${name}_row, lane, m, ${name}Out[r * ${spans}u + m]);`).join('\n')}
    }
  }`
  const first = p.causal && pass === 'keys' ? `firstRow / ${lanes}u * ${lanes}u` : '0u'
  const end = p.causal && pass !== 'keys' ? `min(u.lk, firstRow + ${rows}u)` : otherRows
  const bases = [...new Set([...own, ...other, ...outputs])]
  const main = `${summed.map(part).join('\n')}
${outputs.map(store).join('\n')}
@compute @workgroup_size(${lanes})
fn main(@builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) wid: vec3u,
        @builtin(num_workgroups) groupCount: vec3u) {
  let group = wid.x + wid.y * groupCount.x;
  let tiles = (${ownRows} + ${rows - 1}u) / ${rows}u;
  if (group >= u.sequences * u.heads * tiles) { return; }
  let pair = group / tiles;
  let firstRow = (group % tiles) * ${rows}u;
  let live = min(${rows}u, ${ownRows} - firstRow);
  let sequence = pair / u.heads;
  let head = pair % u.heads;
${scoreBases(p)}
${bases.map((name) => `  let ${name}First = ${name}Base(sequence, head);`).join('\n')}
${loadOwn}
${rowState}
${p.bias ? `  var biases: array<f32, ${rows}>;` : ''}
${outputs.map((name) => times(rows, (r) => times(spans, (m) => `  var ${name}${r}_${m} = ${type}();`, ''))).join('\n')}
  let end = ${end};
  for (var j = ${first}; j < end; j += ${lanes}u) {
    let at = j + lane;
    let safe = min(at, ${otherRows} - 1u);
${other.map((name) => `    let ${name}Row = ${name}First + safe * u.${name}_row;`).join('\n')}
${inner}
  }
${finish}
}
`
  const groups = sequences(p) * p.heads * ceilDiv(ownLength(p, pass), rows)
  return passProgram(p, pass, `subgroup.${lanes}x${rows}`, parts, main, groups, caps)
}
