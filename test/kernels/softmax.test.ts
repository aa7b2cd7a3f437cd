/**
 * Softmax and log-softmax, forward and backward: every variant against the float64 reference; further shapes with the first variant
 * of each capability set. f32: 5e-6 of the norm of what is expected; of a gradient, whose terms may cancel, of the norm of their magnitudes.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Capabilities } from '../../kernels/kernel.ts'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import * as softmax from '../../kernels/softmax/softmax.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/softmax')
const { device, capabilities } = await openBareDevice()
const capabilitySets: Capabilities[] = [
  capabilities,
  { ...capabilities, subgroups: false, software: true },
  { ...baselineCapabilities, maxGrid: 3 },
]

const shapes = [
  [1, 1],
  [9, 1],
  [5, 13],
  [131, 16],
  [37, 197],
  [33, 192],
  [3, 1027],
  [2, 20000],
] as const
/** Primes, one more and one less than the layouts' edges, a very long row. */
const others = [
  [1, 2],
  [2, 3],
  [1, 127],
  [11, 31],
  [65, 257],
  [17, 4099],
  [1, 1000003],
] as const

function distance(got: Float32Array, want: Float64Array): number {
  return Math.sqrt(want.reduce((sum, v, i) => sum + (got[i]! - v) ** 2, 0))
}

/** Norm of the gradient with every term's magnitude: y·(|dy| + Σ|y·dy|), of logarithms |dy| + exp(y)·Σ|dy|. */
function termsOf(width: number, log: boolean, y: Float32Array, dy: Float32Array): number {
  let squares = 0
  for (let row = 0; row < y.length; row += width) {
    let sum = 0
    for (let i = row; i < row + width; i++) sum += Math.abs((log ? 1 : y[i]!) * dy[i]!)
    for (let i = row; i < row + width; i++)
      squares += (log ? Math.abs(dy[i]!) + Math.exp(y[i]!) * sum : y[i]! * (Math.abs(dy[i]!) + sum)) ** 2
  }
  return Math.sqrt(squares)
}

for (const [rows, width] of [...shapes, ...others]) {
  const most = shapes.some((shape) => shape[0] === rows && shape[1] === width) ? Number.POSITIVE_INFINITY : 1
  for (const log of [false, true]) {
    test(`${log ? 'log-softmax' : 'softmax'} ${rows} × ${width}`, async () => {
      const problem = { rows, width, log }
      const x = randomArray(rows * width, 1, 8).map((v) => v + 50)
      const want = softmax.softmaxReference(problem, x)
      const y = Float32Array.from(want)
      const dy = randomArray(rows * width, 2)
      const wantDx = softmax.softmaxBackwardReference(problem, y, dy)
      const terms = termsOf(width, log, y, dy)
      const blank = (): Float32Array => new Float32Array(rows * width).fill(NaN)
      for (const caps of capabilitySets) {
        for (const variant of softmax.softmaxVariants(problem, caps).slice(0, most)) {
          const [got] = await runProgram(device, variant.program(), [x, blank()])
          assert.ok(relativeError(got!, want) <= 5e-6, `${variant.name}: ${relativeError(got!, want)}`)
        }
        for (const variant of softmax.softmaxBackwardVariants(problem, caps).slice(0, most)) {
          const [got] = await runProgram(device, variant.program(), [y, dy, blank()])
          const error = distance(got!, wantDx) / terms
          assert.ok(error <= 5e-6, `${variant.name} dx: ${error}`)
        }
      }
    })
  }
}

test('minus infinity: single entries vanish, whole rows give zeros (log: minus infinity); NaN spreads over its row', async () => {
  const x = new Float32Array(4 * 8).fill(1)
  x[3] = -Infinity
  x.fill(-Infinity, 8, 16)
  x[20] = NaN
  for (const caps of capabilitySets) {
    for (const log of [false, true]) {
      const problem = { rows: 4, width: 8, log }
      for (const variant of softmax.softmaxVariants(problem, caps)) {
        const [y] = await runProgram(device, variant.program(), [x, new Float32Array(32)])
        const none = log ? -Infinity : 0
        const each = log ? Math.fround(-Math.log(7)) : Math.fround(1 / 7)
        assert.is(y![3], none, variant.name)
        assert.ok(Math.abs(y![0]! - each) < 1e-6, variant.name)
        for (let i = 8; i < 16; i++) assert.is(y![i], none, variant.name)
        for (let i = 16; i < 24; i++) assert.ok(Number.isNaN(y![i]), `${variant.name} at ${i}: ${y![i]}`)
        assert.ok(Math.abs(y![24]! - (log ? -Math.log(8) : 1 / 8)) < 1e-6, variant.name)
      }
    }
  }
})

test.after(() => device.destroy())
test.run()
