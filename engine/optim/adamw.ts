/**
 * AdamW (Loshchilov and Hutter 2019) over flat storage: one dispatch per flat buffer a step. The gradient norm over all of them is
 * taken and clipped on the device, and a step whose gradient is not finite changes nothing. Bias corrections are kept on the device,
 * where it is known which steps were applied.
 */
import { adamwHyperCount } from '../../kernels/optimizer/adamw.ts'
import type { Node } from '../graph.ts'
import { alignment, type FlatParameters, flatten, type Module, rowLength, zeroGrad } from '../nn/parameter.ts'
import * as b from '../ops/build.ts'
import { currentDevice } from '../runtime/current.ts'
import { registerAssigned } from '../runtime/settle.ts'
import { type Shape, ShapeError } from '../shape.ts'
import { Tensor } from '../tensor.ts'
import { type Gradients, packGradients } from './gradients.ts'
import type { LossScaler } from './scaler.ts'

export interface AdamWOptions {
  lr?: number
  betas?: readonly [number, number]
  epsilon?: number
  weightDecay?: number
  /** Which parameters decay; default: those of two or more dimensions. */
  decays?: (name: string, shape: Shape) => boolean
  /** Largest gradient norm; default none. */
  clip?: number
  /** The gradients are those of `scaler.scale(loss)`. */
  scaler?: LossScaler
}

/** Loss scale, and good steps since it changed. */
export interface ScalingState {
  readonly scale: number
  readonly good: number
}

/** Where 1 − β₁ᵗ and 1 − β₂ᵗ stand in the kernel's `hyper`. */
const [corrections1, corrections2] = [5, 6]

export class AdamW {
  readonly flat: FlatParameters
  lr: number
  /**
   * Steps that ran: not those that are only recorded, or whose run failed. A step whose gradient is not finite is one of them, for
   * schedules, but changes nothing: no parameter, no moment, no bias correction.
   */
  steps = 0
  /** Moments, laid out like the parameters: one node per chunk. */
  private m: Node[]
  private v: Node[]
  /** Per 64 elements: how many belong to a parameter, negative where it does not decay. */
  private readonly blocks: Node[]
  private readonly options: Required<Omit<AdamWOptions, 'lr' | 'decays' | 'scaler'>>
  readonly scaler: LossScaler | undefined
  /** The kernel's `hyper` as the last applied step had it: the bias corrections are carried on from it. */
  private hyper: Node
  /** Gradients added up by `accumulate`, laid out like the parameters. */
  private sums: Node[] | undefined
  /** Norm of the last gradient before clipping, its loss scale taken out; a scalar tensor. */
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
    this.scaler = options.scaler
    this.hyper = currentDevice().leafFrom(
      new Float32Array(adamwHyperCount),
      [adamwHyperCount],
      'f32',
      'optimiser state',
    )
    this.m = this.flat.zeros()
    this.v = this.flat.zeros()
    this.blocks = this.flat.blocks(decays)
  }

  /**
   * Adds `share` of these gradients to those of the next `step()`: a batch too large for the memory is taken in n parts, each with
   * share 1/n of its mean loss. Records only; each part may be a plan of its own, and all parts of one shape the same. In one plan a
   * part has to wait for what this returns, the sums so far, or nothing is saved: see `after`.
   */
  accumulate(grads: Gradients, share = 1): readonly Tensor[] {
    this.sums ??= this.flat.zeros('accumulated gradients')
    const packed = packGradients('AdamW', this.flat, grads)
    this.sums = packed.map((g, i) => assign(this.sums![i]!, b.add(this.sums![i]!, b.scale(g, share))))
    return this.sums.map((sum) => new Tensor(sum))
  }

  /**
   * Records one step; it runs with whatever is computed next. `grads`: one a parameter, in order, or by name; without them, those
   * that were accumulated, which starts anew then, or else those that `backward()` left in the parameters, which stay there until
   * `zeroGrad()`.
   */
  step(grads?: Gradients): void {
    const accumulated = !grads && this.sums !== undefined
    const g = accumulated ? this.sums! : packGradients('AdamW', this.flat, grads)
    const scaledNorm = b.unary(
      'sqrt',
      g.map((chunk, i) => sumOfSquares(chunk, this.blocks[i]!)).reduce((total, part) => b.add(total, part)),
    )
    const unscale = this.scaler?.value.reciprocal().node
    const norm = unscale ? b.mul(scaledNorm, unscale) : scaledNorm
    this.gradientNorm = new Tensor(norm)
    const limit = this.options.clip
    const factor = Number.isFinite(limit)
      ? b.binary('minimum', b.full([], 1), b.div(b.full([], limit), b.shift(norm, 1e-12)))
      : b.full([], 1)
    // 0 tells the kernel to skip. Tested on the bits: drivers fold comparisons with NaN away.
    const finite = b.unary('isFinite', norm)
    const clip = b.reshape(b.where(finite, unscale ? b.mul(factor, unscale) : factor, b.full([], 0)), [1])
    const hyper = this.nextHyper(finite)
    this.scaler?.update(finite)
    g.forEach((chunk, i) => {
      const node = b.record(
        'adamw',
        [this.flat.nodes[i]!, this.m[i]!, this.v[i]!, chunk, hyper, clip, this.blocks[i]!],
        {},
      )
      const [m, v] = [b.pick(node, 1), b.pick(node, 2)]
      registerAssigned(node, [node, m, v])
      currentDevice().addEffect(node)
      this.flat.nodes[i] = node
      this.m[i] = m
      this.v[i] = v
    })
    if (accumulated) this.sums = g.map((sum) => assign(sum, b.full(sum.shape, 0)))
  }

  /**
   * `hyper` of this step, with the bias corrections of the steps that were applied: 1 − βᵗ = β·(1 − βᵗ⁻¹) + (1 − β), which loses no
   * digits. A handful of numbers, what is set anew and how much of the old is carried on, known before the gradient is; only what the
   * next step carries on waits for `finite`.
   */
  private nextHyper(finite: Node): Node {
    const words = (): Float32Array => {
      const [beta1, beta2] = this.options.betas
      const { epsilon, weightDecay } = this.options
      const set = [this.lr, beta1, beta2, epsilon, weightDecay, 1 - beta1, 1 - beta2, 1]
      return Float32Array.of(...set, 0, 0, 0, 0, 0, beta1, beta2, 0)
    }
    const host = b.hostLeaf(words(), [2 * adamwHyperCount], 'f32')
    host.refresh = words
    host.ran = () => {
      this.steps++
    }
    const set = b.narrow(host, 0, 0, adamwHyperCount)
    const next = b.add(set, b.mul(this.hyper, b.narrow(host, 0, adamwHyperCount, 2 * adamwHyperCount)))
    this.hyper = assign(this.hyper, b.where(finite, next, this.hyper))
    return next
  }

  /** Forgets the gradients that `backward()` gathered. */
  zeroGrad(): void {
    zeroGrad(this.flat.byName)
  }

  /** Moments by name, bias corrections 1 − βᵗ of the applied steps, and what loss scaling keeps, for checkpoints. */
  async state(): Promise<{
    steps: number
    corrections: readonly [number, number]
    m: Map<string, { shape: Shape; data: Float32Array }>
    v: Map<string, { shape: Shape; data: Float32Array }>
    scaling?: ScalingState
  }> {
    const scaling = await this.scaler?.read()
    const hyper = await currentDevice().read(this.hyper)
    const corrections = [hyper[corrections1]!, hyper[corrections2]!] as const
    const [m, v] = [await this.flat.read(this.m), await this.flat.read(this.v)]
    return { steps: this.steps, corrections, m, v, ...(scaling ? { scaling } : {}) }
  }

  /** Without `corrections`, all `steps` are taken to have been applied. */
  loadState(state: {
    steps: number
    corrections?: readonly [number, number]
    m: ReadonlyMap<string, { data: ArrayLike<number> }>
    v: ReadonlyMap<string, { data: ArrayLike<number> }>
    scaling?: ScalingState
  }): void {
    if (!!state.scaling !== !!this.scaler)
      throw new Error(
        state.scaling
          ? 'AdamW: the saved state is of a run with loss scaling; make the optimiser with a scaler'
          : 'AdamW: the saved state is of a run without loss scaling; make the optimiser without a scaler',
      )
    this.steps = state.steps
    this.m = this.flat.assign(this.m, state.m)
    this.v = this.flat.assign(this.v, state.v)
    const hyper = new Float32Array(adamwHyperCount)
    hyper.set(state.corrections ?? this.options.betas.map((beta) => 1 - beta ** state.steps), corrections1)
    this.hyper = assign(this.hyper, b.hostLeaf(hyper, [adamwHyperCount], 'f32'))
    if (state.scaling) this.scaler!.load(state.scaling)
  }
}

