/** The block and its training step on this engine: compiled, and recorded anew each step. */
import { compile, grad, nn, optim, type Tensor } from '../../engine/index.ts'
import type { Inputs, Prepared } from '../contract.ts'
import type { DiptychLibrary } from '../libraries/diptych.ts'
import { checkedSteps, parameterInputs } from './problem.ts'
import { adamw, type BlockShape } from './reference.ts'

function blockOf(inputs: Inputs, { width, heads, ratio }: BlockShape): nn.TransformerBlock {
  const block = nn.transformerBlock(width, heads, ratio * width)
  nn.loadState(block, new Map(Object.entries(parameterInputs(inputs))), 'benchmark')
  return block
}

export async function prepareForward(library: DiptychLibrary, inputs: Inputs, shape: BlockShape): Promise<Prepared> {
  const block = blockOf(inputs, shape)
  return library.op({ x: inputs.x! }, ({ x }) => ({ z: block.call(x!) }))
}

/** `compiled`: planned once and replayed. Else recorded every step, as PyTorch would. */
export async function prepareTraining(
  library: DiptychLibrary,
  inputs: Inputs,
  shape: BlockShape,
  compiled: boolean,
): Promise<Prepared> {
  const block = blockOf(inputs, shape)
  const { lr, beta1, beta2, epsilon, weightDecay } = adamw
  const adam = optim.adamW(block, { lr, betas: [beta1, beta2], epsilon, weightDecay })
  const [x, target] = [library.tensor(inputs.x!), library.tensor(inputs.target!)]
  let launches: Pick<Prepared, 'launches' | 'discreteLaunches'> | undefined
  const record = (): Tensor => {
    const loss = block.call(x).sub(target).square().mean()
    adam.step(grad(loss, block))
    launches ??= library.launches([loss])
    return loss
  }
  const step = compiled ? compile(record, 'training step') : async () => record().realize()
  const losses: number[] = []
  for (let i = 0; i < checkedSteps; i++) losses.push(await (await step()).item())
  const after = await adam.flat.read()
  const parameters = Object.fromEntries([...after].map(([name, { data }]) => [name, data]))
  return {
    ...launches,
    run: async () => {
      ;(await step()).dispose()
    },
    outputs: async () => ({ losses, ...parameters }),
    dispose: () => {
      x.dispose()
      target.dispose()
    },
  }
}
