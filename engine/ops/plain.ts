/**
 * What the fused kernels and their gradients compute, written in plain ops. A gradient of a gradient goes through these forms, to
 * any order; at first order only what no kernel takes does: attention of very wide heads.
 */
import { widestHead } from '../../kernels/attention/problem.ts'
import type { Node } from '../graph.ts'
import * as b from './build.ts'
import { cast, div, exp, mul, scale, sub, sum, unary, where } from './build.ts'
import type { AttentionAttrs } from './names.ts'

const meanOver = (x: Node) => b.mean(x, -1, true)

/** dx and dγ of layerNorm from x [..., n], dy and γ (1 where it is not given). */
export function layerNormGradients(x: Node, dy: Node, epsilon: number, gamma?: Node): { dx: Node; dgamma: Node } {
  const [wide, g] = [cast(x, 'f32'), cast(dy, 'f32')]
  const centred = sub(wide, meanOver(wide))
  const rstd = unary('rsqrt', b.shift(meanOver(b.square(centred)), epsilon))
  const unit = mul(centred, rstd)
  const weighted = gamma ? mul(g, gamma) : g
  const inner = sub(sub(weighted, meanOver(weighted)), mul(unit, meanOver(mul(weighted, unit))))
  const rows = x.shape.slice(0, -1).map((_, i) => i)
  return { dx: cast(mul(inner, rstd), x.dtype), dgamma: sum(mul(g, unit), rows) }
}

/** [batch…, L, H, d] ↔ [batch…, H, L, d] */
function swapHeads(x: Node): Node {
  const rank = x.shape.length
  const axes = x.shape.map((_, i) => i)
  ;[axes[rank - 3], axes[rank - 2]] = [rank - 2, rank - 3]
  return b.permute(x, axes)
}

/** softmax over the allowed keys; rows without any are 0. */
function maskedSoftmax(scores: Node, allowed: Node | undefined): Node {
  if (!allowed) return b.softmax(scores)
  const lowest = where(allowed, scores, b.like(scores, -3e38))
  const top = b.detach(b.reduce('max', lowest, -1, true))
  // The difference is taken of allowed scores only: the others could overflow.
  const e = where(allowed, exp(sub(where(allowed, scores, top), top)), b.like(scores, 0))
  const total = sum(e, -1, true)
  return div(e, where(b.binary('equal', total, b.like(total, 0)), b.like(total, 1), total))
}

/** Which of the scores [batch…, H, Lq, Lk] take part; undefined: all. */
function allowedKeys(scores: Node, attrs: AttentionAttrs, keyMask: Node | undefined): Node | undefined {
  const [lq, lk] = scores.shape.slice(-2) as [number, number]
  let allowed: Node | undefined
  if (attrs.causal) allowed = b.binary('lessEqual', b.reshape(b.iota(lk), [1, lk]), b.reshape(b.iota(lq), [lq, 1]))
  if (keyMask) {
    const keys = b.reshape(keyMask, [...keyMask.shape.slice(0, -1), 1, 1, lk])
    const taken = b.binary('greater', keys, b.like(keys, 0))
    allowed = allowed ? b.binary('logicalAnd', allowed, taken) : taken
  }
  return allowed && b.expand(allowed, scores.shape)
}

/** softmax(q kᵀ·scale + bias) over the allowed keys, [batch…, H, Lq, Lk], of q, k [batch…, H, L, d]. */
function attentionProbabilities(q: Node, k: Node, inputs: readonly Node[], attrs: AttentionAttrs): Node {
  const keyMask = attrs.hasMask ? inputs[attrs.hasBias ? 4 : 3]! : undefined
  const plain = scale(b.matmul(q, b.transpose(k)), attrs.scale)
  const scores = attrs.hasBias ? b.add(plain, inputs[3]!) : plain
  return maskedSoftmax(scores, allowedKeys(scores, attrs, keyMask))
}

/**
 * softmax(q kᵀ·scale + bias) v over [batch…, length, heads, d]; a query whose keys are all masked gives zeros. Heads wider than the
 * kernels take are computed with the whole matrix of scores in memory.
 */
export function attention(q: Node, k: Node, v: Node, options: b.AttentionOptions = {}): Node {
  const fused = b.attention(q, k, v, options) as Node<'attention'>
  if (fused.shape.at(-1)! <= widestHead) return fused
  const [wideQ, wideK, wideV] = fused.inputs.slice(0, 3).map((x) => swapHeads(cast(x, 'f32'))) as [Node, Node, Node]
  const p = attentionProbabilities(wideQ, wideK, fused.inputs, fused.attrs)
  return cast(swapHeads(b.matmul(p, wideV)), fused.dtype)
}

/** Gradients of attention from q, k, v [batch…, L, H, d], [bias], [key mask] and dO, for one output of which each is asked. */
export function attentionGradients(inputs: readonly Node[], attrs: AttentionAttrs) {
  const [q, k, v, dO] = [inputs[0]!, inputs[1]!, inputs[2]!, inputs.at(-1)!].map((x) => swapHeads(cast(x, 'f32'))) as [
    Node,
    Node,
    Node,
    Node,
  ]
  const bias = attrs.hasBias ? inputs[3]! : undefined
  const p = attentionProbabilities(q, k, inputs, attrs)
  const dp = b.matmul(dO, b.transpose(v))
  const ds = mul(p, sub(dp, sum(mul(p, dp), -1, true)))
  const back = (x: Node, like: Node) => cast(swapHeads(x), like.dtype)
  return {
    dq: back(scale(b.matmul(ds, k), attrs.scale), inputs[0]!),
    dk: back(scale(b.matmul(b.transpose(ds), q), attrs.scale), inputs[1]!),
    dv: back(b.matmul(b.transpose(p), dO), inputs[2]!),
    dbias: bias && b.unbroadcast(ds, bias.shape),
  }
}
