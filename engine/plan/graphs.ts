/** Lowering of the ops on graphs of neighbours. */
import { type AffinityProblem, affinityBackwardVariants, affinityVariants } from '../../kernels/diffusion/affinities.ts'
import { diffusionBackwardVariants, diffusionVariants, diffusionWorkBytes } from '../../kernels/diffusion/diffusion.ts'
import type { OpName } from '../ops/names.ts'
import { type Arg, floatOf, ins, type Lowering, outs } from './calls.ts'
import type { Operand } from './views.ts'

const affinityProblem = (features: Operand, half: number): AffinityProblem => {
  const [batch, nodes, e] = features.shape as [number, number, number]
  return { batch, l: nodes / 2, e, half, features: floatOf(features) }
}

const diffusionProblem = (w: Operand, steps: number) => {
  const [batch, n] = w.shape as [number, number]
  return { batch, n, t: steps }
}

const scratch = (w: Operand, direction: 'forward' | 'backward'): Arg[] => {
  const [batch, n] = w.shape as [number, number]
  const bytes = batch * diffusionWorkBytes(n, direction)
  return bytes ? [{ temp: 0, bytes }] : []
}

export const graphLowerings = {
  affinities: (node, [features], c) => {
    const problem = affinityProblem(features!, node.attrs.half)
    const program = c.choose('affinities', affinityVariants(problem, c.caps), problem)
    return [{ program, args: [...ins(0, 1), ...outs(0, 1)] }]
  },
  affinitiesGrad: (node, [features], c) => {
    const problem = affinityProblem(features!, node.attrs.half)
    const program = c.choose('affinitiesGrad', affinityBackwardVariants(problem, c.caps), problem)
    return [{ program, args: [...ins(0, 1, 2, 3), ...outs(0)] }]
  },
  diffusion: (node, [w], c) => {
    const problem = diffusionProblem(w!, node.attrs.steps)
    const program = c.choose('diffusion', diffusionVariants(problem, c.caps), problem)
    return [{ program, args: [...ins(0), ...outs(0, 1), ...scratch(w!, 'forward')] }]
  },
  diffusionGrad: (node, [w], c) => {
    const problem = diffusionProblem(w!, node.attrs.steps)
    const program = c.choose('diffusionGrad', diffusionBackwardVariants(problem, c.caps), problem)
    return [{ program, args: [...ins(0, 1, 2), ...outs(0), ...scratch(w!, 'backward')] }]
  },
} satisfies { [K in OpName]?: Lowering<K> }