/** Σ g² of one chunk without its gaps, which hold anything: rows first, then their sums, so that many workgroups share the work. */
function sumOfSquares(g: Node, blocks: Node): Node {
  const rows = g.shape[0]! / rowLength
  const count = b.reshape(b.unary('abs', blocks), [rows, rowLength / alignment, 1])
  const inside = b.binary('less', b.iota(alignment, 'f32'), count)
  const squares = b.where(inside, b.square(b.reshape(g, [rows, rowLength / alignment, alignment])), b.full([], 0))
  return b.sum(b.sum(squares, [1, 2]))
}

/** Records `to` ← value(to, from) over two modules of the same layout. */
function update(what: string, to: FlatParameters, from: FlatParameters, value: (to: Node, from: Node) => Node): void {
  const layout = (flat: FlatParameters) => flat.chunks.map((c) => `${c.offsets}/${c.total}`).join(';')
  if (layout(to) !== layout(from))
    throw new ShapeError(`${what}: the two modules have other parameters, or were flattened with another chunkBytes`)
  to.nodes = to.nodes.map((node, i) => assign(node, value(node, from.nodes[i]!)))
}

/** Records that what `target` stands for becomes `value`; returns the node that stands for it from then on. */
function assign(target: Node, value: Node): Node {
  const node = b.record('assign', [target, value], {})
  currentDevice().addEffect(node)
  return node
}

/** θ_teacher ← α θ_teacher + (1−α) θ_student over flat storage, recorded to run after the student's own update. */
export function emaUpdate(teacher: FlatParameters, student: FlatParameters, alpha: number): void {
  update('emaUpdate', teacher, student, (t, s) => b.add(b.scale(t, alpha), b.scale(s, 1 - alpha)))
}

/** Copies all of `from` into `to`, a module of the same layout. */
export function copyParameters(to: FlatParameters, from: FlatParameters): void {
  update('copyParameters', to, from, (_, value) => value)
}

export const adamW = (module: Module, options?: AdamWOptions): AdamW => new AdamW(module, options)
