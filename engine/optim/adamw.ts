/**
 * AdamW (Loshchilov and Hutter 2019) over flat storage: one dispatch a step. The gradient norm is clipped on the device, and a step
 * whose gradient is not finite changes nothing.
 */
import { adamwHyperWords } from '../../kernels/optimizer/adamw.ts'
import type { Node } from '../graph.ts'
import { type FlatParameters, flatten, type Module } from '../nn/parameter.ts'
import * as b from '../ops/build.ts'
import { currentDevice } from '../runtime/device.ts'
import { registerAssigned } from '../runtime/settle.ts'
import type { Shape } from '../shape.ts'
import { Tensor } from '../tensor.ts'

export interface AdamWOptions {
  lr?: number
  betas?: readonly [number, number]
  epsilon?: number
  weightDecay?: number
  /** Which parameters decay; default: those of two or more dimensions. */
  decays?: (name: string, shape: Shape) => boolean
  /** Largest gradient norm; default none. */
  clip?: number
}

export class AdamW {
  readonly flat: FlatParameters
  lr: number
  /** Steps recorded so far. */
  steps = 0
  private m: Node
  private v: Node
  private readonly decay: Node
  private readonly options: Required<Omit<AdamWOptions, 'lr' | 'decays'>>
  /** Norm of the last gradient before clipping; a scalar tensor. */
  gradientNorm: Tensor | undefined

  constructor(module: Module, options: AdamWOptions = {}) {
    this.flat = flatten(module)
    const {
      lr = 1e-3,
      betas = [0.9, 0.999],
      epsilon = 1e-8,
      weightDecay = 0.01,
      clip = Number.POSITIVE_INFINITY,
    } = options
    const decays = options.decays ?? ((_: string, shape: Shape) => shape.length >= 2)
    this.lr = lr
    this.options = { betas, epsilon, weightDecay, clip }
    this.m = this.flat.like(() => 0)
    this.v = this.flat.like(() => 0)
    // −1 marks the gaps between parameters, which the kernel leaves alone.
    this.decay = this.flat.like((name, shape) => (decays(name, shape) ? 1 : 0), -1)
  }

  /** Records one step; it runs with whatever is computed next. `grads`: one a parameter, in order, or by name. */
  step(grads: readonly Tensor[] | ReadonlyMap<string, Tensor>): void {
    const list = grads instanceof Map ? this.flat.names.map((n) => named(grads, n)) : (grads as readonly Tensor[])
    const g = this.flat.pack(list.map((t) => t.node))
    const words = () => {
      this.steps++
      const [beta1, beta2] = this.options.betas
      const { epsilon, weightDecay } = this.options
      return adamwHyperWords({ lr: this.lr, beta1, beta2, epsilon, weightDecay, step: this.steps, clip: 1 })
    }
    const host = b.hostLeaf(words(), [8], 'f32')
    host.refresh = words
    const inside = b.binary('greaterEqual', this.decay, b.full([], 0))
    const norm = b.unary('sqrt', b.sum(b.where(inside, b.square(g), b.full([], 0))))
    this.gradientNorm = new Tensor(norm)
    const limit = this.options.clip
    const factor = Number.isFinite(limit)
      ? b.binary('minimum', b.full([], 1), b.div(b.full([], limit), b.shift(norm, 1e-12)))
      : b.full([], 1)
    // 0 tells the kernel to skip. Tested on the bits: drivers fold comparisons with NaN away.
    const clip = b.reshape(b.where(b.unary('isFinite', norm), factor, b.full([], 0)), [1])
    const hyper = b.concat([b.narrow(host, 0, 0, 7), clip], 0)
    const node = b.record('adamw', [this.flat.node, this.m, this.v, g, hyper, this.decay], {})
    const [m, v] = [b.pick(node, 1), b.pick(node, 2)]
    registerAssigned(node, [node, m, v])
    currentDevice().addEffect(node)
    this.flat.node = node
    this.m = m
    this.v = v
  }

  /** Moments by name, for checkpoints. */
  async state(): Promise<{
    steps: number
    m: Map<string, { shape: Shape; data: Float32Array }>
    v: Map<string, { shape: Shape; data: Float32Array }>
  }> {
    return { steps: this.steps, m: await this.flat.read(this.m), v: await this.flat.read(this.v) }
  }

  loadState(state: {
    steps: number
    m: ReadonlyMap<string, { data: ArrayLike<number> }>
    v: ReadonlyMap<string, { data: ArrayLike<number> }>
  }): void {
    this.steps = state.steps
    this.m = this.flat.write(state.m, this.m)
    this.v = this.flat.write(state.v, this.v)
  }
}

function named(grads: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const g = grads.get(name)
  if (!g) throw new Error(`AdamW: no gradient for '${name}'`)
  return g
}

/** θ_teacher ← α θ_teacher + (1−α) θ_student over flat storage, recorded to run after the student's own update. */
export function emaUpdate(teacher: FlatParameters, student: FlatParameters, alpha: number): void {
  const value = b.add(b.scale(teacher.node, alpha), b.scale(student.node, 1 - alpha))
  const node = b.record('assign', [teacher.node, value], {})
  currentDevice().addEffect(node)
  teacher.node = node
}

/** Copies all of `from` into `to`, a module of the same layout. */
export function copyParameters(to: FlatParameters, from: FlatParameters): void {
  const node = b.record('assign', [to.node, from.node], {})
  currentDevice().addEffect(node)
  to.node = node
}

export const adamW = (module: Module, options?: AdamWOptions): AdamW => new AdamW(module, options)
