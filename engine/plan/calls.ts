/** What a lowering is: from an op and its operands in memory to launches. */
import type { Capabilities, Program } from '../../kernels/kernel.ts'
import type { FloatType } from '../../kernels/storage.ts'
import type { DType } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { OpName } from '../ops/names.ts'
import type { Chooser } from './plan.ts'
import type { Operand } from './views.ts'

/** What a binding of a launch is filled with. */
export type Arg = { readonly in: number } | { readonly out: number } | { readonly temp: number; readonly bytes: number }

export interface Call {
  readonly program: Program
  readonly args: readonly Arg[]
}

export interface LoweringContext {
  readonly caps: Capabilities
  /** Picks among variants: the tuner's choice for such a problem, or the first. */
  choose: Chooser
  /** Where outputs go that are part of a larger value; only for ops that `writesStrided` names. */
  readonly places?: readonly (Written | undefined)[]
}

/** Element c of an output is written at offset + Σ c·stride of a buffer, which outputs of the same `container` share. */
export interface Written {
  readonly container: object
  readonly strides: readonly number[]
  readonly offset: number
}

export type Lowering<K extends OpName> = (
  node: Node<K>,
  operands: readonly Operand[],
  context: LoweringContext,
) => Call[]

export const ins = (...indices: number[]): Arg[] => indices.map((i) => ({ in: i }))
export const outs = (...indices: number[]): Arg[] => indices.map((i) => ({ out: i }))

/** How a float tensor's elements stand in memory. */
export const floatType = (dtype: DType): FloatType => (dtype === 'f16' ? 'f16' : 'f32')
export const floatOf = ({ ref }: Operand): FloatType => floatType(ref.node.outputs[ref.output]!.dtype)
