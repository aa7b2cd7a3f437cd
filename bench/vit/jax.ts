/** The block and its training step in jax-js: one `jit` over parameters and moments, AdamW by hand. */
import type { Inputs, Prepared } from '../contract.ts'
import type { JaxLibrary } from '../peers/jax.ts'
import { checkedSteps, parameterInputs } from './problem.ts'
import { adamw, type BlockShape, epsilon } from './reference.ts'

type Named = Record<string, any>

/** Consumes p and x. */
function block({ numpy, nn }: any, p: Named, x: any, { batch, tokens, width, heads }: BlockShape): any {
  const d = width / heads
  const rows = batch * tokens
  const linear = (v: any, name: string) => numpy.matmul(v, numpy.transpose(p[`${name}.weight`])).add(p[`${name}.bias`])
  const norm = (v: any, name: string) =>
    nn.standardize(v, -1, { epsilon }).mul(p[`${name}.weight`]).add(p[`${name}.bias`])
  const flat = x.reshape([rows, width])
  const qkv = linear(norm(flat.ref, 'norm1'), 'attn.qkv').reshape([batch, tokens, 3, heads, d])
  const part = (value: any, i: number) => value.slice([], [], i)
  const [q, k, v] = [part(qkv.ref, 0), part(qkv.ref, 1), part(qkv, 2)]
  const attended = nn.dotProductAttention(q, k, v).reshape([rows, width])
  const y = flat.add(linear(attended, 'attn.proj'))
  const hidden = nn.gelu(linear(norm(y.ref, 'norm2'), 'mlp.fc1'), { approximate: false })
  return y.add(linear(hidden, 'mlp.fc2')).reshape([batch, tokens, width])
}

export const prepareForward = (library: JaxLibrary, inputs: Inputs, shape: BlockShape): Promise<Prepared> =>
  library.op({ x: inputs.x!, ...parameterInputs(inputs) }, (jax, { x, ...p }) => ({ z: block(jax, p, x, shape) }), true)

export async function prepareTraining(library: JaxLibrary, inputs: Inputs, shape: BlockShape): Promise<Prepared> {
  const { jax } = library
  const { numpy } = jax
  const { lr, beta1, beta2, weightDecay } = adamw
  const names = Object.keys(parameterInputs(inputs))
  const loss = (p: Named, x: any, target: any) => numpy.mean(numpy.square(block(jax, p, x, shape).sub(target)))
  const decays = (name: string) => name.endsWith('weight') && !name.startsWith('norm')
  const step = jax.jit((p: Named, m: Named, v: Named, t: any, x: any, target: any) => {
    const kept = Object.fromEntries(names.map((n) => [n, p[n].ref]))
    const [value, grads] = jax.valueAndGrad(loss)(p, x, target)
    const now = t.add(1)
    const correction = (beta: number) => numpy.subtract(1, numpy.power(beta, now.ref))
    const [c1, c2] = [correction(beta1), correction(beta2)]
    const [newP, newM, newV]: [Named, Named, Named] = [{}, {}, {}]
    for (const n of names) {
      const g = grads[n]
      newM[n] = m[n].mul(beta1).add(g.ref.mul(1 - beta1))
      newV[n] = v[n].mul(beta2).add(numpy.square(g).mul(1 - beta2))
      const update = newM[n].ref.div(c1.ref).div(numpy.sqrt(newV[n].ref.div(c2.ref)).add(adamw.epsilon))
      const decayed = decays(n) ? kept[n].mul(1 - lr * weightDecay) : kept[n]
      newP[n] = decayed.sub(update.mul(lr))
    }
    c1.dispose()
    c2.dispose()
    return [newP, newM, newV, now, value]
  })
  const arrays = await library.tensors({ x: inputs.x!, target: inputs.target! })
  const zeros = () =>
    library.tensors(
      Object.fromEntries(
        Object.entries(parameterInputs(inputs)).map(([n, { data, shape: dims }]) => [
          n,
          { data: new Float32Array(data.length), shape: dims },
        ]),
      ),
    )
  let [p, m, v, t]: [Named, Named, Named, any] = [
    await library.tensors(parameterInputs(inputs)),
    await zeros(),
    await zeros(),
    numpy.array(0),
  ]
  const run = async (): Promise<any> => {
    const results = step(p, m, v, t, arrays.x.ref, arrays.target.ref)
    ;[p, m, v, t] = results
    const value = results[4]
    // All results are of one call, whose kernels are dispatched when any of them is asked for.
    await library.issue([value.ref])
    return value
  }
  const losses: number[] = []
  for (let i = 0; i < checkedSteps; i++) losses.push((await (await run()).data())[0])
  const parameters = await library.read(Object.fromEntries(names.map((n) => [n, p[n].ref])))
  return {
    run: async () => {
      ;(await run()).dispose()
    },
    outputs: async () => ({ losses, ...parameters }),
    dispose: () => {
      for (const value of [...[p, m, v].flatMap(Object.values), t, arrays.x, arrays.target]) value.dispose()
      step.dispose()
    },
  }
}
