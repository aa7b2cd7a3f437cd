/**
 * Affine warp and its gradients against float64: images of any size, maps that turn, shear, magnify, mirror, leave the image or fold it
 * onto a line.
 *
 * f32: a source point is a sum of three products, off by up to 2⁻²² of the largest, which is the image's longer side times what the map
 * scales by, and so are the weights: values and dx are held to that of the norm of what is expected, at least 1e-6. The gradient of a source point jumps where it crosses a
 * pixel's centre: points nearer to one than they may be off are left out.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import {
  type AffineWarpProblem,
  affineWarpGradInputProgram,
  affineWarpGradPositionProgram,
  affineWarpProgram,
} from '../../kernels/warp/affine.ts'
import { affineWarpGradientReference, affineWarpReference, warpSource } from '../../kernels/warp/reference.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/warp')
const { device, capabilities } = await openBareDevice()
const blank = (count: number): Float32Array => new Float32Array(count).fill(Number.NaN)

const maps: Record<string, readonly number[]> = {
  turned: [0.74, -0.6, 0.04, 0.57, 0.76, -0.03],
  mirrored: [-0.79, 0.14, 0.1, 0.08, 0.93, 0.19],
  magnified: [0.237, 0.011, 0.31, -0.013, 0.193, -0.27],
  'made small': [3.17, 0.21, 0.03, -0.33, 2.71, 0.07],
  'aside, half of it outside': [0.93, 0.07, 0.81, 0.03, 1.07, -0.77],
  'far away': [1, 0.1, 1e6, 0.1, 1, -1e9],
}
/** No inverse: a line, and a point. */
const singular: Record<string, readonly number[]> = {
  'onto a line': [0.4, 0.4, 0.03, 0.4, 0.4, 0.17],
  'onto a point': [0, 0, 0.123, 0, 0, -0.237],
}

const sizes: AffineWarpProblem[] = [
  { n: 1, c: 1, h: 1, w: 1, oh: 1, ow: 1 },
  { n: 1, c: 1, h: 1, w: 7, oh: 5, ow: 1 },
  { n: 2, c: 3, h: 5, w: 7, oh: 11, ow: 13 },
  { n: 2, c: 1, h: 8, w: 8, oh: 8, ow: 8 },
  { n: 3, c: 2, h: 13, w: 9, oh: 3, ow: 2 },
  { n: 1, c: 5, h: 31, w: 37, oh: 17, ow: 19 },
  { n: 1, c: 1, h: 2, w: 2053, oh: 3, ow: 1031 },
]

async function check(p: AffineWarpProblem, matrix: readonly number[], name: string): Promise<void> {
  const matrices = Float32Array.from({ length: 6 * p.n }, (_, i) => matrix[i % 6]! * (1 + 0.07 * Math.floor(i / 6)))
  const x = randomArray(p.n * p.c * p.h * p.w, 1)
  const dy = randomArray(p.n * p.c * p.oh * p.ow, 2)
  const want = affineWarpReference(p, x, matrices)
  const { dx, dp } = affineWarpGradientReference(p, x, matrices, dy)
  const [a, b, , d, e] = matrices.subarray(-6).map(Math.abs) as unknown as number[]
  const off = Math.max(1e-6, 2 ** -22 * Math.max(p.h, p.w) * Math.max(1, a! + b!, d! + e!))
  const near = (v: number) => Math.abs(v - Math.round(v)) < 2 * off
  const sure = Array.from({ length: dp.length }, (_, i) => {
    const pixel = Math.floor(i / 2)
    const at = [Math.floor(pixel / (p.oh * p.ow)), Math.floor(pixel / p.ow) % p.oh, pixel % p.ow] as const
    return !warpSource(p, matrices, ...at).some(near)
  })
  const kept = (values: ArrayLike<number>) => Array.from(values).filter((_, i) => sure[i])
  // The second folds every grid of more than three workgroups.
  for (const caps of [capabilities, { ...baselineCapabilities, maxGrid: 3 }]) {
    const close = (what: string, got: ArrayLike<number>, expected: ArrayLike<number>) => {
      const error = relativeError(got, expected)
      assert.ok(error <= off, `${name}, ${Object.values(p)}: ${what} ${error}, at most ${off}`)
    }
    const [y] = await runProgram(device, affineWarpProgram(p, caps), [x, matrices, blank(want.length)])
    close('y', y!, want)
    const [gotX] = await runProgram(device, affineWarpGradInputProgram(p, caps), [dy, matrices, blank(dx.length)])
    close('dx', gotX!, dx)
    const [gotP] = await runProgram(device, affineWarpGradPositionProgram(p, caps), [x, matrices, dy, blank(dp.length)])
    close('dp', kept(gotP!), kept(dp))
  }
}

for (const [name, matrix] of Object.entries({ ...maps, ...singular }))
  test(name, async () => {
    for (const p of sizes) await check(p, matrix, name)
  })

test('the identity copies the image bit by bit', async () => {
  const p = { n: 1, c: 2, h: 16, w: 8, oh: 16, ow: 8 }
  const x = randomArray(256, 1)
  const matrix = Float32Array.of(1, 0, 0, 0, 1, 0)
  const [y] = await runProgram(device, affineWarpProgram(p, capabilities), [x, matrix, blank(256)])
  assert.equal(y, x)
  const [dx] = await runProgram(device, affineWarpGradInputProgram(p, capabilities), [x, matrix, blank(256)])
  assert.equal(dx, x)
})

test.after(() => device.destroy())
test.run()
