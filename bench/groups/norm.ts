/** Row kernels: LayerNorm over the tokens of 16 frames, its gradient, and softmax over the rows of 12 heads of attention. */
import { grad } from '../../engine/index.ts'
import { layerNormBackwardReference } from '../../kernels/layernorm/backward.ts'
import { layerNormReference } from '../../kernels/layernorm/layernorm.ts'
import { softmaxReference } from '../../kernels/softmax/softmax.ts'
import { diptych, jax, onnx, tfjs } from '../contestants.ts'
import type { Group, Inputs, Row } from '../contract.ts'
import { against, random } from '../data.ts'

const epsilon = 1e-6

const normInputs = (rows: number, width: number): Inputs => {
  const x = random([rows, width], 1)
  const gamma = random([width], 2, 0.5)
  return {
    // A mean that is not 0, as activations have.
    x: { ...x, data: x.data.map((v) => v + 0.5) },
    gamma: { ...gamma, data: gamma.data.map((v) => v + 1) },
    beta: random([width], 3),
  }
}

const withTf = (tf: any, x: any, gamma: any, beta: any) => {
  const { mean, variance } = tf.moments(x, -1, true)
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, epsilon))), gamma), beta)
}

const withJax = ({ nn }: any, x: any, gamma: any, beta: any) => nn.standardize(x, -1, { epsilon }).mul(gamma).add(beta)

function layerNorm(rows: number, width: number): Row {
  return {
    name: `LayerNorm ${rows}×${width}`,
    inputs: () => normInputs(rows, width),
    check: against(({ x, gamma, beta }) => {
      const { y } = layerNormReference({ rows, width, epsilon }, x!.data, gamma!.data, beta!.data)
      return { y }
    }, 1e-5),
    cost: { flops: 8 * rows * width, bytes: 4 * (2 * rows * width + 2 * width) },
    unit: 'GB/s',
    contestants: [
      diptych(({ x, gamma, beta }) => ({ y: x!.layerNorm(gamma!, beta!, epsilon) })),
      tfjs((tf, { x, gamma, beta }) => ({ y: withTf(tf, x, gamma, beta) })),
      jax((library, { x, gamma, beta }) => ({ y: withJax(library, x, gamma, beta) })),
      onnx((graph) => {
        const attributes = { axis: -1, epsilon: { float: epsilon } }
        graph.output(graph.node('LayerNormalization', ['x', 'gamma', 'beta'], attributes, 'y'), [rows, width])
      }),
    ],
  }
}

/** Forward and backward: gradients of Σ y ∘ dy. */
function layerNormGradient(rows: number, width: number): Row {
  const names = ['x', 'gamma', 'beta']
  const named = (grads: readonly any[]) => Object.fromEntries(names.map((n, i) => [`d${n}`, grads[i]]))
  return {
    name: `LayerNorm ${rows}×${width}, with gradients`,
    inputs: () => ({ ...normInputs(rows, width), dy: random([rows, width], 4) }),
    check: against(({ x, gamma, beta, dy }) => {
      const { mean, rstd } = layerNormReference({ rows, width, epsilon }, x!.data, gamma!.data, beta!.data)
      return { ...layerNormBackwardReference({ rows, width }, x!.data, gamma!.data, dy!.data, mean, rstd) }
    }, 2e-5),
    cost: { flops: 20 * rows * width, bytes: 4 * (3 * rows * width + 4 * width) },
    unit: 'GB/s',
    contestants: [
      diptych(({ x, gamma, beta, dy }) =>
        named(grad(x!.layerNorm(gamma!, beta!, epsilon).mul(dy!).sum(), [x!, gamma!, beta!])),
      ),
      tfjs((tf, { x, gamma, beta, dy }) =>
        named(tf.grads((...args: [any, any, any]) => tf.sum(tf.mul(withTf(tf, ...args), dy)))([x, gamma, beta])),
      ),
      jax((library, { x, gamma, beta, dy }) =>
        named(
          library.grad((...args: [any, any, any]) => library.numpy.sum(withJax(library, ...args).mul(dy)), {
            argnums: [0, 1, 2],
          })(x, gamma, beta),
        ),
      ),
    ],
  }
}

function softmax(rows: number, width: number): Row {
  return {
    name: `softmax ${rows}×${width}`,
    inputs: () => ({ x: random([rows, width], 1, 4) }),
    check: against(({ x }) => ({ y: softmaxReference({ rows, width, log: false }, x!.data) }), 1e-5),
    cost: { flops: 5 * rows * width, bytes: 8 * rows * width },
    unit: 'GB/s',
    contestants: [
      diptych(({ x }) => ({ y: x!.softmax() })),
      tfjs((tf, { x }) => ({ y: tf.softmax(x) })),
      jax(({ nn }, { x }) => ({ y: nn.softmax(x, -1) })),
      onnx((graph) => {
        graph.output(graph.node('Softmax', ['x'], { axis: -1 }, 'y'), [rows, width])
      }),
    ],
  }
}

export const group: Group = {
  name: 'norm',
  about: 'LayerNorm and softmax over the last axis',
  rows: ({ quick }) =>
    quick
      ? [layerNorm(33, 48), layerNormGradient(33, 48), softmax(33, 17)]
      : [layerNorm(3152, 768), layerNormGradient(3152, 768), softmax(2364, 197)],
}
