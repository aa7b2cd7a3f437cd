/**
 * Attention at DIP's shapes: spatial (197 tokens, with a bias as DiCA adds it), temporal (many sequences of 16 frames), DiCA (15
 * tokens), and with gradients. Peers get every operand as they like it, heads before tokens; this engine reads it through strides.
 */
import { grad, type Tensor } from '../../engine/index.ts'
import type { AttentionOperand, AttentionProblem } from '../../kernels/attention/problem.ts'
import { attentionBackwardReference, attentionReference } from '../../kernels/attention/reference.ts'
import { diptych, jax, onnx, tfjs } from '../contestants.ts'
import type { Contestant, Group, Inputs, Row, RowContext } from '../contract.ts'
import { against, random } from '../data.ts'
import type { Tensors } from '../libraries/diptych.ts'
import type { OnnxGraph } from '../peers/onnx.ts'

interface Shape {
  readonly batch: number
  readonly heads: number
  readonly length: number
  readonly d: number
  /** Additive, the same for all heads: one for everything, or one a sequence. */
  readonly bias?: 'shared' | 'each'
}

/** q, k, v [batch, heads, length, d], bias [1 or batch, 1, length, length], and dO for gradients. */
function inputsOf({ batch, heads, length, d, bias }: Shape, gradient = false): Inputs {
  const operand = (seed: number) => random([batch, heads, length, d], seed)
  return {
    q: operand(1),
    k: operand(2),
    v: operand(3),
    ...(bias && { bias: random([bias === 'each' ? batch : 1, 1, length, length], 4, 2) }),
    ...(gradient && { dout: operand(5) }),
  }
}

function problemOf({ batch, heads, length, d, bias }: Shape): AttentionProblem {
  const operand: AttentionOperand = {
    batchStrides: [heads * length * d],
    headStride: length * d,
    rowStride: d,
    offset: 0,
  }
  return {
    batch: [batch],
    heads,
    lq: length,
    lk: length,
    d,
    scale: 1 / Math.sqrt(d),
    causal: false,
    q: operand,
    k: operand,
    v: operand,
    ...(bias && {
      bias: { batchStrides: [bias === 'each' ? length * length : 0], headStride: 0, rowStride: length, offset: 0 },
    }),
  }
}

/** The kernels' [batch, length, heads, d] as [batch, heads, length, d]. */
function headsFirst(x: Float64Array, { batch, heads, length, d }: Shape): Float64Array {
  const y = new Float64Array(x.length)
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < length; i++) {
        const from = ((b * length + i) * heads + h) * d
        y.set(x.subarray(from, from + d), ((b * heads + h) * length + i) * d)
      }
  return y
}

const values = (inputs: Inputs) => ({
  q: inputs.q!.data,
  k: inputs.k!.data,
  v: inputs.v!.data,
  ...(inputs.bias && { bias: inputs.bias.data }),
})

const swapped = (x: Tensor): Tensor => x.permute([0, 2, 1, 3])

/** [batch, length, heads, d] */
const attended = ({ q, k, v, bias }: Tensors): Tensor =>
  swapped(q!).attention(swapped(k!), swapped(v!), bias ? { bias } : {})

const withTf = (tf: any, { q, k, v, bias }: Record<string, any>, d: number) => {
  const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(d))
  return tf.matMul(tf.softmax(bias ? tf.add(scores, bias) : scores), v)
}

const withJax = ({ numpy, nn }: any, { q, k, v, bias }: Record<string, any>, d: number) => {
  const scores = numpy.matmul(q, numpy.swapaxes(k, -1, -2)).mul(1 / Math.sqrt(d))
  return numpy.matmul(nn.softmax(bias ? scores.add(bias) : scores, -1), v)
}

/** Op by op; onnxruntime fuses what it can. */
function composed(graph: OnnxGraph, { bias, ...shape }: Shape): void {
  const keys = graph.node('Transpose', ['k'], { perm: [0, 1, 3, 2] })
  const scaled = graph.node('Mul', [graph.node('MatMul', ['q', keys]), graph.scalar(1 / Math.sqrt(shape.d))])
  const scores = bias ? graph.node('Add', [scaled, 'bias']) : scaled
  graph.node('MatMul', [graph.node('Softmax', [scores], { axis: -1 }), 'v'], {}, 'o')
  graph.output('o', [shape.batch, shape.heads, shape.length, shape.d])
}

/** com.microsoft.MultiHeadAttention: tokens before heads, heads flattened. */
function fused(graph: OnnxGraph, { batch, heads, length, d, bias }: Shape): void {
  const tokens = (name: string) =>
    graph.reshape(graph.node('Transpose', [name], { perm: [0, 2, 1, 3] }), [batch, length, heads * d])
  const inputs = [tokens('q'), tokens('k'), tokens('v'), '', '', bias ? 'bias' : '']
  const attributes = { num_heads: heads, scale: { float: 1 / Math.sqrt(d) } }
  const o = graph.node('MultiHeadAttention', bias ? inputs : inputs.slice(0, 3), attributes, undefined, 'com.microsoft')
  graph.node('Transpose', [graph.reshape(o, [batch, length, heads, d])], { perm: [0, 2, 1, 3] }, 'o')
  graph.output('o', [batch, heads, length, d])
}

