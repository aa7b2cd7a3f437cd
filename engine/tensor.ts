/**
 * The tensor that programs hold: a node of the graph with methods. Recording an op computes nothing; `data()`, `item()` and
 * `realize()` run whatever is needed, in one submit.
 */
import { castsToHalf } from './autocast.ts'
import { gradNodes } from './autograd.ts'
import { type Averaged, type DType, type IndexDType, isFloat, type NumberKind, type Promote } from './dtype.ts'
import type { Node } from './graph.ts'
import * as b from './ops/build.ts'
import type { BinaryOp, Conv2dAttrs, UnaryOp } from './ops/names.ts'
import { attention } from './ops/plain.ts'
import * as sugar from './ops/sugar.ts'
import { getDevice } from './runtime/current.ts'
import type { HostData } from './runtime/device.ts'
import type { Storage } from './runtime/storage.ts'
import { formatShape, normalizeAxis, numel, type Shape, ShapeError } from './shape.ts'

export type Axes = number | readonly number[]
export type Nested = number | boolean | readonly Nested[]
/** What an op takes beside a tensor: a number becomes a constant of the tensor's dtype. */
export type Operand = Tensor | number
/** What an operand brings to the dtype of an op. Where the operand is not known (the first line), neither is the dtype. */
type Brings<X extends Operand> = boolean extends (X extends never ? true : false)
  ? any
  : X extends Tensor<infer E>
    ? E
    : X extends number
      ? NumberKind<X>
      : never
/** Dtype of an op between a tensor of dtype D and an operand. */
export type Combined<D extends DType, X extends Operand> = Promote<D, Brings<X>>

export interface AttendOptions {
  /** Factor on q·k; default 1/√d. */
  scale?: number
  causal?: boolean
  /** Additive, broadcastable to [batch…, heads, Lq, Lk] over batch and heads. */
  bias?: Tensor
  /** [batch…, Lk]; keys with a value > 0 take part. */
  keyMask?: Tensor
}

export interface ConvOptions {
  bias?: Tensor
  stride?: number | readonly [number, number]
  /** The same on all sides, or top, left, bottom, right. */
  padding?: number | readonly [number, number, number, number]
  dilation?: number | readonly [number, number]
  groups?: number
}

export interface PoolOptions {
  /** Default: the window's size, so that windows touch and do not overlap. */
  stride?: number | readonly [number, number]
  /** On both sides of the rows and of the columns; at most half of the window. */
  padding?: number | readonly [number, number]
  dilation?: number | readonly [number, number]
}

const pair = (x: number | readonly [number, number]): readonly [number, number] => (typeof x === 'number' ? [x, x] : x)

/**
 * A tensor of dtype D. A plain `Tensor` says nothing about its dtype and fits everywhere; what ops return says more, so that a
 * float tensor where indices are needed does not compile.
 */
export class Tensor<out D extends DType = any> {
  /** Filled by `backward()`. */
  grad: Tensor<D> | undefined
  /** Parameters and tensors marked by `requireGrad()`: what `backward()` fills `.grad` of. */
  requiresGrad = false
  protected current: Node

  constructor(node: Node) {
    this.current = node
  }

  get node(): Node {
    return this.current
  }

  get shape(): Shape {
    return this.node.shape
  }

  get dtype(): D {
    return this.node.dtype as D
  }

  /** This tensor where the dtype of what is built from it is plain to people and not to the compiler. */
  private get plain(): Tensor {
    return this
  }

  get size(): number {
    return numel(this.shape)
  }

  get rank(): number {
    return this.shape.length
  }

  toString(): string {
    return `Tensor ${this.dtype}${formatShape(this.shape)}${this.node.realized ? '' : ' (not computed yet)'}`
  }

  // ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The values in row-major order: Float32Array for floats, Int32Array, or Uint32Array (bool: 0 and 1). */
  async data(): Promise<HostData> {
    return (await getDevice()).read(this.node)
  }

  /** The value of a tensor of one element. @throws ShapeError otherwise */
  async item(): Promise<number> {
    if (this.size !== 1) throw new ShapeError(`item: needs one element, got ${formatShape(this.shape)}; use data()`)
    return (await this.data())[0]!
  }

  /** Nested arrays of the tensor's shape. */
  async tolist(): Promise<Nested> {
    const values = await this.data()
    let at = 0
    const build = (depth: number): Nested =>
      depth === this.rank ? values[at++]! : Array.from({ length: this.shape[depth]! }, () => build(depth + 1))
    return build(0)
  }

