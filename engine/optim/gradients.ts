/** What optimisers are fed: gradients in order, by name, or those that `backward()` left in the parameters. */
import type { Node } from '../graph.ts'
import type { FlatParameters } from '../nn/parameter.ts'
import type { Tensor } from '../tensor.ts'

/** One a parameter, in the order of the module's fields, or by name. */
export type Gradients = readonly Tensor[] | ReadonlyMap<string, Tensor>

/** Gradients laid out like the parameters, one node per chunk. @throws Error naming a parameter that has none */
export function packGradients(optimiser: string, flat: FlatParameters, grads: Gradients | undefined): Node[] {
  const find = (name: string): Tensor => {
    const g = grads ? (grads as ReadonlyMap<string, Tensor>).get(name) : flat.byName.get(name)!.grad
    if (g) return g
    const fix = grads ? '' : '; give step() the gradients, or call loss.backward() or accumulate() before it'
    throw new Error(`${optimiser}: no gradient for '${name}'${fix}`)
  }
  const list = Array.isArray(grads) ? (grads as readonly Tensor[]) : flat.names.map(find)
  return flat.pack(list.map((t) => t.node))
}
