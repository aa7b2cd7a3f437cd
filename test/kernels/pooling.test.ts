/** Directional pooling and its gradient, every variant, against the float64 reference. */
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
  for (const caps of [capabilities, baselineCapabilities]) {
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

for (const mode of ['mean', 'max'] as const)
  for (const [b, t, l, e] of [[2, 3, 7, 13], [1, 1, 1, 1], [3, 2, 4, 40]] as const) // biome-ignore format: b, t, l, e
    test(`${mode}: ${b} samples, ${t} frames, ${l}×${l} tokens, ${e} channels`, async () => {
      await check({ b, t, l, e, mode }, randomArray(b * t * (l * l + 1) * e, 1))
    })

test('max: the first of equal values, negative ones too', async () => {
  const problem = { b: 2, t: 3, l: 5, e: 9, mode: 'max' } as const
  const z = randomArray(2 * 3 * 26 * 9, 5).map((v) => Math.floor(2 * v) - 3)
  await check(problem, z)
})

test('refuses a size of zero', () => {
  assert.throws(
    () => directionalPoolVariants({ b: 1, t: 0, l: 2, e: 3, mode: 'mean' }, capabilities),
    /t must be positive/,
  )
})

test.after(() => device.destroy())
test.run()
