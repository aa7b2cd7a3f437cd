/** The type of a user-defined op; `defineOp` (engine/define.ts) makes them. */
import type { Node, OutputSpec } from '../graph.ts'

export interface CustomOp {
  readonly byIdentity: true
  readonly name: string
  outputs(inputs: readonly OutputSpec[], attrs: Readonly<Record<string, number | string>>): OutputSpec[]
  /** Gradients for every input (undefined: none), from those of the outputs. */
  vjp?(node: Node, outputGrads: readonly (Node | undefined)[]): (Node | undefined)[]
  /** Launches from operands in memory; the types are those of engine/plan/kernels.ts. */
  lower(node: Node<'custom'>, operands: readonly any[], context: any): any[]
}
