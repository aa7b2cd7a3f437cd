/**
 * Dynamic loss scaling (Micikevicius et al. 2018, "Mixed precision training"): the loss is multiplied by a scale, so that small
 * gradients survive half precision; the optimiser divides by it. A step whose gradient overflowed is skipped and halves the scale;
 * `interval` good steps in a row double it. The scale lives on the device: nothing is read back, a step stays one plan.
 */
import type { Node } from '../graph.ts'
import * as b from '../ops/build.ts'
import { currentDevice } from '../runtime/current.ts'
import { Tensor } from '../tensor.ts'

export interface LossScalerOptions {
  /** First scale. Powers of two change no digits. */
  initial?: number
  /** Factor after `interval` good steps. */
  growth?: number
  /** Factor after a step that overflowed. */
  backoff?: number
  interval?: number
  /** Bounds of the scale. */
  least?: number
  most?: number
}

export class LossScaler {
  private readonly options: Required<LossScalerOptions>
  /** f32[1] each, on the device: so both are overwritten where they are read, in one launch. */
  private current: Node
  /** Good steps since the scale changed. */
  private good: Node

  constructor(options: LossScalerOptions = {}) {
    this.options = { initial: 2 ** 16, growth: 2, backoff: 0.5, interval: 2000, least: 1, most: 2 ** 24, ...options }
    this.current = currentDevice().leafFrom([this.options.initial], [1], 'f32', 'loss scale')
    this.good = currentDevice().leafFrom([0], [1], 'f32', 'loss scale')
  }

  /** The scale of steps recorded from now on; a scalar. */
  get value(): Tensor<'f32'> {
    return new Tensor(b.reshape(this.current, []))
  }

  /** What gradients are to be taken of. */
  scale(loss: Tensor): Tensor {
    return loss.mul(this.value)
  }

  /** Records what a step does to the scale; the optimiser calls it. `finite`: bool scalar, whether the gradient was. */
  update(finite: Node): void {
    const { growth, backoff, interval, least, most } = this.options
    const number = (x: number) => b.full([1], x)
    const good = b.shift(this.good, 1)
    const grows = b.binary('greaterEqual', good, number(interval))
    const larger = b.binary('minimum', b.scale(this.current, growth), number(most))
    const smaller = b.binary('maximum', b.scale(this.current, backoff), number(least))
    const counts = b.binary('logicalAnd', finite, b.unary('logicalNot', grows))
    this.assign(b.where(finite, b.where(grows, larger, this.current), smaller), b.where(counts, good, number(0)))
  }

  private assign(scale: Node, good: Node): void {
    this.current = b.record('assign', [this.current, scale], {})
    this.good = b.record('assign', [this.good, good], {})
    for (const node of [this.current, this.good]) currentDevice().addEffect(node)
  }

  /** For checkpoints. */
  async read(): Promise<{ scale: number; good: number }> {
    const [current, count] = [this.current, this.good]
    const [scale] = await currentDevice().read(current)
    const [good] = await currentDevice().read(count)
    return { scale: scale!, good: good! }
  }

  load({ scale, good }: { scale: number; good: number }): void {
    const one = (x: number) => b.hostLeaf(Float32Array.of(x), [1], 'f32')
    this.assign(one(scale), one(good))
  }
}

export const lossScaler = (options?: LossScalerOptions): LossScaler => new LossScaler(options)
