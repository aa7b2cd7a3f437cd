/** Pictures sampled at other points: resizing and the affine warp. */
import { autocast } from './autocast.ts'
import { tensor } from './create.ts'
import * as b from './ops/build.ts'
import { formatShape, ShapeError } from './shape.ts'
import { Tensor } from './tensor.ts'

export type ResizeMode = 'nearest' | 'bilinear' | 'bicubic'

/** Keys' cubic with a = −¾, as PyTorch has it. */
const cubic = (t: number): number => {
  const a = -0.75
  const d = Math.abs(t)
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0
}

/** [to, from]: row i holds the weights of the samples that make up output i (pixel centres at ½, edges repeated). */
export function resizeMatrix(from: number, to: number, mode: ResizeMode): Float32Array {
  const matrix = new Float32Array(to * from)
  const put = (row: number, column: number, weight: number) => {
    matrix[row * from + Math.min(Math.max(column, 0), from - 1)]! += weight
  }
  for (let i = 0; i < to; i++) {
    const centre = ((i + 0.5) * from) / to - 0.5
    if (mode === 'nearest') {
      put(i, Math.floor((i * from) / to), 1)
      continue
    }
    const base = Math.floor(centre)
    const t = centre - base
    if (mode === 'bilinear') {
      put(i, base, 1 - t)
      put(i, base + 1, t)
    } else for (let k = -1; k <= 2; k++) put(i, base + k, cubic(t - k))
  }
  return matrix
}

/**
 * x [..., H, W] to [..., height, width], corners not aligned, no antialiasing: one matrix product an axis. Axes that keep their
 * size are left alone.
 */
export function resize(x: Tensor, height: number, width: number, mode: ResizeMode = 'bilinear'): Tensor {
  if (x.rank < 2) throw new ShapeError(`resize: needs [..., H, W], got ${formatShape(x.shape)}`)
  const [h, w] = [x.shape.at(-2)!, x.shape.at(-1)!]
  if (height < 1 || width < 1 || h < 1 || w < 1)
    throw new ShapeError(`resize: ${formatShape([h, w])} to ${formatShape([height, width])}: sizes must be at least 1`)
  return autocast('f32', () => {
    const along = w === width ? x : x.matmul(tensor(resizeMatrix(w, width, mode), [width, w]).transpose())
    return h === height ? along : tensor(resizeMatrix(h, height, mode), [height, h]).matmul(along)
  })
}

/**
 * x [N, C, H, W] (f32) sampled bilinearly at the points to which `matrix` sends the pixels of the result [N, C, height, width]: (u, v, 1),
 * ±1 at the edges of the picture, to (s, t), ±1 at the edges of x; outside x is 0. `matrix` is [N, 2, 3], or [2, 3] for all. The
 * identity [[1, 0, 0], [0, 1, 0]] resizes; PyTorch's `affine_grid` and `grid_sample` with `align_corners` off. Gradients for x
 * and for the matrix, which jumps where a source point passes a pixel's centre.
 */
export function affineWarp(
  x: Tensor,
  matrix: Tensor,
  height: number = x.shape.at(-2) ?? 0,
  width: number = x.shape.at(-1) ?? 0,
): Tensor<'f32'> {
  const each = matrix.rank === 2 && x.rank === 4 ? matrix.expand([x.shape[0]!, ...matrix.shape]) : matrix
  return new Tensor(b.record('affineWarp', [x.node, each.node], { height, width }))
}
