/** Convolution and its gradients in float64, plain loops. */
import { type Conv2dProblem, type Conv2dShape, conv2dShape } from './problem.ts'

/** Calls `visit` with the flat indices into y, x and w of every product of the convolution. */
function eachProduct(s: Conv2dShape, visit: (y: number, x: number, w: number) => void): void {
  const { kernel, stride, dilation, padding, inPerGroup, outPerGroup } = s
  for (let n = 0; n < s.batch; n++)
    for (let o = 0; o < s.outChannels; o++)
      for (let r = 0; r < s.outHeight; r++)
        for (let c = 0; c < s.outWidth; c++)
          for (let i = 0; i < inPerGroup; i++)
            for (let kh = 0; kh < kernel[0]; kh++)
              for (let kw = 0; kw < kernel[1]; kw++) {
                const row = r * stride[0] + kh * dilation[0] - padding[0]
                const column = c * stride[1] + kw * dilation[1] - padding[1]
                if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue
                const channel = n * s.inChannels + Math.floor(o / outPerGroup) * inPerGroup + i
                visit(
                  ((n * s.outChannels + o) * s.outHeight + r) * s.outWidth + c,
                  (channel * s.height + row) * s.width + column,
                  ((o * inPerGroup + i) * kernel[0] + kh) * kernel[1] + kw,
                )
              }
}

/** y [N, O, OH, OW]. */
export function conv2dReference(
  problem: Conv2dProblem,
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  bias?: ArrayLike<number>,
): Float64Array {
  const s = conv2dShape(problem)
  const plane = s.outHeight * s.outWidth
  const y = new Float64Array(s.batch * s.outChannels * plane)
  if (s.bias) for (let i = 0; i < y.length; i++) y[i] = bias![Math.floor(i / plane) % s.outChannels]!
  eachProduct(s, (iy, ix, iw) => {
    y[iy]! += x[ix]! * w[iw]!
  })
  return s.activation === 'relu' ? y.map((v) => Math.max(v, 0)) : y
}

/** dx [N, C, H, W]. */
export function conv2dBackwardInputReference(
  problem: Conv2dProblem,
  dy: ArrayLike<number>,
  w: ArrayLike<number>,
): Float64Array {
  const s = conv2dShape(problem)
  const dx = new Float64Array(s.batch * s.inChannels * s.height * s.width)
  eachProduct(s, (iy, ix, iw) => {
    dx[ix]! += dy[iy]! * w[iw]!
  })
  return dx
}

/** dw [O, C/groups, KH, KW]. */
export function conv2dBackwardWeightReference(
  problem: Conv2dProblem,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
): Float64Array {
  const s = conv2dShape(problem)
  const dw = new Float64Array(s.outChannels * s.inPerGroup * s.kernel[0] * s.kernel[1])
  eachProduct(s, (iy, ix, iw) => {
    dw[iw]! += dy[iy]! * x[ix]!
  })
  return dw
}
