/** The ViT block that is measured everywhere: its inputs, what a step must give, and its cost. */
import type { Cost } from '../../kernels/kernel.ts'
import type { Check, Input, Inputs, Outputs } from '../contract.ts'
import { filled, random, relativeError } from '../data.ts'
import { type BlockShape, blockReference, type Parameters, parameterShapes, trainingReference } from './reference.ts'

/** Width 192, 3 heads, 196 tokens, batch 4, MLP ×4: the block of ViT-Tiny. */
export const vitTiny: BlockShape = { batch: 4, tokens: 196, width: 192, heads: 3, ratio: 4 }

/** Steps that are compared with the reference. */
export const checkedSteps = 3

/** x and target [batch, tokens, width], then the parameters by name. */
export function blockInputs(shape: BlockShape): Inputs {
  const tokens = [shape.batch, shape.tokens, shape.width]
  const initial = (name: string, dims: readonly number[], seed: number): Input => {
    if (name.startsWith('norm')) return filled(dims, name.endsWith('weight') ? 1 : 0)
    return name.endsWith('bias') ? filled(dims, 0) : random(dims, seed, Math.sqrt(1 / shape.width))
  }
  const parameters = Object.entries(parameterShapes(shape)).map(
    ([name, dims], i) => [name, initial(name, dims, 10 + i)] as const,
  )
  return { x: random(tokens, 1), target: random(tokens, 2), ...Object.fromEntries(parameters) }
}

/** Inputs without x and target. */
export function parameterInputs(inputs: Inputs): Inputs {
  const { x: _, target: __, ...parameters } = inputs
  return parameters
}

const doubles = ({ data }: Input): Float64Array => Float64Array.from(data)

const parametersOf = (inputs: Inputs): Parameters =>
  Object.fromEntries(Object.entries(parameterInputs(inputs)).map(([name, input]) => [name, doubles(input)]))

const memo = new Map<string, ReturnType<typeof trainingReference>>()

/** z of the block. */
export function checkForward(shape: BlockShape): (outputs: Outputs, inputs: Inputs) => readonly Check[] {
  let want: Float64Array | undefined
  return ({ z }, inputs) => {
    want ??= blockReference(parametersOf(inputs), doubles(inputs.x!), shape).z
    return [{ what: 'z', error: relativeError(z, want), limit: 1e-5 }]
  }
}

/**
 * Losses of the first steps, and by how much these changed the parameters. Left out is the keys' bias: its exact gradient is 0
 * (a softmax does not see what all scores have in common), so AdamW would magnify rounding alone.
 */
export function checkTraining(shape: BlockShape): (outputs: Outputs, inputs: Inputs) => readonly Check[] {
  return (outputs, inputs) => {
    const key = JSON.stringify(shape)
    const want =
      memo.get(key) ??
      trainingReference(parametersOf(inputs), doubles(inputs.x!), doubles(inputs.target!), shape, checkedSteps)
    memo.set(key, want)
    const change = (after: Readonly<Record<string, ArrayLike<number> | undefined>>) =>
      Object.entries(parameterInputs(inputs)).flatMap(([name, { data }]) =>
        Array.from(data, (before, i) => (after[name]?.[i] ?? Number.NaN) - before).filter(
          (_, i) => name !== 'attn.qkv.bias' || i < shape.width || i >= 2 * shape.width,
        ),
      )
    return [
      { what: 'losses', error: relativeError(outputs.losses, want.losses), limit: 1e-5 },
      { what: 'changes', error: relativeError(change(outputs), change(want.parameters)), limit: 2e-2 },
    ]
  }
}

/** Multiplications of the block's products, forward; elementwise work is left out. */
export function forwardCost({ batch, tokens, width, ratio }: BlockShape): Cost {
  const rows = batch * tokens
  const weights = (4 + 2 * ratio) * width * width
  return { flops: 2 * rows * weights + 4 * rows * tokens * width, bytes: 4 * (2 * rows * width + weights) }
}

/** Forward and backward (twice as much), and AdamW's reading and writing of p, m and v. */
export function trainingCost(shape: BlockShape): Cost {
  const { flops, bytes } = forwardCost(shape)
  const parameters = Object.values(parameterShapes(shape)).reduce(
    (sum, dims) => sum + dims.reduce((a, b) => a * b, 1),
    0,
  )
  return { flops: 3 * flops + 18 * parameters, bytes: bytes + 4 * 6 * parameters }
}
