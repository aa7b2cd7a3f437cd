/** The block and its training step in TensorFlow.js: eager, its own Adam, decay by hand. */
import type { Inputs, Prepared } from '../contract.ts'
import type { TfjsLibrary } from '../peers/tfjs.ts'
import { checkedSteps, parameterInputs } from './problem.ts'
import { adamw, type BlockShape, epsilon } from './reference.ts'

type Named = Record<string, any>

function block(tf: any, p: Named, x: any, { batch, tokens, width, heads }: BlockShape): any {
  const d = width / heads
  const rows = batch * tokens
  const linear = (v: any, name: string) =>
    tf.fused.matMul({ a: v, b: p[`${name}.weight`], transposeB: true, bias: p[`${name}.bias`] })
  const norm = (v: any, name: string) => {
    const { mean, variance } = tf.moments(v, -1, true)
    const normal = tf.mul(tf.sub(v, mean), tf.rsqrt(tf.add(variance, epsilon)))
    return tf.add(tf.mul(normal, p[`${name}.weight`]), p[`${name}.bias`])
  }
  const flat = tf.reshape(x, [rows, width])
  const qkv = tf.transpose(
    tf.reshape(linear(norm(flat, 'norm1'), 'attn.qkv'), [batch, tokens, 3, heads, d]),
    [2, 0, 3, 1, 4],
  )
  const [q, k, v] = tf.unstack(qkv)
  const weights = tf.softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(d)))
  const attended = tf.reshape(tf.transpose(tf.matMul(weights, v), [0, 2, 1, 3]), [rows, width])
  const y = tf.add(flat, linear(attended, 'attn.proj'))
  const hidden = linear(norm(y, 'norm2'), 'mlp.fc1')
  const gelu = tf.mul(tf.mul(hidden, 0.5), tf.add(tf.erf(tf.mul(hidden, Math.SQRT1_2)), 1))
  return tf.reshape(tf.add(y, linear(gelu, 'mlp.fc2')), [batch, tokens, width])
}

export const prepareForward = (library: TfjsLibrary, inputs: Inputs, shape: BlockShape): Promise<Prepared> =>
  library.op(inputs, (tf, { x, target: _, ...p }) => ({ z: block(tf, p, x, shape) }))

export async function prepareTraining(library: TfjsLibrary, inputs: Inputs, shape: BlockShape): Promise<Prepared> {
  const { tf } = library
  const { x, target } = library.tensors({ x: inputs.x!, target: inputs.target! })
  const variables: Named = Object.fromEntries(
    Object.entries(parameterInputs(inputs)).map(([name, { data, shape: dims }]) => [
      name,
      tf.variable(tf.tensor(data, dims, 'float32'), true, name),
    ]),
  )
  const { lr, beta1, beta2, weightDecay } = adamw
  const optimizer = tf.train.adam(lr, beta1, beta2, adamw.epsilon)
  const step = (): any =>
    tf.tidy(() => {
      const { value, grads } = tf.variableGrads(() =>
        tf.mean(tf.square(tf.sub(block(tf, variables, x, shape), target))),
      )
      for (const [name, variable] of Object.entries(variables))
        if (name.endsWith('weight') && !name.startsWith('norm')) variable.assign(tf.mul(variable, 1 - lr * weightDecay))
      optimizer.applyGradients(grads)
      return value
    })
  const losses: number[] = []
  for (let i = 0; i < checkedSteps; i++) {
    const loss = step()
    losses.push((await loss.data())[0])
    loss.dispose()
  }
  const parameters = await library.read(variables)
  return {
    run: () => step().dispose(),
    outputs: async () => ({ losses, ...parameters }),
    dispose: () => {
      optimizer.dispose()
      tf.dispose([x, target, Object.values(variables)])
    },
  }
}