  /** Computes the value and keeps it in a buffer of its own. */
  async realize(): Promise<this> {
    await (await getDevice()).realize([this.node])
    return this
  }

  /** Frees the buffer of a computed tensor at once, rather than when nothing refers to it. */
  dispose(): void {
    ;(this.node.storage as Storage | undefined)?.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  // ── gradients ────────────────────────────────────────────────────────────────────────────────────────────────────

  requireGrad(): this {
    this.requiresGrad = true
    gradTargets.add(new WeakRef(this))
    return this
  }

  /** Adds d(this)/d(t) to `t.grad` for every parameter and `requireGrad()` tensor that this depends on. Records only. */
  backward(): void {
    const reached = reachableTargets(this.node)
    if (!reached.length)
      throw new Error(
        'backward: nothing that requires a gradient was used; call .requireGrad() on a tensor or use nn parameters',
      )
    const grads = gradNodes(
      this.node,
      reached.map((t) => t.node),
    )
    reached.forEach((t, i) => {
      const g = new Tensor(grads[i]!)
      t.grad = t.grad ? t.grad.add(g) : g
    })
  }

  /** The same value as a constant: no gradient flows, and no history is kept. */
  detach(): Tensor<D> {
    return new Tensor(b.detach(this.node))
  }

  // ── pointwise ────────────────────────────────────────────────────────────────────────────────────────────────────

  private operand(x: Operand): Node {
    if (x instanceof Tensor) return x.node
    const integral = Number.isInteger(x) && !isFloat(this.dtype) && this.dtype !== 'bool'
    return b.full([], x, isFloat(this.dtype) || integral ? this.dtype : 'f32')
  }

  private binary(op: BinaryOp, x: Operand): Tensor<any> {
    return new Tensor(b.binary(op, this.node, this.operand(x)))
  }

  private unary(op: UnaryOp): Tensor<any> {
    return new Tensor(b.unary(op, this.node))
  }

  add<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('add', x)
  }
  sub<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('sub', x)
  }
  mul<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('mul', x)
  }
  div<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('div', x)
  }
  /** Floored remainder: the sign of the divisor, as in Python. */
  mod<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('mod', x)
  }
  maximum<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('maximum', x)
  }
  minimum<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    return this.binary('minimum', x)
  }
  less(x: Operand): Tensor<'bool'> {
    return this.binary('less', x)
  }
  lessEqual(x: Operand): Tensor<'bool'> {
    return this.binary('lessEqual', x)
  }
  greater(x: Operand): Tensor<'bool'> {
    return this.binary('greater', x)
  }
  greaterEqual(x: Operand): Tensor<'bool'> {
    return this.binary('greaterEqual', x)
  }
  equal(x: Operand): Tensor<'bool'> {
    return this.binary('equal', x)
  }
  notEqual(x: Operand): Tensor<'bool'> {
    return this.binary('notEqual', x)
  }
  and(this: Tensor<'bool'>, x: Tensor<'bool'>): Tensor<'bool'> {
    return this.binary('logicalAnd', x)
  }
  or(this: Tensor<'bool'>, x: Tensor<'bool'>): Tensor<'bool'> {
    return this.binary('logicalOr', x)
  }
  not(this: Tensor<'bool'>): Tensor<'bool'> {
    return this.unary('logicalNot')
  }
  neg(): Tensor<D> {
    return this.unary('neg')
  }
  abs(): Tensor<D> {
    return this.unary('abs')
  }
  sign(): Tensor<D> {
    return this.unary('sign')
  }
  floor(): Tensor<D> {
    return this.unary('floor')
  }
  ceil(): Tensor<D> {
    return this.unary('ceil')
  }
  /** To nearest, halves to even. */
  round(): Tensor<D> {
    return this.unary('round')
  }
  exp(): Tensor<D> {
    return this.unary('exp')
  }
  log(): Tensor<D> {
    return this.unary('log')
  }
  sqrt(): Tensor<D> {
    return this.unary('sqrt')
  }
  rsqrt(): Tensor<D> {
    return this.unary('rsqrt')
  }
  reciprocal(): Tensor<D> {
    return this.unary('reciprocal')
  }
  sin(): Tensor<D> {
    return this.unary('sin')
  }
  cos(): Tensor<D> {
    return this.unary('cos')
  }
  tanh(): Tensor<D> {
    return this.unary('tanh')
  }
  erf(): Tensor<D> {
    return this.unary('erf')
  }
  sigmoid(): Tensor<D> {
    return this.unary('sigmoid')
  }
  softplus(): Tensor<D> {
    return this.unary('softplus')
  }
  isNan(): Tensor<'bool'> {
    return this.unary('isNan')
  }
  isFinite(): Tensor<'bool'> {
    return this.unary('isFinite')
  }
  square(): Tensor<D> {
    return this.plain.mul(this)
  }
  relu(): Tensor<D> {
    return this.plain.maximum(0)
  }
  silu(): Tensor<D> {
    return this.plain.mul(this.sigmoid())
  }
  /** Exact form: x·(1 + erf(x/√2))/2. */
  gelu(): Tensor<D> {
    return this.plain.mul(this.plain.mul(Math.SQRT1_2).erf().add(1).mul(0.5))
  }
  clamp(low: number, high: number): Tensor<D> {
    return this.plain.maximum(low).minimum(high)
  }

  /** this^x; small whole exponents become products, ±½ roots. */
  pow<X extends Operand>(x: X): Tensor<Combined<D, X>> {
    const base = this.plain
    if (x === 1) return base
    if (x === 2) return base.square()
    if (x === 3) return base.mul(base.square())
    if (x === 0.5) return base.sqrt()
    if (x === -0.5) return base.rsqrt()
    if (x === -1) return base.reciprocal()
    return this.binary('pow', x)
  }

  cast<E extends DType>(dtype: E): Tensor<E> {
    return new Tensor(b.cast(this.node, dtype))
  }

  // ── views ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** One entry may be −1. Moves no data. */
  reshape(shape: Shape): Tensor<D> {
    return new Tensor(b.reshape(this.node, shape))
  }

  flatten(from = 0): Tensor<D> {
    const at = this.rank ? normalizeAxis(from, this.rank, 'flatten') : 0
    return this.reshape([...this.shape.slice(0, at), numel(this.shape.slice(at))])
  }

  permute(axes: readonly number[]): Tensor<D> {
    return new Tensor(b.permute(this.node, axes))
  }

  /** Swaps two axes; the last two by default. */
  transpose(first = -2, second = -1): Tensor<D> {
    const axes = this.shape.map((_, i) => i)
    const [i, j] = [normalizeAxis(first, this.rank, 'transpose'), normalizeAxis(second, this.rank, 'transpose')]
    axes[i] = j
    axes[j] = i
    return this.permute(axes)
  }

  expand(shape: Shape): Tensor<D> {
    return new Tensor(b.expand(this.node, shape))
  }

  squeeze(axis: number): Tensor<D> {
    const at = normalizeAxis(axis, this.rank, 'squeeze')
    if (this.shape[at] !== 1) throw new ShapeError(`squeeze: axis ${axis} of ${formatShape(this.shape)} is not 1`)
    return this.reshape(this.shape.filter((_, i) => i !== at))
  }

  unsqueeze(axis: number): Tensor<D> {
    const at = normalizeAxis(axis, this.rank + 1, 'unsqueeze')
    return this.reshape([...this.shape.slice(0, at), 1, ...this.shape.slice(at)])
  }

  /** One [start, end] per leading axis; negative bounds count from the back, a missing end means to the end. */
  slice(ranges: readonly (readonly [number, number?] | null)[]): Tensor<D> {
    let x = this.node
    ranges.forEach((range, axis) => {
      if (range) x = b.narrow(x, axis, range[0], range[1])
    })
    return new Tensor(x)
  }

  /** Elements start … end−1 along `axis`. */
  narrow(axis: number, start: number, end?: number): Tensor<D> {
    const at = normalizeAxis(axis, this.rank, 'narrow')
    return new Tensor(b.narrow(this.node, at, start, end))
  }

  /** Entry `index` along `axis`; the axis is dropped. */
  select(axis: number, index: number): Tensor<D> {
    return new Tensor(b.select(this.node, axis, index))
  }

  /** Equal parts along `axis`, or parts of the given sizes. */
  split(parts: number | readonly number[], axis = 0): Tensor<D>[] {
    const at = normalizeAxis(axis, this.rank, 'split')
    const length = this.shape[at]!
    const sizes = typeof parts === 'number' ? new Array<number>(parts).fill(length / parts) : parts
    if (!sizes.every(Number.isInteger) || sizes.reduce((s, n) => s + n, 0) !== length)
      throw new ShapeError(`split: parts of ${sizes} do not make up axis ${axis} of ${formatShape(this.shape)}`)
    let start = 0
    return sizes.map((size) => {
      start += size
      return this.narrow(at, start - size, start)
    })
  }

  flip(axes?: Axes): Tensor<D> {
    return new Tensor(b.flip(this.node, axes))
  }

  /** Counts of new elements before and after each axis. */
  pad(widths: readonly (readonly [number, number])[], value = 0): Tensor<D> {
    return new Tensor(
      b.pad(
        this.node,
        widths.map((w) => w[0]),
        widths.map((w) => w[1]),
        value,
      ),
    )
  }

  /** Shifts along `axis`, what leaves at one end enters at the other. */
  roll(shift: number, axis = -1): Tensor<D> {
    const at = normalizeAxis(axis, this.rank, 'roll')
    const n = this.shape[at]!
    const k = n ? ((shift % n) + n) % n : 0
    return k === 0
      ? this
      : new Tensor(b.concat([b.narrow(this.node, at, n - k, n), b.narrow(this.node, at, 0, n - k)], at))
  }

  /** Same value in a buffer of its own: ends fusion here. */
  contiguous(): Tensor<D> {
    return new Tensor(b.record('contiguous', [this.node], {}))
  }

  // ── indices ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** out[…k…] = this[…index[…k…]…] along `axis`; index has this's rank, 1 on axes where the same indices serve. */
  gather(index: Tensor<IndexDType>, axis: number): Tensor<D> {
    return new Tensor(b.gather(this.node, index.node, axis))
  }

  /** Rows `index` (rank 1) along `axis`. */
  take(index: Tensor<IndexDType>, axis = 0): Tensor<D> {
    const at = normalizeAxis(axis, this.rank, 'take')
    return this.gather(index.reshape(this.shape.map((_, i) => (i === at ? index.size : 1))), at)
  }

  /** Inverse of gather: zeros of `size` along `axis`, to which these entries are added at `index`. */
  scatterAdd(index: Tensor<IndexDType>, axis: number, size: number): Tensor<D> {
    return new Tensor(b.scatterAdd(this.node, index.node, axis, size))
  }

  /** i32 or u32 → f32 [..., classes] of 0 and 1. */
  oneHot(this: Tensor<IndexDType>, classes: number): Tensor<'f32'> {
    const index = b.iota(classes, this.dtype)
    return new Tensor(b.cast(b.binary('equal', b.reshape(this.node, [...this.shape, 1]), index), 'f32'))
  }

  // ── reductions ───────────────────────────────────────────────────────────────────────────────────────────────────

  sum(axes?: Axes, keepDims = false): Tensor<D> {
    return new Tensor(b.reduce('sum', this.node, axes, keepDims))
  }
  prod(axes?: Axes, keepDims = false): Tensor<D> {
    return new Tensor(b.reduce('prod', this.node, axes, keepDims))
  }
  max(axes?: Axes, keepDims = false): Tensor<D> {
    return new Tensor(b.reduce('max', this.node, axes, keepDims))
  }
  min(axes?: Axes, keepDims = false): Tensor<D> {
    return new Tensor(b.reduce('min', this.node, axes, keepDims))
  }
  mean(axes?: Axes, keepDims = false): Tensor<Averaged<D>> {
    return new Tensor(b.mean(this.node, axes, keepDims))
  }

  /** `f` of this in f32: squares and their sums leave the range of half precision. Rounded after, unless autocast wants f32. */
  private inF32(f: (x: Tensor) => Tensor): Tensor {
    if (this.dtype !== 'f16') return f(this.plain)
    const result = f(new Tensor(b.cast(this.node, 'f32')))
    return castsToHalf() ? result : result.cast('f16')
  }

  /** Biased (divided by n) unless `correction` is 1. */
  variance(axes?: Axes, keepDims = false, correction = 0): Tensor<Averaged<D>> {
    return this.inF32((x) => {
      const total = x.sub(x.mean(axes, true)).square().sum(axes, keepDims)
      return total.div(this.size / total.size - correction)
    })
  }

  /** Euclidean norm. Its gradient at 0 is taken as 0. */
  norm(axes?: Axes, keepDims = false): Tensor<D> {
    return this.inF32((x) => {
      const squares = x.square().sum(axes, keepDims)
      const zero = squares.equal(0)
      return where(zero, 0, where(zero, 1, squares).sqrt())
    })
  }

  logsumexp(axes?: Axes, keepDims = false): Tensor<D> {
    const top = this.plain.max(axes, true).detach()
    const finite = where(top.isFinite(), top, 0)
    const total = this.plain.sub(finite).exp().sum(axes, true).log().add(finite)
    return keepDims ? total : total.reshape(this.sum(axes).shape)
  }

  /** Whether all (or any) along the axes are true. */
  all(this: Tensor<'bool'>, axes?: Axes, keepDims = false): Tensor<'bool'> {
    return this.cast('u32').min(axes, keepDims).cast('bool')
  }
  any(this: Tensor<'bool'>, axes?: Axes, keepDims = false): Tensor<'bool'> {
    return this.cast('u32').max(axes, keepDims).cast('bool')
  }

  /** Index of the first largest element; over several axes it counts row by row through them. */
  argmax(axes: Axes = -1): Tensor<'i32'> {
    return new Tensor(b.argmax(this.node, axes))
  }

  argmin(axes: Axes = -1): Tensor<'i32'> {
    // −1 − x turns the order of integers round without overflow, u32 included.
    return new Tensor(b.argmax(isFloat(this.dtype) ? b.neg(this.node) : b.sub(b.like(this.node, -1), this.node), axes))
  }

  /** Running sum; integers wrap. */
  cumsum(axis = -1): Tensor<D> {
    return new Tensor(b.cumsum(this.node, axis))
  }

  /** Stable order along the last axis; NaN last. */
  sort(descending = false): { values: Tensor<D>; indices: Tensor<'i32'> } {
    const [values, indices] = b.sort(this.node, descending)
    return { values: new Tensor(values), indices: new Tensor(indices) }
  }

  /** The k largest along the last axis, in order. */
  topk(k: number): { values: Tensor<D>; indices: Tensor<'i32'> } {
    const { values, indices } = this.sort(true)
    return { values: values.narrow(-1, 0, k), indices: indices.narrow(-1, 0, k) }
  }

  // ── linear algebra and layers ────────────────────────────────────────────────────────────────────────────────────

  /** Matrix product over the last two axes, batch axes broadcast. */
  matmul<E extends DType>(x: Tensor<E>): Tensor<Promote<D, E>> {
    return new Tensor(b.matmul(this.node, x.node))
  }

  /** thisᵗ of square matrices [..., n, n]; whole t ≥ 0. */
  matrixPower(t: number): Tensor<D> {
    return new Tensor(sugar.matrixPower(this.node, t))
  }

  /** Elements with equal indices on two axes, as a last axis in place of them. */
  diagonal(first = -2, second = -1): Tensor<D> {
    return new Tensor(sugar.diagonal(this.node, first, second))
  }

  /** Sum of the diagonal of the last two axes. */
  trace(): Tensor<D> {
    return this.diagonal().sum(-1)
  }

  softmax(axis = -1): Tensor<D> {
    return this.alongLast(axis, (x) => b.softmax(x))
  }
  logSoftmax(axis = -1): Tensor<D> {
    return this.alongLast(axis, (x) => b.softmax(x, true))
  }

  private alongLast(axis: number, f: (x: Node) => Node): Tensor<D> {
    const at = normalizeAxis(axis, this.rank, 'softmax')
    if (at === this.rank - 1) return new Tensor(f(this.node))
    return new Tensor(f(this.transpose(at, -1).node)).transpose(at, -1)
  }

  /** (x − mean)/√(var + ε)·weight + bias over the last axis, biased variance. */
  layerNorm(weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor<D> {
    return new Tensor(b.layerNorm(this.node, weight.node, bias.node, epsilon))
  }

  /** x/√(mean(x²) + ε)·weight over the last axis. */
  rmsNorm(weight: Tensor, epsilon = 1e-6): Tensor<D> {
    return this.inF32((x) => x.mul(x.square().mean(-1, true).add(epsilon).rsqrt())).mul(weight)
  }

  /**
   * This as queries: softmax(q kᵀ·scale + bias) v over [batch…, length, heads, d]; a query whose keys are all masked gives zeros.
   * Heads of up to 128 need no memory for the scores; wider ones keep all of them.
   */
  attention(k: Tensor, v: Tensor, options: AttendOptions = {}): Tensor<D> {
    const { scale, causal, bias, keyMask } = options
    return new Tensor(
      attention(this.node, k.node, v.node, {
        ...(scale === undefined ? {} : { scale }),
        ...(causal === undefined ? {} : { causal }),
        bias: bias?.node,
        keyMask: keyMask?.node,
      }),
    )
  }

  /** Mean over the batch of −log softmax(this)[label]; this [B, classes], labels i32 or u32 [B]. */
  crossEntropy(labels: Tensor<IndexDType>): Tensor<D> {
    return this.plain
      .logSoftmax()
      .mul(labels.oneHot(this.shape.at(-1)!))
      .sum(-1)
      .mean()
      .neg()
  }

  /** x [N, C, H, W] with weight [O, C/groups, KH, KW]. */
  conv2d(weight: Tensor, options: ConvOptions = {}): Tensor<D> {
    const { padding = 0 } = options
    const attrs: Conv2dAttrs = {
      stride: pair(options.stride ?? 1),
      padding: typeof padding === 'number' ? [padding, padding, padding, padding] : padding,
      dilation: pair(options.dilation ?? 1),
      groups: options.groups ?? 1,
    }
    return new Tensor(b.conv2d(this.node, weight.node, options.bias?.node, attrs))
  }

  /**
   * Windows of `size` elements along `axis`, a new one every `stride`: [… d …] → [… count …, size]. A view: nothing is copied,
   * matrix products read it in place. Its gradient adds the windows back.
   */
  windows(axis: number, size: number, stride = 1, dilation = 1): Tensor<D> {
    const at = normalizeAxis(axis, this.rank, 'windows')
    return new Tensor(b.windows(this.node, { axes: [at], sizes: [size], strides: [stride], dilations: [dilation] }))
  }

  private pool2d(mode: 'max' | 'mean', size: number | readonly [number, number], o: PoolOptions, counted: boolean) {
    const attrs = {
      size: pair(size),
      stride: pair(o.stride ?? size),
      padding: pair(o.padding ?? 0),
      dilation: pair(o.dilation ?? 1),
    }
    return new Tensor<any>(sugar.pool2d(this.node, mode, attrs, counted))
  }

  /** Largest element of every window of [..., H, W]. Ties share the gradient. */
  maxPool2d(size: number | readonly [number, number], options: PoolOptions = {}): Tensor<D> {
    return this.pool2d('max', size, options, true)
  }

  /** Mean of every window of [..., H, W]; zeros of the padding count unless `countPadding` is false. */
  meanPool2d(
    size: number | readonly [number, number],
    options: PoolOptions & { countPadding?: boolean } = {},
  ): Tensor<Averaged<D>> {
    return this.pool2d('mean', size, options, options.countPadding ?? true)
  }

  /** Symmetric eigendecomposition of [..., n, n]: values ascending, vectors in columns, info = (sweeps, residual). */
  eigh(): { values: Tensor; vectors: Tensor; info: Tensor } {
    const node = b.record('eigh', [b.cast(this.node, 'f32')], {})
    return { values: new Tensor(node), vectors: new Tensor(b.pick(node, 1)), info: new Tensor(b.pick(node, 2)) }
  }

  /** u·v / max(‖u‖‖v‖, ε) along `axis`. */
  cosineSimilarity<E extends DType>(x: Tensor<E>, axis = -1, epsilon = 1e-8): Tensor<Promote<D, E>> {
    return this.inF32((own) =>
      own
        .mul(x)
        .sum(axis)
        .div(own.norm(axis).mul(x.norm(axis)).maximum(epsilon)),
    )
  }
}

/** Elements of `a` where the condition holds, of `b` elsewhere. */
export function where<A extends Operand, B extends Operand>(
  condition: Tensor<'bool'>,
  a: A,
  other: B,
): Tensor<A extends Tensor<infer D> ? Combined<D, B> : B extends Tensor<infer D> ? D : 'f32'> {
  const dtype = a instanceof Tensor ? a.dtype : other instanceof Tensor ? other.dtype : 'f32'
  const node = (x: Operand) => (x instanceof Tensor ? x.node : b.full([], x, dtype))
  return new Tensor(b.where(condition.node, node(a), node(other)))
}

const gradTargets = new Set<WeakRef<Tensor>>()

/** Live tensors that want gradients and that `root` was computed from. */
function reachableTargets(root: Node): Tensor[] {
  const seen = new Set<Node>([root])
  const stack = [root]
  while (stack.length)
    for (const x of stack.pop()!.inputs)
      if (!seen.has(x)) {
        seen.add(x)
        stack.push(x)
      }
  const out: Tensor[] = []
  for (const ref of gradTargets) {
    const tensor = ref.deref()
    if (!tensor) gradTargets.delete(ref)
    else if (seen.has(tensor.node)) out.push(tensor)
  }
  return out
}
