/** LayerNorm forward and backward: every variant of every capability set against the float64 reference. */
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

for (const [rows, width] of shapes) {
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
      for (const variant of layerNormVariants(problem, caps)) {
        const outputs = [blank(rows * width), blank(rows), blank(rows)]
        const [y, mu, r] = await runProgram(device, variant.program(), [x, gamma, beta, ...outputs])
        close(`${variant.name} y`, y!, want.y, 2e-6)
        close(`${variant.name} mean`, mu!, want.mean, 1e-6)
        // A constant row has variance 0: rstd = 1/√ε to within the rounding of the square root.
        close(`${variant.name} rstd`, r!, want.rstd, 2e-6)
      }
      for (const variant of backward.layerNormBackwardInputVariants(problem, caps)) {
        const [dx] = await runProgram(device, variant.program(), [x, gamma, dy, mean, rstd, blank(rows * width)])
        if (width > 1) close(`${variant.name} dx`, dx!, grads.dx, 5e-6)
        else close(`${variant.name} dx`, dx!, grads.dx, 1e-3)
      }
      for (const variant of backward.layerNormBackwardParamsVariants(problem, caps)) {
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
