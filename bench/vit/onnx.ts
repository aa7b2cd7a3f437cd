/** The block as an ONNX model, weights inside; onnxruntime has no gradients. */
import type { Inputs } from '../contract.ts'
import type { OnnxGraph } from '../peers/onnx.ts'
import { parameterInputs } from './problem.ts'
import { type BlockShape, epsilon } from './reference.ts'

/** A model of x [batch, tokens, width] → z. */
export function blockModel(graph: OnnxGraph, inputs: Inputs, { batch, tokens, width, heads }: BlockShape): void {
  const d = width / heads
  const weights = Object.fromEntries(
    Object.entries(parameterInputs(inputs)).map(([name, { data, shape }]) => {
      if (shape.length === 1) return [name, graph.weight(name, data, shape)]
      // MatMul wants [in, out].
      const [outputs, features] = shape as [number, number]
      const turned = Float32Array.from(data, (_, i) => data[(i % outputs) * features + Math.floor(i / outputs)]!)
      return [name, graph.weight(name, turned, [features, outputs])]
    }),
  )
  const linear = (v: string, name: string) =>
    graph.node('Add', [graph.node('MatMul', [v, weights[`${name}.weight`]!]), weights[`${name}.bias`]!])
  const norm = (v: string, name: string) =>
    graph.node('LayerNormalization', [v, weights[`${name}.weight`]!, weights[`${name}.bias`]!], {
      axis: -1,
      epsilon: { float: epsilon },
    })
  const qkv = graph.reshape(linear(norm('x', 'norm1'), 'attn.qkv'), [batch, tokens, 3, heads, d])
  const parts = graph.node('Transpose', [qkv], { perm: [2, 0, 3, 1, 4] })
  const [q, k, v] = graph.split(parts, 3, 0).map((part) => graph.reshape(part, [batch, heads, tokens, d])) as [
    string,
    string,
    string,
  ]
  const keys = graph.node('Transpose', [k], { perm: [0, 1, 3, 2] })
  const scores = graph.node('Mul', [graph.node('MatMul', [q, keys]), graph.scalar(1 / Math.sqrt(d))])
  const attended = graph.node('MatMul', [graph.node('Softmax', [scores], { axis: -1 }), v])
  const joined = graph.reshape(graph.node('Transpose', [attended], { perm: [0, 2, 1, 3] }), [batch, tokens, width])
  const y = graph.node('Add', ['x', linear(joined, 'attn.proj')])
  const hidden = graph.node('Gelu', [linear(norm(y, 'norm2'), 'mlp.fc1')], { approximate: 'none' })
  graph.node('Add', [y, linear(hidden, 'mlp.fc2')], {}, 'z')
  graph.output('z', [batch, tokens, width])
}
