/** The type of a user-defined op; `defineOp` (engine/define.ts) makes them. */
import type { Node, OutputSpec } from '../graph.ts'

/** Numbers that one use of the op was given. */
export type CustomAttrs = Readonly<Record<string, number>>

export interface CustomOp {
  readonly byIdentity: true
  readonly name: string
  outputs(inputs: readonly OutputSpec[], attrs: CustomAttrs): OutputSpec[]
  /** Gradients for every input (undefined: none), from those of the outputs. */
  vjp?(node: Node, outputGrads: readonly (Node | undefined)[]): (Node | undefined)[]
  /** Launches from operands in memory; the types are those of engine/plan/calls.ts. */
  lower(node: Node<'custom'>, operands: readonly any[], context: any): any[]
}
