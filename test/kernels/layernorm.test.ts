/**
 * LayerNorm forward and backward: every variant of every capability set against the float64 reference; further shapes with the first
 * variant of each. f32: relative to the norm of what is expected, 2e-6 for values and 5e-6 for gradients.
 *
 * In a row of one or two elements the terms of dx cancel (nothing but ε is left): each has been rounded some three times, so that dx
 * is held to 2⁻²¹ of what the row's |dy·γ| sum up to, times rstd.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Capabilities } from '../../kernels/kernel.ts'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import * as backward from '../../kernels/layernorm/backward.ts'
import { layerNormReference, layerNormVariants } from '../../kernels/layernorm/layernorm.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/layernorm')
const { device, capabilities } = await openBareDevice()
const capabilitySets: Capabilities[] = [
  capabilities,
  { ...capabilities, subgroups: false, software: true },
  { ...baselineCapabilities, maxGrid: 3 },
]

// [rows, width]: ones, primes, multiples of 4, a row longer than a workgroup keeps, and the model's widths.
const shapes = [
  [1, 1],
  [7, 1],
  [5, 13],
  [131, 16],
  [67, 64],
  [33, 192],
  [3, 1027],
  [2, 20000],
] as const
/** Primes, one more and one less than the layouts' edges, pairs of rows with one left over. */
const others = [
  [1, 2],
  [2, 3],
  [1, 127],
  [11, 31],
  [13, 33],
  [67, 31],
  [65, 257],
  [17, 4099],
  [1, 1000003],
] as const

for (const [rows, width] of [...shapes, ...others]) {
  const most = shapes.some((shape) => shape[0] === rows && shape[1] === width) ? Number.POSITIVE_INFINITY : 1
  test(`${rows} × ${width}`, async () => {
    const problem = { rows, width, epsilon: 1e-5 }
    const x = randomArray(rows * width, 1).map((v) => v + 3)
    const gamma = randomArray(width, 2)
    const beta = randomArray(width, 3)
    const dy = randomArray(rows * width, 4)
    const want = layerNormReference(problem, x, gamma, beta)
    const mean = Float32Array.from(want.mean)
    const rstd = Float32Array.from(want.rstd)
    const grads = backward.layerNormBackwardReference(problem, x, gamma, dy, mean, rstd)
    const blank = (n: number): Float32Array => new Float32Array(n).fill(NaN)
    const close = (name: string, got: Float32Array, expected: Float64Array, tolerance: number): void => {
      const error = relativeError(got, expected)
      assert.ok(error <= tolerance, `${name}: relative error ${error}`)
    }
    for (const caps of capabilitySets) {
      for (const variant of layerNormVariants(problem, caps).slice(0, most)) {
        const outputs = [blank(rows * width), blank(rows), blank(rows)]
        const [y, mu, r] = await runProgram(device, variant.program(), [x, gamma, beta, ...outputs])
        close(`${variant.name} y`, y!, want.y, 2e-6)
        close(`${variant.name} mean`, mu!, want.mean, 1e-6)
        // A constant row has variance 0: rstd = 1/√ε to within the rounding of the square root.
        close(`${variant.name} rstd`, r!, want.rstd, 2e-6)
      }
      for (const variant of backward.layerNormBackwardInputVariants(problem, caps).slice(0, most)) {
        const [dx] = await runProgram(device, variant.program(), [x, gamma, dy, mean, rstd, blank(rows * width)])
        if (width > 2) close(`${variant.name} dx`, dx!, grads.dx, 5e-6)
        else
          dx!.forEach((v, at) => {
            const row = Math.floor(at / width)
            let terms = 0
            for (let i = 0; i < width; i++) terms += Math.abs(dy[row * width + i]! * gamma[i]!)
            const bound = terms * rstd[row]! * 2 ** -21
            const error = Math.abs(v - grads.dx[at]!)
            assert.ok(error <= bound, `${variant.name} dx at ${at}: off by ${error}, at most ${bound}`)
          })
      }
      // Of a million columns the parameters' columns are too many for CPU adapters, and no sum is long.
      for (const variant of width > 1e5 ? [] : backward.layerNormBackwardParamsVariants(problem, caps).slice(0, most)) {
        const [dgamma, dbeta] = await runProgram(device, variant.program(), [
          x,
          dy,
          mean,
          rstd,
          blank(width),
          blank(width),
        ])
        close(`${variant.name} dgamma`, dgamma!, grads.dgamma, 5e-6)
        close(`${variant.name} dbeta`, dbeta!, grads.dbeta, 5e-6)
      }
    }
  })
}

test('many rows keep their digits in the parameter gradients', async () => {
  const problem = { rows: 100000, width: 4 }
  const x = randomArray(problem.rows * 4, 1)
  const dy = randomArray(problem.rows * 4, 2).map((v) => v + 1)
  const mean = new Float32Array(problem.rows)
  const rstd = new Float32Array(problem.rows).fill(1)
  const want = backward.layerNormBackwardReference(problem, x, [1, 1, 1, 1], dy, mean, rstd)
  for (const variant of backward.layerNormBackwardParamsVariants(problem, capabilities)) {
    const data = [x, dy, mean, rstd, new Float32Array(4), new Float32Array(4)]
    const [, dbeta] = await runProgram(device, variant.program(), data)
    assert.ok(relativeError(dbeta!, want.dbeta) <= 1e-6, `${variant.name}: ${relativeError(dbeta!, want.dbeta)}`)
  }
})

test.after(() => device.destroy())
test.run()
