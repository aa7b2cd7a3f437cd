/** What the tables use beside the tensor's own methods. */
import { gradNodes } from '../../../engine/autograd.ts'
import { Tensor } from '../../../engine/index.ts'

export * as b from '../../../engine/ops/build.ts'

export const grad = (loss: Tensor, wrt: readonly Tensor[]): Tensor[] =>
  gradNodes(
    loss.node,
    wrt.map((t) => t.node),
  ).map((n) => new Tensor(n))
