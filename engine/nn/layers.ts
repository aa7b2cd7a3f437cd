/** Layers as plain objects: fields are parameters, `call` is the forward pass. */
import { HostRandom } from '../random.ts'
import { numel, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { Parameter } from './parameter.ts'

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
  readonly bias: Parameter

  constructor(inputs: number, outputs: number) {
    this.weight = truncatedNormal([outputs, inputs])
    this.bias = filled([outputs], 0)
  }

  /** [..., in] → [..., out] */
  call(x: Tensor): Tensor {
    const y = x.matmul(this.weight.transpose())
    // In the product's dtype. Expanded first: the bias's gradient is summed in f32.
    return y.add(y.dtype === 'f16' ? this.bias.expand(y.shape).cast('f16') : this.bias)
  }
}

/** LayerNorm over the last axis, biased variance. */
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

  call(x: Tensor): Tensor {
    return x.layerNorm(this.weight, this.bias, this.epsilon)
  }
}

export const linear = (inputs: number, outputs: number): Linear => new Linear(inputs, outputs)
export const layerNorm = (width: number, epsilon?: number): LayerNorm => new LayerNorm(width, epsilon)
