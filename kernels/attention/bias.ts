/**
 * The bias' gradient, as stored [batch or 1.., heads or 1, lq, lk]: an entry sums over the sequences and heads that share it, one after
 * the other, so that the same inputs give the same bits. It computes the scores once more, which costs two thirds of dq.
 *
 *   tile       GPUs: a workgroup has the entries of one tile of `tile.ts`, summed in its invocations' registers
 *   subgroup   CPU adapters: a workgroup has the entries of one block of `subgroup.ts`, summed in its lanes
 *   entry      any device: an invocation an entry
 *
 * RTX 3090 class (kernel.ts), heads of 64: 260 flops a pair, bound by arithmetic where sequences are long. An entry's thread reads 512 B
 * of k and v for them from L1 and L2, half a flop a byte; a tile of 16 × 16 stages 64 rows for 256 pairs, 64 B a pair, 32 × 32 half of that.
 * A bias that all share has few entries, 38,809 for 197 tokens, and its tiles run over all sequences one after the other: the largest tile
 * that makes 96 workgroups leads (16 × 16 makes 169 there), though a subgroup then is alone with its scheduler. 32 values a
 * thread and 17 kB a workgroup limit nothing.
 */
import { type Capabilities, ceilDiv, foldGrid, type Program } from '../kernel.ts'
import { type AttentionProblem, biasGroups, scoreBases, sequences, shell, times, vectorizable } from './problem.ts'
import { blockText, type SubgroupShape } from './subgroup.ts'
import { pitch, type TileShape, tileText } from './tile.ts'

/** WGSL that opens (and with as many braces closes) the loops over what shares entry group `owner`, naming `sequence` and `head`. */
function sharers(p: AttentionProblem): string {
  const shared = biasGroups(p)
  // Coordinates of a sequence: from the bias entry where the bias has that axis, from the loop where it is broadcast.
  let own = 1
  let loops = 1
  const terms: string[] = []
  let stride = 1
  for (let i = p.batch.length - 1; i >= 0; i--) {
    const size = p.batch[i]!
    if (size > 1) {
      const broadcast = shared.batch[i] === 1
      terms.push(
        `${broadcast ? 'rep' : `owner / ${shared.heads}u`} / ${broadcast ? loops : own}u % ${size}u * ${stride}u`,
      )
      if (broadcast) loops *= size
      else own *= size
    }
    stride *= size
  }
  return `  for (var rep = 0u; rep < ${loops}u; rep++) {
    let sequence = ${terms.join(' + ') || '0u'};
    for (var h = 0u; h < ${shared.heads === 1 ? p.heads : 1}u; h++) {
      let head = ${shared.heads === 1 ? 'h' : `owner % ${shared.heads}u`};`
}

function biasProgram(
  p: AttentionProblem,
  name: string,
  subgroups: boolean,
  main: string,
  groups: number,
  caps: Capabilities,
  { accumulators, workgroupBytes = 0 }: { accumulators: number; workgroupBytes?: number },
): Program {
  const parts = shell(p, vectorizable(p), ['lse', 'delta'], [], ['dbias'], { dout: true, subgroups }, caps)
  const heads = sequences(p) * p.heads
  const entries = biasGroups(p).groups * p.lq * p.lk
  return {
    label: `attention.bias.${name}`,
    wgsl: `${parts.wgsl}${main}`,
    bindings: parts.bindings,
    uniforms: parts.uniforms,
    grid: foldGrid(groups, caps.maxGrid),
    cost: { flops: heads * p.lq * p.lk * (4 * p.d + 4), bytes: 4 * (heads * p.d * 2 * (p.lq + p.lk) + 2 * entries) },
    workgroupBytes,
    accumulators,
  }
}

export function biasEntryProgram(p: AttentionProblem, caps: Capabilities): Program {
  const count = biasGroups(p).groups * p.lq * p.lk
  const main = `@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let t = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (t >= ${biasGroups(p).groups}u * u.lq * u.lk) { return; }
  let key = t % u.lk;
  let query = t / u.lk % u.lq;
  let owner = t / (u.lk * u.lq);
  var total = 0.0;
${sharers(p)}
      let statistic = (sequence * u.heads + head) * u.lq + query;
      if (lse[statistic] < lowest) { continue; }
      let qAtRow = qBase(sequence, head) + query * u.q_row;
      let kAtRow = kBase(sequence, head) + key * u.k_row;
      let vAtRow = vBase(sequence, head) + key * u.v_row;
      let gAtRow = doutBase(sequence, head) + query * u.dout_row;
      var raw = 0.0;
      var dp = 0.0;
      for (var c = 0u; c < u.chunks; c++) {
        raw += dot(qAt(qAtRow, c), kAt(kAtRow, c));
        dp += dot(doutAt(gAtRow, c), vAt(vAtRow, c));
      }
      let attended = keyAttended(${p.keyMask ? 'keyMaskBase(sequence, 0u)' : '0u'}, key);
      let s = score(raw, biasOf(biasBase(sequence, head), query, key), attended, query, key);
      total += exp(s - lse[statistic]) * (dp - delta[statistic]);
    }
  }
  dbias[t] = total;
}
`
  return biasProgram(p, 'entry', false, main, ceilDiv(count, 64), caps, { accumulators: 3 })
}

