/**
 * Attention backward: recomputes the scores from q, k and the saved log-sum-exp, so that no lq×lk matrix is in memory.
 *
 *   delta = rowsum(dO ∘ O),  p = exp(s − lse),  ds = p·(dO·v − delta),
 *   dq = scale·Σ_keys ds·k,  dk = scale·Σ_queries ds·q,  dv = Σ_queries p·dO,  dbias = Σ over the axes it was broadcast over of ds.
 *
 * Four launches, no atomics, a fixed order of every sum. dbias has one invocation an entry of the stored bias, which runs over the
 * heads and sequences that share it: in DiCA 15×15 entries a sample and 12 heads, far below the cost of dq.
 */
import {
  type Binding,
  type Capabilities,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
  type Variant,
} from '../kernel.ts'
import { enableHalf, floatArray, floatBytes, floatFunctions } from '../storage.ts'
import { passVariants } from './attention.ts'
import { type AttentionProblem, biasGroups, checkProblem, sequences, shell, vectorizable } from './problem.ts'

export interface AttentionBackward {
  /** o, dout, delta (rw) */
  readonly delta: Variant[]
  /** q, k, v, [bias], [keyMask], dout, lse, delta, dq (rw) */
  readonly dq: Variant[]
  /** q, k, v, [bias], [keyMask], dout, lse, delta, dk (rw), dv (rw), or, with `dkdvTogether`, dkdv (rw) */
  readonly dkv: Variant[]
  /** q, k, v, bias, [keyMask], dout, lse, delta, dbias (rw); empty without a bias */
  readonly dbias: Variant[]
}

export function attentionBackwardPrograms(p: AttentionProblem, caps: Capabilities): AttentionBackward {
  checkProblem(p)
  return {
    delta: [{ name: 'delta', program: () => deltaProgram(p, caps) }],
    get dq() {
      return passVariants(p, 'queries', caps)
    },
    get dkv() {
      return passVariants(p, 'keys', caps)
    },
    dbias: p.bias ? [{ name: 'bias', program: () => biasProgram(p, caps) }] : [],
  }
}

/** delta [batch.., heads, lq] of o and dout [batch.., lq, heads, d]. */
function deltaProgram(p: AttentionProblem, caps: Capabilities): Program {
  const rows = sequences(p) * p.heads * p.lq
  const vector = p.d % 4 === 0
  const width = vector ? p.d / 4 : p.d
  const o = floatArray('o', caps, { type: p.output, vector })
  const dout = floatArray('dout', caps, { type: p.gradient, vector })
  const bindings: Binding[] = [o.binding, dout.binding, { name: 'delta', type: 'f32', access: 'read_write' }]
  const [x, y] = [o.load('at + c'), dout.load('at + c')]
  const product = vector ? `dot(${x}, ${y})` : `${x} * ${y}`
  const members = { rows: 'u32', lq: 'u32', heads: 'u32', width: 'u32' } as const
  const wgsl = `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(members, bindings.length)}
${floatFunctions([o, dout])}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let t = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (t >= u.rows) { return; }
  let query = t % u.lq;
  let head = t / u.lq % u.heads;
  let sequence = t / (u.lq * u.heads);
  let at = ((sequence * u.lq + query) * u.heads + head) * u.width;
  var sum = 0.0;
  for (var c = 0u; c < u.width; c++) { sum += ${product}; }
  delta[t] = sum;
}
`
  return {
    label: 'attention.delta',
    wgsl,
    bindings,
    uniforms: packUniforms(members, { rows, lq: p.lq, heads: p.heads, width }),
    grid: foldGrid(ceilDiv(rows, 64), caps.maxGrid),
    cost: {
      flops: 2 * rows * p.d,
      bytes: rows * (4 + p.d * (floatBytes(p.output ?? 'f32') + floatBytes(p.gradient ?? 'f32'))),
    },
  }
}

/** dbias as stored: [batch or 1.., heads or 1, lq, lk]. */
function biasProgram(p: AttentionProblem, caps: Capabilities): Program {
  const parts = shell(p, vectorizable(p), ['lse', 'delta'], [], ['dbias'], { dout: true }, caps)
  const shared = biasGroups(p)
  const count = shared.groups * p.lq * p.lk
  // Coordinates of a sequence: from the bias entry where the bias has that axis, from the loop where it is broadcast.
  let own = 1
  let loops = 1
  const terms: string[] = []
  let stride = 1
  for (let i = p.batch.length - 1; i >= 0; i--) {
    const size = p.batch[i]!
    if (size > 1) {
      const broadcast = shared.batch[i] === 1
      terms.push(`${broadcast ? 'rep' : 'group'} / ${broadcast ? loops : own}u % ${size}u * ${stride}u`)
      if (broadcast) loops *= size
      else own *= size
    }
    stride *= size
  }
  const headLoop = shared.heads === 1 ? p.heads : 1
  const main = `@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let t = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (t >= ${count}u) { return; }
  let key = t % u.lk;
  let query = t / u.lk % u.lq;
  let group = t / (u.lk * u.lq) / ${shared.heads}u;
  var total = 0.0;
  for (var rep = 0u; rep < ${loops}u; rep++) {
    let sequence = ${terms.join(' + ') || '0u'};
    for (var h = 0u; h < ${headLoop}u; h++) {
      let head = ${shared.heads === 1 ? 'h' : `t / (u.lk * u.lq) % ${shared.heads}u`};
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
  const heads = sequences(p) * p.heads
  return {
    label: 'attention.bias',
    wgsl: `${parts.wgsl}${main}`,
    bindings: parts.bindings,
    uniforms: parts.uniforms,
    grid: foldGrid(ceilDiv(count, 64), caps.maxGrid),
    cost: { flops: heads * p.lq * p.lk * (4 * p.d + 4), bytes: 4 * (heads * p.d * 2 * (p.lq + p.lk) + 2 * count) },
  }
}
