/** Attention's ops as the problems that its kernels take. */
import type { AttentionOperand, AttentionProblem } from '../../kernels/attention/attention.ts'
import type { Node } from '../graph.ts'
import type { AttentionAttrs } from '../ops/names.ts'
import { numel } from '../shape.ts'
import { batchStrides, mergeBatch, strideOf } from './batch.ts'
import { type Arg, floatOf, floatType, ins, type Written } from './calls.ts'
import type { Operand } from './views.ts'

export type AttentionOp = 'attention' | 'attentionGradQuery' | 'attentionGradKeyValue' | 'attentionGradBias'

/** The attention problem of q, k, v [batch…, L, heads, d] and what may follow them; `outputs` are places of dq, dk and dv. */
export function attentionProblem(
  node: Node<AttentionOp>,
  operands: readonly Operand[],
  outputs: {
    readonly dq?: Written | undefined
    readonly dk?: Written | undefined
    readonly dv?: Written | undefined
  } = {},
): AttentionProblem {
  const { attrs } = node
  const [q, k, v] = operands as [Operand, Operand, Operand]
  const rank = q.shape.length
  const n = rank - 3
  const bias = attrs.hasBias ? operands[3]! : undefined
  const mask = attrs.hasMask ? operands[attrs.hasBias ? 4 : 3]! : undefined
  const shapes = { dq: q.shape, dk: k.shape, dv: k.shape }
  const written = (['dq', 'dk', 'dv'] as const).flatMap((name) => {
    const place = outputs[name]
    return place ? [{ name, operand: { ref: q.ref, shape: shapes[name], ...place } as Operand }] : []
  })
  const all = [q, k, v, ...(bias ? [bias] : []), ...(mask ? [mask] : [])]
  const merged = mergeBatch(
    q.shape.slice(0, n),
    [...all, ...written.map((w) => w.operand)].map((o) => batchStrides(o, n)),
  )
  const tokens = (o: Operand, i: number): AttentionOperand => ({
    batchStrides: merged.strides[i]!,
    headStride: strideOf(o, rank - 2, 0),
    rowStride: strideOf(o, rank - 3, 0),
    offset: o.offset,
    type: floatOf(o),
  })
  const dout = operands[3 + extras(attrs).length]
  return {
    batch: merged.batch,
    heads: q.shape[rank - 2]!,
    lq: q.shape[rank - 3]!,
    lk: k.shape[rank - 3]!,
    d: q.shape[rank - 1]!,
    scale: attrs.scale,
    causal: attrs.causal,
    output: floatType(node.dtype),
    ...(dout ? { gradient: floatOf(dout) } : {}),
    q: tokens(q, 0),
    k: tokens(k, 1),
    v: tokens(v, 2),
    ...Object.fromEntries(written.map(({ name, operand }, i) => [`${name}Out`, tokens(operand, all.length + i)])),
    ...(together(outputs) ? { dkdvTogether: true } : {}),
    ...(bias
      ? {
          bias: {
            batchStrides: merged.strides[3]!,
            headStride: strideOf(bias, n, 0),
            rowStride: strideOf(bias, n + 1, 0),
            offset: bias.offset,
          },
        }
      : {}),
    ...(mask
      ? {
          keyMask: {
            batchStrides: merged.strides[bias ? 4 : 3]!,
            headStride: 0,
            rowStride: strideOf(mask, n, 0),
            offset: mask.offset,
          },
        }
      : {}),
  }
}

/** dk and dv go into one buffer. */
export const together = ({ dk, dv }: { dk?: Written | undefined; dv?: Written | undefined }): boolean =>
  !!dk && !!dv && dk.container === dv.container

export const extras = (attrs: AttentionAttrs): number[] =>
  attrs.hasBias && attrs.hasMask ? [3, 4] : attrs.hasBias || attrs.hasMask ? [3] : []

/** Inputs q, k, v, [bias], [mask], dO, lse, delta in the order that the backward kernels bind them. */
export const backwardArgs = (attrs: AttentionAttrs): Arg[] => {
  const n = 3 + extras(attrs).length
  return ins(0, 1, 2, ...extras(attrs), n, n + 1, n + 2)
}

/** Attention of an op that has no q, k, v at hand: only the row count matters. */
export const deltaProblem = (o: Operand, dout: Operand): AttentionProblem => {
  const rank = o.shape.length
  const plain: AttentionOperand = { batchStrides: [0], headStride: 0, rowStride: 0, offset: 0 }
  return {
    batch: [numel(o.shape.slice(0, rank - 3))],
    heads: o.shape[rank - 2]!,
    lq: o.shape[rank - 3]!,
    lk: 1,
    d: o.shape[rank - 1]!,
    scale: 1,
    causal: false,
    output: floatOf(o),
    gradient: floatOf(dout),
    q: plain,
    k: plain,
    v: plain,
  }
}