export function biasSubgroupProgram(p: AttentionProblem, shape: SubgroupShape, caps: Capabilities): Program {
  const { lanes, each, block } = shape
  const rows = lanes * each
  const { groups } = biasGroups(p)
  const text = blockText(p, 'queries', shape)
  const main = `@compute @workgroup_size(${lanes})
fn main(@builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) wid: vec3u,
        @builtin(num_workgroups) groupCount: vec3u) {
  let group = wid.x + wid.y * groupCount.x;
  let count = ${block}u * groupCount.z;
  let tiles = (u.lq + ${rows - 1}u) / ${rows}u;
  let blocks = (u.lk + ${block - 1}u) / ${block}u;
  if (group >= ${groups}u * tiles * blocks) { return; }
  let start = group % blocks * ${block}u;
  let firstRow = group / blocks % tiles * ${rows}u;
  let owner = group / (blocks * tiles);
${text.locals.map((local) => `  var ${local};`).join('\n')}
  var sums: array<f32, ${block * each}>;
${sharers(p)}
      let pair = sequence * u.heads + head;
${scoreBases(p)}
${['q', 'k', 'v', 'dout'].map((name) => `      let ${name}First = ${name}Base(sequence, head);`).join('\n')}
${text.own}
${text.other}
${text.fill}
${text.pairs(() => '        sums[at] += slopes[at];')}
    }
  }
  for (var j = 0u; j < min(count, u.lk - start); j++) {
${times(each, (i) => `    if (firstRow + ${i * lanes}u + lane < u.lq) { dbias[(owner * u.lq + firstRow + ${i * lanes}u + lane) * u.lk + start + j] = sums[j * ${each}u + ${i}u]; }`)}
  }
}
`
  const count = groups * ceilDiv(p.lq, rows) * ceilDiv(p.lk, block)
  // Scores, slopes and the block's sums, and the own rows' statistics.
  const accumulators = each * (3 * block + 2)
  return biasProgram(p, `subgroup.${rows}x${block}`, true, main, count, caps, { accumulators })
}

/** Bytes of workgroup memory of a tile: rows of q, dO, k and v. */
export const biasTileBytes = (p: AttentionProblem, { groups, columns }: TileShape): number =>
  2 * 16 * pitch(p) * (4 * groups + 8 * columns)

/** Workgroups that a tile makes of a problem. */
export const biasTiles = (p: AttentionProblem, { groups, columns }: TileShape): number =>
  biasGroups(p).groups * ceilDiv(p.lq, 4 * groups) * ceilDiv(p.lk, 8 * columns)

export function biasTileProgram(p: AttentionProblem, shape: TileShape, caps: Capabilities): Program {
  const text = tileText(p, 'queries', shape)
  const { rows, width, threads, row4, cell } = text
  const main = `${text.memory}
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) slot: u32, @builtin(workgroup_id) wid: vec3u,
        @builtin(num_workgroups) groupCount: vec3u) {
  let group = wid.x + wid.y * groupCount.x;
  let tiles = (u.lq + ${rows - 1}u) / ${rows}u;
  let across = (u.lk + ${width - 1}u) / ${width}u;
  if (group >= ${biasGroups(p).groups}u * tiles * across) { return; }
  let start = group % across * ${width}u;
  let firstRow = group / across % tiles * ${rows}u;
  let owner = group / (across * tiles);
  let tx = slot % 8u;
  let ty = slot / 8u;
${cell((i, j) => `  var sum${i}${j} = 0.0;`)}
${sharers(p)}
      let pair = sequence * u.heads + head;
${scoreBases(p)}
${['q', 'k', 'v', 'dout'].map((name) => `      let ${name}First = ${name}Base(sequence, head);`).join('\n')}
      workgroupBarrier();
  ${text.stageOwn}
  ${text.stageOther}
      workgroupBarrier();
${text.statistics}
${text.gradients}
${cell((i, j) => `    sum${i}${j} += g${i}${j};`)}
    }
  }
${row4(
  (i) => `  if (firstRow + ty * 4u + ${i}u < u.lq) {
    let at = (owner * u.lq + firstRow + ty * 4u + ${i}u) * u.lk + start + tx;
${times(shape.columns, (j) => `    if (start + tx + ${8 * j}u < u.lk) { dbias[at + ${8 * j}u] = sum${i}${j}; }`)}
  }`,
)}
}
`
  // A sum, a score and a slope a cell, and the statistics of four rows.
  return biasProgram(p, `tile.${rows}x${width}`, false, main, biasTiles(p, shape), caps, {
    accumulators: 12 * shape.columns + 8,
    workgroupBytes: biasTileBytes(p, shape),
  })
}
