/** Gradients for functional code: `grad`, `valueAndGrad`. */
import { gradNodes } from './autograd.ts'
import { type Module, namedParameters } from './nn/parameter.ts'
import { Tensor } from './tensor.ts'

type TensorFunction<A extends Tensor[]> = (...args: A) => Tensor
/** One gradient per argument. */
type Gradients<A extends Tensor[]> = { -readonly [K in keyof A]: Tensor }

/**
 * Gradient of a scalar `loss` with respect to tensors, or to every parameter of a module (by name, in the order of its fields, as
 * optimisers take them). Of a function: the function that gives its gradients for all of its arguments. Records only, and
 * can be differentiated again.
 * @throws ShapeError when the loss is no float scalar
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): Tensor[]
export function grad(loss: Tensor, wrt: Tensor): Tensor
export function grad(loss: Tensor, wrt: Module): Map<string, Tensor>
export function grad<A extends Tensor[]>(f: TensorFunction<A>): (...args: A) => Gradients<A>
export function grad(
  loss: Tensor | TensorFunction<any>,
  wrt?: Tensor | readonly Tensor[] | Module,
): Tensor | Tensor[] | Map<string, Tensor> | ((...args: any[]) => Tensor[]) {
  if (typeof loss === 'function') return (...args: Tensor[]) => grad(loss(...args), args as readonly Tensor[])
  if (wrt instanceof Tensor) return new Tensor(gradNodes(loss.node, [wrt.node])[0]!)
  if (Array.isArray(wrt))
    return gradNodes(
      loss.node,
      wrt.map((t: Tensor) => t.node),
    ).map((n) => new Tensor(n))
  const named = namedParameters(wrt!)
  const grads = gradNodes(
    loss.node,
    [...named.values()].map((p) => p.node),
  )
  return new Map([...named.keys()].map((name, i) => [name, new Tensor(grads[i]!)]))
}

/**
 * The function that gives f's value (a scalar) and its gradients: for its arguments, or for the parameters of a module, by name:
 *
 *     const step = valueAndGrad(head, (x, y) => head.call(x).crossEntropy(y))
 *     const { value, grads } = step(x, y)
 *     adam.step(grads)
 */
export function valueAndGrad<A extends Tensor[]>(
  f: TensorFunction<A>,
): (...args: A) => { value: Tensor; grads: Gradients<A> }
export function valueAndGrad<A extends unknown[]>(
  module: Module,
  f: (...args: A) => Tensor,
): (...args: A) => { value: Tensor; grads: Map<string, Tensor> }
export function valueAndGrad(module: Module | TensorFunction<any>, f?: (...args: any[]) => Tensor) {
  return (...args: any[]) => {
    const value = f ? f(...args) : (module as TensorFunction<any>)(...args)
    return { value, grads: f ? grad(value, module as Module) : grad(value, args as Tensor[]) }
  }
}
