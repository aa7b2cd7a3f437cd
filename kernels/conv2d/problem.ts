/** The convolution problem: sizes, options, validation and cost. */
import type { Cost } from '../kernel.ts'
import { type FloatType, floatBytes } from '../storage.ts'

/** Arrays of a convolution and its gradients, as their bindings are named. */
export type ConvArray = 'x' | 'w' | 'bias' | 'y' | 'dx' | 'dw' | 'dy'

export interface Conv2dProblem {
  /** Images. */
  readonly n: number
  /** Input channels. */
  readonly c: number
  /** Input height. */
  readonly h: number
  /** Input width. */
  readonly w: number
  /** Output channels. */
  readonly o: number
  /** Kernel height. */
  readonly kh: number
  /** Kernel width. */
  readonly kw: number
  /** Default [1, 1]. */
  readonly stride?: readonly [vertical: number, horizontal: number]
  /** Default [1, 1]. */
  readonly dilation?: readonly [vertical: number, horizontal: number]
  /** Zeros around the input. Default none. */
  readonly padding?: readonly [top: number, left: number, bottom: number, right: number]
  /** Default 1; `inChannels` for depthwise. */
  readonly groups?: number
  /** A bias [outChannels] is added. Default false. */
  readonly bias?: boolean
  /** Applied after the bias. Default 'none'. Gradient kernels ignore it. */
  readonly activation?: 'none' | 'relu'
  /** Element types in memory; default f32. Sums are f32. */
  readonly types?: Partial<Record<ConvArray, FloatType>>
}

/** The problem with its defaults and derived sizes. */
export interface Conv2dShape extends Omit<Required<Conv2dProblem>, 'n' | 'c' | 'h' | 'w' | 'o' | 'kh' | 'kw'> {
  readonly batch: number
  readonly inChannels: number
  readonly outChannels: number
  readonly height: number
  readonly width: number
  readonly kernel: readonly [height: number, width: number]
  readonly inPerGroup: number
  readonly outPerGroup: number
  readonly outHeight: number
  readonly outWidth: number
}

/** @throws RangeError naming the argument when sizes are not positive integers, do not divide, or leave no output. */
export function conv2dShape(problem: Conv2dProblem): Conv2dShape {
  const { n, c, h, w, o, kh, kw, ...options } = problem
  const full: Omit<Conv2dShape, 'inPerGroup' | 'outPerGroup' | 'outHeight' | 'outWidth'> = {
    batch: n,
    inChannels: c,
    outChannels: o,
    height: h,
    width: w,
    kernel: [kh, kw],
    stride: options.stride ?? [1, 1],
    dilation: options.dilation ?? [1, 1],
    padding: options.padding ?? [0, 0, 0, 0],
    groups: options.groups ?? 1,
    bias: options.bias ?? false,
    activation: options.activation ?? 'none',
    types: options.types ?? {},
  }
  const { batch, inChannels, outChannels, height, width, kernel, stride, dilation, padding, groups } = full
  const positive = { batch, inChannels, outChannels, height, width, groups, kernel, stride, dilation }
  for (const [name, value] of Object.entries(positive))
    for (const size of [value].flat())
      if (!Number.isInteger(size) || size < 1) throw new RangeError(`conv2d: ${name} must be positive, got ${value}`)
  if (padding.some((p) => !Number.isInteger(p) || p < 0))
    throw new RangeError(`conv2d: padding must be ≥ 0, got ${padding}`)
  if (inChannels % groups || outChannels % groups)
    throw new RangeError(`conv2d: groups ${groups} must divide inChannels ${inChannels} and outChannels ${outChannels}`)
  const outHeight = Math.floor((height + padding[0] + padding[2] - dilation[0] * (kernel[0] - 1) - 1) / stride[0]) + 1
  const outWidth = Math.floor((width + padding[1] + padding[3] - dilation[1] * (kernel[1] - 1) - 1) / stride[1]) + 1
  if (outHeight < 1 || outWidth < 1)
    throw new RangeError(`conv2d: kernel ${kernel} (dilation ${dilation}) exceeds the padded input ${height}×${width}`)
  return { ...full, inPerGroup: inChannels / groups, outPerGroup: outChannels / groups, outHeight, outWidth }
}

/** Cost of the forward pass, or of a gradient: each of its three arrays once, by name. */
export function conv2dCost(s: Conv2dShape, output: 'y' | 'dx' | 'dw' = 'y'): Cost {
  const outputs = s.batch * s.outChannels * s.outHeight * s.outWidth
  const weights = s.outChannels * s.inPerGroup * s.kernel[0] * s.kernel[1]
  const inputs = s.batch * s.inChannels * s.height * s.width
  const bytes = (name: ConvArray): number => floatBytes(s.types[name] ?? 'f32')
  const [x, w, y] = { y: ['x', 'w', 'y'], dx: ['dx', 'w', 'dy'], dw: ['x', 'dw', 'dy'] }[output] as ConvArray[] as [
    ConvArray,
    ConvArray,
    ConvArray,
  ]
  return {
    flops: 2 * outputs * s.inPerGroup * s.kernel[0] * s.kernel[1],
    bytes: outputs * bytes(y) + weights * bytes(w) + inputs * bytes(x),
  }
}
