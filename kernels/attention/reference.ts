/** Float64 references of attention and its gradients: plain loops over queries and keys. */
import type { AttentionOperand, AttentionProblem } from './problem.ts'
import { biasGroups, sequences } from './problem.ts'

type Values = ArrayLike<number>

export interface AttentionInputs {
  readonly q: Values
  readonly k: Values
  readonly v: Values
  readonly bias?: Values
  readonly keyMask?: Values
}

/** Batch coordinates of a sequence. */
function coordinates(p: AttentionProblem, sequence: number): number[] {
  const at: number[] = []
  for (const size of [...p.batch].reverse()) {
    at.unshift(sequence % size)
    sequence = Math.floor(sequence / size)
  }
  return at
}

const place = (p: AttentionProblem, o: AttentionOperand, sequence: number, head: number, row: number): number =>
  coordinates(p, sequence).reduce((sum, at, i) => sum + at * o.batchStrides[i]!, 0) +
  o.offset +
  head * o.headStride +
  row * o.rowStride

/** Scores of one query, −∞ where a key is masked. */
function scores(p: AttentionProblem, x: AttentionInputs, sequence: number, head: number, query: number): number[] {
  const qAt = place(p, p.q, sequence, head, query)
  return Array.from({ length: p.lk }, (_, key) => {
    if (p.causal && key > query) return -Infinity
    if (p.keyMask && !(x.keyMask![place(p, p.keyMask, sequence, 0, key)]! > 0)) return -Infinity
    const kAt = place(p, p.k, sequence, head, key)
    let s = 0
    for (let c = 0; c < p.d; c++) s += x.q[qAt + c]! * x.k[kAt + c]!
    return s * p.scale + (p.bias ? x.bias![place(p, p.bias, sequence, head, query) + key]! : 0)
  })
}

function* queries(p: AttentionProblem): Generator<[sequence: number, head: number, query: number]> {
  for (let sequence = 0; sequence < sequences(p); sequence++)
    for (let head = 0; head < p.heads; head++) for (let query = 0; query < p.lq; query++) yield [sequence, head, query]
}

/** o [batch.., lq, heads, d] and lse [batch.., heads, lq]. */
export function attentionReference(p: AttentionProblem, x: AttentionInputs): { o: Float64Array; lse: Float64Array } {
  const o = new Float64Array(sequences(p) * p.lq * p.heads * p.d)
  const lse = new Float64Array(sequences(p) * p.heads * p.lq)
  for (const [sequence, head, query] of queries(p)) {
    const s = scores(p, x, sequence, head, query)
    const high = Math.max(...s)
    const total = high === -Infinity ? 0 : s.reduce((sum, value) => sum + Math.exp(value - high), 0)
    lse[(sequence * p.heads + head) * p.lq + query] = total === 0 ? -Infinity : high + Math.log(total)
    if (total === 0) continue
    const oAt = ((sequence * p.lq + query) * p.heads + head) * p.d
    for (let key = 0; key < p.lk; key++) {
      const weight = Math.exp(s[key]! - high) / total
      const vAt = place(p, p.v, sequence, head, key)
      for (let c = 0; c < p.d; c++) o[oAt + c]! += weight * x.v[vAt + c]!
    }
  }
  return { o, lse }
}

/**
 * dq [batch.., lq, heads, d], dk and dv [batch.., lk, heads, d], dbias [batch or 1.., heads or 1, lq, lk] (zeros when
 * there is no bias) and delta [batch.., heads, lq], for do [batch.., lq, heads, d].
 */
export function attentionBackwardReference(
  p: AttentionProblem,
  x: AttentionInputs,
  dout: Values,
): Record<'dq' | 'dk' | 'dv' | 'dbias' | 'delta', Float64Array> {
  const { o, lse } = attentionReference(p, x)
  const groups = biasGroups(p)
  const dq = new Float64Array(o.length)
  const dk = new Float64Array(sequences(p) * p.lk * p.heads * p.d)
  const dv = new Float64Array(dk.length)
  const dbias = new Float64Array(groups.groups * p.lq * p.lk)
  const delta = new Float64Array(lse.length)
  for (const [sequence, head, query] of queries(p)) {
    const statistic = (sequence * p.heads + head) * p.lq + query
    if (lse[statistic] === -Infinity) continue
    const oAt = ((sequence * p.lq + query) * p.heads + head) * p.d
    for (let c = 0; c < p.d; c++) delta[statistic]! += o[oAt + c]! * dout[oAt + c]!
    const biasBatch = coordinates(p, sequence).reduce(
      (at, i, axis) => at * groups.batch[axis]! + (groups.batch[axis] === 1 ? 0 : i),
      0,
    )
    const biasRow = ((biasBatch * groups.heads + (groups.heads === 1 ? 0 : head)) * p.lq + query) * p.lk
    const qAt = place(p, p.q, sequence, head, query)
    scores(p, x, sequence, head, query).forEach((s, key) => {
      const weight = Math.exp(s - lse[statistic]!)
      const kAt = place(p, p.k, sequence, head, key)
      const vAt = place(p, p.v, sequence, head, key)
      const keyAt = ((sequence * p.lk + key) * p.heads + head) * p.d
      let dp = 0
      for (let c = 0; c < p.d; c++) dp += dout[oAt + c]! * x.v[vAt + c]!
      const ds = weight * (dp - delta[statistic]!)
      dbias[biasRow + key]! += ds
      for (let c = 0; c < p.d; c++) {
        dq[oAt + c]! += p.scale * ds * x.k[kAt + c]!
        dk[keyAt + c]! += p.scale * ds * x.q[qAt + c]!
        dv[keyAt + c]! += weight * dout[oAt + c]!
      }
    })
  }
  return { dq, dk, dv, dbias, delta }
}
