/**
 * Directional pooling and its gradient, every variant, against the float64 reference.
 *
 * f32: relative to the norm of what is expected; 1e-6 for sums of up to a thousand values. Maxima, their places and the gradient of a
 * maximum that is one alone are exact. Only the tokens of a side and the mode are in a kernel's text: other sizes share it.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import {
  type DirectionalPoolProblem,
  directionalPoolBackwardVariants,
  directionalPoolVariants,
} from '../../kernels/pooling/directional.ts'
import { directionalPoolBackwardReference, directionalPoolReference } from '../../kernels/pooling/reference.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/pooling')
const { device, capabilities } = await openBareDevice()
const tolerance = 1e-6
const words = (f: Float32Array): Uint32Array => new Uint32Array(f.buffer, f.byteOffset, f.length)
const blank = (count: number): Float32Array => new Float32Array(count).fill(Number.NaN)

async function check(problem: DirectionalPoolProblem, z: Float32Array): Promise<void> {
  const { b, l, e, mode } = problem
  const wanted = directionalPoolReference(problem, z)
  const max = mode === 'max'
  const outputs = () => [
    blank(b * l * e),
    blank(b * l * e),
    blank(b * e),
    ...(max ? [blank(b * l * e), blank(b * l * e)] : []),
  ]
  const grads = { dzh: randomArray(b * l * e, 2), dzv: randomArray(b * l * e, 3), dzcls: randomArray(b * e, 4) }
  const dz = directionalPoolBackwardReference(problem, grads, wanted)
  const indices = max ? [wanted.idxh, wanted.idxv] : []
  // The second folds every grid of more than three workgroups.
  for (const caps of [capabilities, { ...baselineCapabilities, maxGrid: 3 }]) {
    for (const variant of directionalPoolVariants(problem, caps)) {
      const program = variant.program()
      const [zh, zv, zcls, idxh, idxv] = await runProgram(device, program, [z, ...outputs()])
      assert.ok(relativeError(zh!, wanted.zh) < tolerance, `${program.label}: zh`)
      assert.ok(relativeError(zv!, wanted.zv) < tolerance, `${program.label}: zv`)
      assert.ok(relativeError(zcls!, wanted.zcls) < tolerance, `${program.label}: zcls`)
      if (!max) continue
      assert.equal([...words(idxh!)], [...wanted.idxh], `${program.label}: idxh`)
      assert.equal([...words(idxv!)], [...wanted.idxv], `${program.label}: idxv`)
    }
    for (const variant of directionalPoolBackwardVariants(problem, caps)) {
      const program = variant.program()
      const data = [grads.dzh, grads.dzv, grads.dzcls, ...indices, blank(dz.length)]
      const [got] = await runProgram(device, program, data)
      assert.ok(relativeError(got!, dz) < tolerance, `${program.label}`)
    }
  }
}

/** Ones, primes, as many channels as threads and one more or less, alone and by fours; many frames. */
const shapes = [
  [1, 1, 1, 1], [3, 1, 1, 4], [2, 13, 1, 7], [1, 1009, 1, 5], [1, 509, 1, 4],
  [1, 1, 4, 1], [3, 2, 4, 40], [1, 17, 4, 31], [2, 1, 4, 32], [1, 3, 4, 33], [1, 2, 4, 124], [1, 2, 4, 128], [1, 2, 4, 132],
  [2, 3, 7, 13], [1, 1, 7, 8], [5, 1, 7, 9], [1, 61, 7, 3], [1, 16, 7, 67],
] as const // biome-ignore format: b, t, l, e

for (const mode of ['mean', 'max'] as const)
  for (const [b, t, l, e] of shapes)
    test(`${mode}: ${b} samples, ${t} frames, ${l}×${l} tokens, ${e} channels`, async () => {
      // Away from 0: what is summed does not cancel.
      await check(
        { b, t, l, e, mode },
        randomArray(b * t * (l * l + 1) * e, 1).map((v) => v + 0.5),
      )
    })

test('max: the first of equal values, negative ones too', async () => {
  for (const [b, t, l, e] of [
    [2, 3, 7, 9],
    [1, 31, 4, 5],
    [2, 7, 1, 33],
  ] as const) {
    const size = b * t * (l * l + 1) * e
    const problem = { b, t, l, e, mode: 'max' } as const
    await check(
      problem,
      randomArray(size, 5).map((v) => Math.floor(2 * v) - 3),
    )
    await check(problem, new Float32Array(size).fill(-2))
  }
})

test('refuses a size of zero', () => {
  assert.throws(
    () => directionalPoolVariants({ b: 1, t: 0, l: 2, e: 3, mode: 'mean' }, capabilities),
    /t must be positive/,
  )
})

test.after(() => device.destroy())
test.run()
