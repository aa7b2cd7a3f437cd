/** What the planner may do with each op: compute it where it is used, loop over it, or launch it as a kernel of its own. */
import type { Node } from '../graph.ts'
import type { OpName } from '../ops/names.ts'
import { pointwise } from '../ops/pointwise.ts'

const views = new Set<OpName>(['reshape', 'permute', 'expand', 'slice', 'windows', 'detach', 'withGradient', 'after'])
const inlined = new Set<OpName>([
  'constant',
  'iota',
  'randomBits',
  'pad',
  'concat',
  'gather',
  'pick',
  'contiguous',
  ...views,
])
const reductions = new Set<OpName>(['sum', 'max', 'min', 'prod'])
const renamed = new Set<OpName>(['detach', 'withGradient', 'contiguous'])

export const isView = (node: Node): boolean => views.has(node.op)
export const isPointwise = (node: Node): boolean => node.op in pointwise && node.op !== 'detach'
export const isReduction = (node: Node): boolean => reductions.has(node.op)
/** Ops that are launched as kernels of their own, whatever surrounds them. */
export const isKernel = (node: Node): boolean => !isPointwise(node) && !inlined.has(node.op) && !isReduction(node)
/** The same elements as input 0, at other coordinates at most. */
export const rearranges = (node: Node): boolean =>
  renamed.has(node.op) || node.op === 'reshape' || node.op === 'permute'
/** Kernels whose results can pass through a pointwise chain before they are stored. */
export const takesTail = (node: Node): boolean => node.op === 'matmul' || node.op === 'layerNormGradInput'
/** Kernels that can compute their transpose as well. */
export const swaps = (node: Node): boolean => node.op === 'matmul'

/** Ops that write into the storage of an input: pairs [output, input]. */
export const effects = (node: Node): readonly (readonly [number, number])[] =>
  node.op === 'assign'
    ? [[0, 0]]
    : node.op === 'adamw'
      ? [
          [0, 0],
          [1, 1],
          [2, 2],
        ]
      : []
