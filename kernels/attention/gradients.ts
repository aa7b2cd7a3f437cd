/**
 * Attention backward: recomputes the scores from q, k and the saved log-sum-exp, so that no lq×lk matrix is in memory.
 *
 *   delta = rowsum(dO ∘ O),  p = exp(s − lse),  ds = p·(dO·v − delta),
 *   dq = scale·Σ_keys ds·k,  dk = scale·Σ_queries ds·q,  dv = Σ_queries p·dO,  dbias = Σ over the axes it was broadcast over of ds.
 *
 * Four launches, no atomics, a fixed order of every sum.
 *
 * delta does a quarter of a flop a byte: memory is its bound everywhere. A thread has a row; the 32 rows of a subgroup lie d apart, and
 * what a load fetches beside its own 16 B is what the next one reads, from L1 (16 kB a subgroup at d = 64).
 */
import {
  type Binding,
  busyWorkgroups,
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
import { biasEntryProgram, biasSubgroupProgram, biasTileBytes, biasTileProgram, biasTiles } from './bias.ts'
import { type AttentionProblem, checkProblem, sequences } from './problem.ts'
import { subgroupShapes } from './subgroup.ts'
import { tileShapes } from './tile.ts'

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
    dbias: p.bias ? biasVariants(p, caps) : [],
  }
}

/** On GPUs the largest tile that keeps every multiprocessor at work leads: entries are few where many sequences share the bias. */
function biasVariants(p: AttentionProblem, caps: Capabilities): Variant[] {
  const entry: Variant = { name: 'entry', program: () => biasEntryProgram(p, caps) }
  if (caps.software) {
    const [shape] = subgroupShapes(p, 'queries', caps)
    const name = shape && `subgroup.${shape.lanes * shape.each}x${shape.block}`
    return shape ? [{ name: name!, program: () => biasSubgroupProgram(p, shape, caps) }, entry] : [entry]
  }
  const shapes = tileShapes.filter((shape) => biasTileBytes(p, shape) <= caps.maxWorkgroupBytes)
  const busy = shapes.filter((shape) => biasTiles(p, shape) >= busyWorkgroups)
  const tiles = [...busy, ...shapes.filter((shape) => !busy.includes(shape)).reverse()].slice(0, 2)
  return [
    ...tiles.map((shape) => ({
      name: `tile.${4 * shape.groups}x${8 * shape.columns}`,
      program: () => biasTileProgram(p, shape, caps),
    })),
    entry,
  ]
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
    workgroupBytes: 0,
    accumulators: 1,
  }
}