function forward(name: string, shape: Shape): Row {
  const { batch, heads, length, d, bias } = shape
  const pairs = batch * heads * length * length
  return {
    name,
    inputs: () => inputsOf(shape),
    check: against(
      (inputs) => ({ o: headsFirst(attentionReference(problemOf(shape), values(inputs)).o, shape) }),
      1e-5,
    ),
    cost: {
      flops: pairs * (4 * d + 6),
      bytes: 4 * (4 * batch * heads * length * d + (bias ? (bias === 'each' ? batch : 1) * length * length : 0)),
    },
    unit: 'GFLOP/s',
    contestants: [
      diptych((x) => ({ o: attended(x) }), { view: ({ o }) => ({ o: swapped(o!) }) }),
      tfjs((tf, x) => ({ o: withTf(tf, x, d) })),
      jax((library, x) => ({ o: withJax(library, x, d) })),
      onnx((graph) => composed(graph, shape)),
      onnx((graph) => fused(graph, shape), 'fused'),
    ],
  }
}

/** Forward and backward: gradients of Σ o ∘ dO. */
function gradient(name: string, shape: Shape): Row {
  const { batch, heads, length, d } = shape
  const names = shape.bias ? ['q', 'k', 'v', 'bias'] : ['q', 'k', 'v']
  const contestants: Contestant[] = [
    diptych((x) => {
      const loss = swapped(attended(x)).mul(x.dout!).sum()
      const grads = grad(
        loss,
        names.map((n) => x[n]!),
      )
      return Object.fromEntries(names.map((n, i) => [`d${n}`, grads[i]!]))
    }),
    tfjs((tf, { dout, ...x }) => {
      const loss = (...args: any[]) =>
        tf.sum(tf.mul(withTf(tf, Object.fromEntries(names.map((n, i) => [n, args[i]])), d), dout))
      const grads = tf.grads(loss)(names.map((n) => x[n]))
      return Object.fromEntries(names.map((n, i) => [`d${n}`, grads[i]]))
    }),
    jax((library, { dout, ...x }) => {
      const loss = (...args: any[]) =>
        library.numpy.sum(withJax(library, Object.fromEntries(names.map((n, i) => [n, args[i]])), d).mul(dout))
      const grads = library.grad(loss, { argnums: names.map((_, i) => i) })(...names.map((n) => x[n]))
      return Object.fromEntries(names.map((n, i) => [`d${n}`, grads[i]]))
    }),
  ]
  return {
    name,
    inputs: () => inputsOf(shape, true),
    check: against((inputs) => {
      // The reference takes dO as the kernels have it: heads and tokens swapped is the same walk with the sizes swapped.
      const dout = headsFirst(Float64Array.from(inputs.dout!.data), { ...shape, heads: length, length: heads })
      const want = attentionBackwardReference(problemOf(shape), values(inputs), dout)
      const grads = { dq: headsFirst(want.dq, shape), dk: headsFirst(want.dk, shape), dv: headsFirst(want.dv, shape) }
      return shape.bias ? { ...grads, dbias: want.dbias } : grads
    }, 2e-5),
    cost: {
      flops: batch * heads * length * length * (14 * d + 12),
      bytes: 4 * (7 * batch * heads * length * d + (shape.bias ? 2 * length * length : 0)),
    },
    unit: 'GFLOP/s',
    contestants,
  }
}

/**
 * Temporal sequences of the base model, 196 a clip: all 9408 of a batch of 16 triplets, or as many as one binding holds; on a CPU
 * those of 4 clips, 784, which are 9408 when every head counts as one.
 */
function temporalSequences({ software, maxBinding }: RowContext): number {
  const bytes = 12 * 16 * 64 * 4
  return Math.min(software ? 784 : 9408, Math.floor(maxBinding / bytes))
}

export const group: Group = {
  name: 'attention',
  about: 'softmax(q·kᵀ/√d + bias)·v; the bias is shared by the heads',
  rows: (context) => {
    if (context.quick) return [forward('2×9×8, bias', { batch: 1, heads: 2, length: 9, d: 8, bias: 'shared' })]
    const spatial: Shape = { batch: 1, heads: 12, length: 197, d: 64, bias: 'shared' }
    const sequences = temporalSequences(context)
    const clips = context.software ? 8 : 32
    return [
      forward('12 heads × 197 × 64, bias', spatial),
      forward(`${sequences} temporal sequences of 16, 12 heads × 64 (${12 * sequences} of one head)`, {
        batch: sequences,
        heads: 12,
        length: 16,
        d: 64,
      }),
      forward(`DiCA: ${clips} × 12 heads × 15 × 64, bias`, {
        batch: clips,
        heads: 12,
        length: 15,
        d: 64,
        bias: 'each',
      }),
      gradient('12 heads × 197 × 64, bias, with gradients', spatial),
    ]
  },
}
