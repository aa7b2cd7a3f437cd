/** Gradients for functional code: `grad`, `valueAndGrad`. */
import { gradNodes } from './autograd.ts'
import { namedParameters } from './nn/parameter.ts'
import { Tensor } from './tensor.ts'

/**
 * Gradient of a scalar `loss` with respect to tensors, or to every parameter of a module (by name). Records only, and can be
 * differentiated again.
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): Tensor[]
export function grad(loss: Tensor, wrt: Tensor): Tensor
export function grad(loss: Tensor, wrt: object): Map<string, Tensor>
export function grad(loss: Tensor, wrt: Tensor | readonly Tensor[] | object): Tensor | Tensor[] | Map<string, Tensor> {
  if (wrt instanceof Tensor) return new Tensor(gradNodes(loss.node, [wrt.node])[0]!)
  if (Array.isArray(wrt))
    return gradNodes(
      loss.node,
      wrt.map((t: Tensor) => t.node),
    ).map((n) => new Tensor(n))
  const named = namedParameters(wrt)
  const grads = gradNodes(
    loss.node,
    [...named.values()].map((p) => p.node),
  )
  return new Map([...named.keys()].map((name, i) => [name, new Tensor(grads[i]!)]))
}

/** f and its gradient with respect to its tensor arguments. */
export function valueAndGrad(
  f: (...args: Tensor[]) => Tensor,
): (...args: Tensor[]) => { value: Tensor; grads: Tensor[] } {
  return (...args) => {
    const value = f(...args)
    return { value, grads: grad(value, args) }
  }
}
