/** A whole ViT block: forward, and a training step with AdamW. */
import { custom } from '../contestants.ts'
import type { Group, Row } from '../contract.ts'
import { prepareForward, prepareTraining } from '../vit/diptych.ts'
import * as jax from '../vit/jax.ts'
import { blockModel } from '../vit/onnx.ts'
import { blockInputs, checkForward, checkTraining, forwardCost, trainingCost, vitTiny } from '../vit/problem.ts'
import type { BlockShape } from '../vit/reference.ts'
import * as tfjs from '../vit/tfjs.ts'

const named = ({ batch, tokens, width, heads, ratio }: BlockShape): string =>
  `width ${width}, ${heads} heads, ${tokens} tokens, batch ${batch}, MLP ×${ratio}`

function forward(shape: BlockShape): Row {
  return {
    name: `forward: ${named(shape)}`,
    inputs: () => blockInputs(shape),
    check: checkForward(shape),
    cost: forwardCost(shape),
    unit: 'GFLOP/s',
    contestants: [
      custom('diptych', (library, inputs) => prepareForward(library, inputs, shape)),
      custom('tfjs', (library, inputs) => tfjs.prepareForward(library, inputs, shape)),
      custom('jax-js', (library, inputs) => jax.prepareForward(library, inputs, shape)),
      ...(['ort-web', 'ort-node'] as const).map((name) =>
        custom(name, (library, inputs) =>
          library.model({ x: inputs.x }, (graph: Parameters<typeof blockModel>[0]) => blockModel(graph, inputs, shape)),
        ),
      ),
    ],
  }
}

export function training(shape: BlockShape): Row {
  return {
    name: `training step: ${named(shape)}`,
    inputs: () => blockInputs(shape),
    check: checkTraining(shape),
    cost: trainingCost(shape),
    unit: 'GFLOP/s',
    contestants: [
      custom('diptych', (library, inputs) => prepareTraining(library, inputs, shape, true)),
      custom('diptych', (library, inputs) => prepareTraining(library, inputs, shape, false), 'recorded'),
      custom('tfjs', (library, inputs) => tfjs.prepareTraining(library, inputs, shape)),
      custom('jax-js', (library, inputs) => jax.prepareTraining(library, inputs, shape)),
    ],
  }
}

export const group: Group = {
  name: 'block',
  about: 'a pre-norm ViT block; the step is forward, backward and AdamW on a mean squared error',
  rows: ({ quick }) => {
    const shape = quick ? { batch: 1, tokens: 6, width: 16, heads: 2, ratio: 2 } : vitTiny
    return [forward(shape), training(shape)]
  },
}
