/**
 * Layers as plain objects: fields are parameters, `call` is the forward pass. Names of fields are those of PyTorch's layers, so that
 * checkpoints fit.
 */
import type { IndexDType } from '../dtype.ts'
import { Generator, HostRandom } from '../random.ts'
import { numel, type Shape, ShapeError } from '../shape.ts'
import type { ConvOptions, Tensor } from '../tensor.ts'
import { type Module, Parameter } from './parameter.ts'

let initRandom = new HostRandom(0)

let initStd = 0.02

/** Seeds the initial values of layers made from here on, and sets the std of their weights. */
export function seedInit(seed: number, std = 0.02): void {
  initRandom = new HostRandom(seed)
  initStd = std
}

/** Normal of the given std, cut at ±2 std. */
export const truncatedNormal = (shape: Shape, std = initStd): Parameter =>
  new Parameter(
    // With std 0 there is nothing to draw.
    std === 0
      ? new Float32Array(numel(shape))
      : Float32Array.from({ length: numel(shape) }, () => initRandom.truncatedNormal() * std),
    shape,
  )

export const filled = (shape: Shape, value: number): Parameter =>
  new Parameter(new Float32Array(numel(shape)).fill(value), shape)

/** y = x Wᵀ + b; weight [out, in], bias [out]. */
export class Linear {
  readonly weight: Parameter
  readonly bias: Parameter | undefined

  constructor(inputs: number, outputs: number, options: { bias?: boolean } = {}) {
    this.weight = truncatedNormal([outputs, inputs])
    this.bias = options.bias === false ? undefined : filled([outputs], 0)
  }

  /** [..., in] → [..., out] */
  call(x: Tensor): Tensor {
    const y = x.matmul(this.weight.transpose())
    if (!this.bias) return y
    // In the product's dtype. Expanded first: the bias's gradient is summed in f32.
    return y.add(y.dtype === 'f16' ? this.bias.expand(y.shape).cast('f16') : this.bias)
  }
}

/** LayerNorm over the last axis, biased variance; weight and bias [width]. */
export class LayerNorm {
  readonly weight: Parameter
  readonly bias: Parameter

  constructor(
    width: number,
    private readonly epsilon = 1e-6,
  ) {
    this.weight = filled([width], 1)
    this.bias = filled([width], 0)
  }

  /** [..., width] → the same */
  call(x: Tensor): Tensor {
    return x.layerNorm(this.weight, this.bias, this.epsilon)
  }
}

/** x/√(mean(x²) + ε)·weight over the last axis (Zhang and Sennrich 2019); weight [width]. */
export class RMSNorm {
  readonly weight: Parameter

  constructor(
    width: number,
    private readonly epsilon = 1e-6,
  ) {
    this.weight = filled([width], 1)
  }

  /** [..., width] → the same */
  call(x: Tensor): Tensor {
    return x.rmsNorm(this.weight, this.epsilon)
  }
}

/** Rows of a table by index; weight [count, width]. */
export class Embedding {
  readonly weight: Parameter

  constructor(count: number, width: number) {
    this.weight = truncatedNormal([count, width])
  }

  /** Indices [...] → [..., width]; indices must lie within the table. */
  call(index: Tensor<IndexDType>): Tensor {
    return this.weight.take(index.reshape([index.size])).reshape([...index.shape, this.weight.shape[1]!])
  }
}

/** Convolution of [N, C, H, W]; weight [out, in/groups, KH, KW], bias [out]. Weights start as He et al. 2015 have them. */
export class Conv2d {
  readonly weight: Parameter
  readonly bias: Parameter | undefined
  private readonly options: ConvOptions

  constructor(
    inputs: number,
    outputs: number,
    size: number | readonly [number, number],
    options: Omit<ConvOptions, 'bias'> & { bias?: boolean } = {},
  ) {
    const { bias = true, ...rest } = options
    const { groups = 1 } = rest
    if (inputs % groups || outputs % groups)
      throw new ShapeError(`Conv2d: ${groups} groups do not divide ${inputs} input and ${outputs} output channels`)
    const [kh, kw] = typeof size === 'number' ? [size, size] : size
    const fan = (inputs / groups) * kh * kw
    this.weight = truncatedNormal([outputs, inputs / groups, kh, kw], Math.sqrt(2 / fan))
    this.bias = bias ? filled([outputs], 0) : undefined
    this.options = rest
  }

  call(x: Tensor): Tensor {
    return x.conv2d(this.weight, this.bias ? { ...this.options, bias: this.bias } : this.options)
  }
}

/** In training, zeroes elements with probability p and scales the rest by 1/(1−p); else passes on. See `train` and `evaluate`. */
export class Dropout {
  training = true
  private readonly random: Generator

  /** Without a generator of one's own, the seed follows `seedInit`. */
  constructor(
    readonly p = 0.5,
    random?: Generator,
  ) {
    if (!(p >= 0 && p < 1)) throw new RangeError(`Dropout: p must be in [0, 1), got ${p}`)
    this.random = random ?? new Generator(Math.floor(initRandom.uniform() * 2 ** 24))
  }

  call(x: Tensor): Tensor {
    return this.training ? this.random.dropout(x, this.p) : x
  }
}

/** What a `Sequential` is made of: layers, and functions such as `(x) => x.gelu()`. */
export type SequentialPart = { call(x: Tensor): Tensor } | ((x: Tensor) => Tensor)

/** One layer after another; parameters are named by position, `0.weight`. */
export class Sequential {
  readonly [index: number]: SequentialPart

  constructor(...parts: SequentialPart[]) {
    Object.assign(this, parts)
  }

  call(x: Tensor): Tensor {
    return Object.values(this).reduce((y: Tensor, part: SequentialPart) => {
      return typeof part === 'function' ? part(y) : part.call(y)
    }, x)
  }
}

/** Switches `training` of every layer in a module that has it, as Dropout does. */
function setTraining(module: Module, on: boolean, seen = new Set<object>()): void {
  if (seen.has(module) || module instanceof Parameter || ArrayBuffer.isView(module)) return
  seen.add(module)
  if ('training' in module && typeof module.training === 'boolean') module.training = on
  const values = module instanceof Map ? module.values() : Object.values(module)
  for (const value of values) if (value && typeof value === 'object') setTraining(value, on, seen)
}

/** Makes a module behave as in training: dropout drops. */
export const train = (module: Module): void => setTraining(module, true)
/** Makes a module behave as in use: dropout passes everything on. */
export const evaluate = (module: Module): void => setTraining(module, false)

export const linear = (inputs: number, outputs: number, options?: { bias?: boolean }): Linear =>
  new Linear(inputs, outputs, options)
export const layerNorm = (width: number, epsilon?: number): LayerNorm => new LayerNorm(width, epsilon)
export const rmsNorm = (width: number, epsilon?: number): RMSNorm => new RMSNorm(width, epsilon)
export const embedding = (count: number, width: number): Embedding => new Embedding(count, width)
export const conv2d = (...args: ConstructorParameters<typeof Conv2d>): Conv2d => new Conv2d(...args)
export const dropout = (p?: number, random?: Generator): Dropout => new Dropout(p, random)
export const sequential = (...parts: SequentialPart[]): Sequential => new Sequential(...parts)
