/** Affine warp and its gradients in float64, plain loops. */
import type { AffineWarpProblem } from './affine.ts'

/** Source point (sx, sy) of output pixel (i, j) under matrix `n`. */
export function warpSource(p: AffineWarpProblem, matrix: ArrayLike<number>, n: number, i: number, j: number) {
  const [u, v] = [(2 * j + 1) / p.ow - 1, (2 * i + 1) / p.oh - 1]
  const row = (r: number) => matrix[n * 6 + r * 3]! * u + matrix[n * 6 + r * 3 + 1]! * v + matrix[n * 6 + r * 3 + 2]!
  return [((row(0) + 1) * p.w - 1) / 2, ((row(1) + 1) * p.h - 1) / 2] as const
}

/** Calls `visit` with every pixel that takes part in an output: indices into x and y, its weight and the weight's slopes. */
function taps(
  p: AffineWarpProblem,
  matrix: ArrayLike<number>,
  visit: (x: number, y: number, weight: number, slopes: readonly [number, number], pixel: number) => void,
): void {
  for (let n = 0; n < p.n; n++)
    for (let i = 0; i < p.oh; i++)
      for (let j = 0; j < p.ow; j++) {
        const [sx, sy] = warpSource(p, matrix, n, i, j)
        for (const row of [Math.floor(sy), Math.floor(sy) + 1])
          for (const column of [Math.floor(sx), Math.floor(sx) + 1]) {
            if (row < 0 || row >= p.h || column < 0 || column >= p.w) continue
            const [wx, wy] = [1 - Math.abs(sx - column), 1 - Math.abs(sy - row)]
            const [dx, dy] = [column > sx ? 1 : -1, row > sy ? 1 : -1]
            for (let c = 0; c < p.c; c++)
              visit(
                ((n * p.c + c) * p.h + row) * p.w + column,
                ((n * p.c + c) * p.oh + i) * p.ow + j,
                wx * wy,
                [dx * wy, wx * dy],
                (n * p.oh + i) * p.ow + j,
              )
          }
      }
}

/** y [N, C, OH, OW] */
export function affineWarpReference(
  p: AffineWarpProblem,
  x: ArrayLike<number>,
  matrix: ArrayLike<number>,
): Float64Array {
  const y = new Float64Array(p.n * p.c * p.oh * p.ow)
  taps(p, matrix, (from, to, weight) => {
    y[to]! += weight * x[from]!
  })
  return y
}

/** dx [N, C, H, W] and the gradient of the source points, [N, OH, OW, 2]. */
export function affineWarpGradientReference(
  p: AffineWarpProblem,
  x: ArrayLike<number>,
  matrix: ArrayLike<number>,
  dy: ArrayLike<number>,
): { dx: Float64Array; dp: Float64Array } {
  const dx = new Float64Array(p.n * p.c * p.h * p.w)
  const dp = new Float64Array(p.n * p.oh * p.ow * 2)
  taps(p, matrix, (from, to, weight, [sx, sy], pixel) => {
    dx[from]! += weight * dy[to]!
    dp[2 * pixel]! += sx * x[from]! * dy[to]!
    dp[2 * pixel + 1]! += sy * x[from]! * dy[to]!
  })
  return { dx, dp }
}
