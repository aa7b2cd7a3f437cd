/** Plain-loop float64 arithmetic behind the interface that UltraFace asks for: the oracle's oracle, slow but plain. */
import type { ConvEngine, ConvTensor } from '../../train/faces/index.ts'

export class PlainTensor implements ConvTensor<PlainTensor> {
  constructor(
    readonly data: Float64Array,
    readonly shape: readonly number[],
  ) {
    const size = shape.reduce((a, b) => a * b, 1)
    if (data.length !== size) throw new Error(`PlainTensor: ${data.length} values for [${shape}]`)
  }

  conv2d(
    weight: PlainTensor,
    { bias, stride = 1, padding = 0, dilation = 1, groups = 1 }: Parameters<ConvTensor<PlainTensor>['conv2d']>[1],
  ): PlainTensor {
    const [n, c, h, w] = this.shape
    const [o, perGroup, kh, kw] = weight.shape
    if (perGroup * groups !== c) throw new Error(`conv2d: [${this.shape}] does not fit [${weight.shape}] × ${groups}`)
    const oh = Math.floor((h + 2 * padding - dilation * (kh - 1) - 1) / stride) + 1
    const ow = Math.floor((w + 2 * padding - dilation * (kw - 1) - 1) / stride) + 1
    const out = new Float64Array(n * o * oh * ow)
    for (let image = 0; image < n; image++)
      for (let output = 0; output < o; output++) {
        const plane = out.subarray((image * o + output) * oh * ow, (image * o + output + 1) * oh * ow)
        if (bias) plane.fill(bias.data[output])
        const firstInput = Math.floor(output / (o / groups)) * perGroup
        for (let input = 0; input < perGroup; input++)
          for (let ky = 0; ky < kh; ky++)
            for (let kx = 0; kx < kw; kx++) {
              const factor = weight.data[((output * perGroup + input) * kh + ky) * kw + kx]
              const source = (image * c + firstInput + input) * h * w
              for (let y = 0; y < oh; y++) {
                const sy = y * stride + ky * dilation - padding
                if (sy < 0 || sy >= h) continue
                for (let x = 0; x < ow; x++) {
                  const sx = x * stride + kx * dilation - padding
                  if (sx >= 0 && sx < w) plane[y * ow + x] += factor * this.data[source + sy * w + sx]
                }
              }
            }
      }
    return new PlainTensor(out, [n, o, oh, ow])
  }

  relu(): PlainTensor {
    return new PlainTensor(
      this.data.map((x) => Math.max(x, 0)),
      this.shape,
    )
  }

  add(other: PlainTensor): PlainTensor {
    if (other.shape.join() !== this.shape.join()) throw new Error(`add: [${this.shape}] and [${other.shape}]`)
    return new PlainTensor(
      this.data.map((x, i) => x + other.data[i]),
      this.shape,
    )
  }

  reshape(shape: number[]): PlainTensor {
    return new PlainTensor(this.data, shape)
  }

  permute(axes: number[]): PlainTensor {
    const strides = this.shape.map((_, axis) => this.shape.slice(axis + 1).reduce((a, b) => a * b, 1))
    const shape = axes.map((axis) => this.shape[axis])
    const out = new Float64Array(this.data.length)
    const index = axes.map(() => 0)
    for (let i = 0; i < out.length; i++) {
      out[i] = this.data[index.reduce((offset, position, axis) => offset + position * strides[axes[axis]], 0)]
      for (let axis = index.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0
    }
    return new PlainTensor(out, shape)
  }

  softmax(axis: number): PlainTensor {
    if (axis !== -1) throw new Error('softmax: the last axis only')
    const length = this.shape.at(-1)!
    const out = new Float64Array(this.data.length)
    for (let start = 0; start < out.length; start += length) {
      const row = this.data.subarray(start, start + length)
      const exponentials = row.map((x) => Math.exp(x - Math.max(...row)))
      const sum = exponentials.reduce((a, b) => a + b, 0)
      out.set(
        exponentials.map((x) => x / sum),
        start,
      )
    }
    return new PlainTensor(out, this.shape)
  }
}

export const plainEngine: ConvEngine<PlainTensor> = {
  tensor: (data, shape) => new PlainTensor(Float64Array.from(data), shape),
  concat: (tensors, axis) => {
    const outer = tensors[0].shape.slice(0, axis).reduce((a, b) => a * b, 1)
    const pieces: number[] = []
    for (let i = 0; i < outer; i++)
      for (const { data } of tensors) {
        const run = data.length / outer
        for (let j = i * run; j < (i + 1) * run; j++) pieces.push(data[j])
      }
    const shape = [...tensors[0].shape]
    shape[axis] = tensors.reduce((sum, tensor) => sum + tensor.shape[axis], 0)
    return new PlainTensor(Float64Array.from(pieces), shape)
  },
  read: async (tensors) => tensors.map(({ data }) => Float32Array.from(data)),
}
