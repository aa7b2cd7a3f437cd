/** What a gradient rule is, and the words that rules are written in. */
import type { Node } from '../graph.ts'
import * as b from './build.ts'
import { where } from './build.ts'
import type { OpName } from './names.ts'

export type Grads = readonly (Node | undefined)[]
/** Partial derivatives of Σ seed·output with respect to inputs of which none is seen through another. */
export type Partials = (output: Node, inputs: readonly Node[], seed: Node) => Grads
/** From dy, the gradient of output 0, and those of all outputs; `partials` serves rules that go through a plain form. */
export type Vjp<K extends OpName> = (node: Node<K>, dy: Node, all: Grads, partials: Partials) => Grads

export const x0 = (node: Node): Node => node.inputs[0]!
export const x1 = (node: Node): Node => node.inputs[1]!
export const mask = (condition: Node, dy: Node): Node => where(condition, dy, b.zerosLike(dy))
export const compare = (op: 'less' | 'lessEqual' | 'greater' | 'greaterEqual' | 'equal', a: Node, c: Node) =>
  b.binary(op, a, c)

/** For ops whose value does not change smoothly: comparisons, rounding, indices. */
export const zero: Vjp<any> = (node) => node.inputs.map(() => undefined)

/** For what is no function of its inputs to be differentiated. */
export const refused =
  (name: string, why: string): Vjp<any> =>
  () => {
    throw new Error(`grad: '${name}' ${why}`)
  }
