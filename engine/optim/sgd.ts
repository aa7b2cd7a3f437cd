/** Stochastic gradient descent with momentum, over flat storage: two assignments per flat buffer a step. */
import type { Node } from '../graph.ts'
import { type FlatParameters, flatten, type Module, zeroGrad } from '../nn/parameter.ts'
import * as b from '../ops/build.ts'
import { currentDevice } from '../runtime/current.ts'
import { type Gradients, packGradients } from './gradients.ts'

export interface SGDOptions {
  lr?: number
  momentum?: number
  /** Added to the gradient as weightDecay · parameter, for all parameters. */
  weightDecay?: number
  /** Nesterov's momentum: steps by g + momentum · v instead of v. */
  nesterov?: boolean
}

/** Assigns `value` to what `node` stores; it runs with whatever is computed next. */
function assign(node: Node, value: Node): Node {
  const assigned = b.record('assign', [node, value], {})
  currentDevice().addEffect(assigned)
  return assigned
}

/** v ← momentum · v + g;  p ← p − lr · v. */
export class SGD {
  readonly flat: FlatParameters
  /** May change between steps; compiled steps see it. */
  lr: number
  private v: Node[] | undefined
  private readonly options: Required<Omit<SGDOptions, 'lr'>>

  constructor(module: Module, { lr = 1e-2, momentum = 0, weightDecay = 0, nesterov = false }: SGDOptions = {}) {
    this.flat = flatten(module)
    this.lr = lr
    this.options = { momentum, weightDecay, nesterov }
    this.v = momentum ? this.flat.zeros() : undefined
  }

  /**
   * Records one step; it runs with whatever is computed next. `grads`: one a parameter, in order, or by name; without them, those that
   * `backward()` left in the parameters, which stay there until `zeroGrad()`.
   */
  step(grads?: Gradients): void {
    const { momentum, weightDecay, nesterov } = this.options
    const rate = () => Float32Array.of(this.lr)
    const lr = b.reshape(b.hostLeaf(rate(), [1], 'f32'), [])
    lr.inputs[0]!.refresh = rate
    packGradients('SGD', this.flat, grads).forEach((plain, i) => {
      const p = this.flat.nodes[i]!
      const g = weightDecay ? b.add(plain, b.scale(p, weightDecay)) : plain
      let direction = g
      if (this.v) {
        this.v[i] = assign(this.v[i]!, b.add(b.scale(this.v[i]!, momentum), g))
        direction = nesterov ? b.add(g, b.scale(this.v[i]!, momentum)) : this.v[i]!
      }
      this.flat.nodes[i] = assign(p, b.sub(p, b.mul(lr, direction)))
    })
  }

  /** Forgets the gradients that `backward()` gathered. */
  zeroGrad(): void {
    zeroGrad(this.flat.byName)
  }
}

export const sgd = (module: Module, options?: SGDOptions): SGD => new SGD(module, options)
