/** The kernels that measure ceilings do the work they are credited with. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  copyVariants,
  type MultiplyAddProblem,
  multiplyAddReference,
  multiplyAddUnroll,
  multiplyAddVariants,
} from '../../kernels/ceiling/ceiling.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('ceiling')
const { device, capabilities } = await openBareDevice()

test('multiply-adds: every accumulator takes every step', async () => {
  // Slow contraction: after few steps each step still shows in the sum.
  const problem: MultiplyAddProblem = { workgroups: 3, iterations: 2, type: 'f32' }
  const [factor, addend] = [0.96875, 0.03125]
  for (const variant of multiplyAddVariants(problem, capabilities)) {
    const program = variant.program()
    const accumulators = program.accumulators! / 4
    const x = Float32Array.of(...new Array(4).fill(factor), ...new Array(4).fill(addend))
    const [y] = await runProgram(device, program, [x, new Float32Array(3 * 64 * 4)])
    const want = multiplyAddReference(problem, accumulators, factor, addend)
    const got = Float64Array.from(want, (_, i) => y![4 * i + (i % 4)]!)
    assert.ok(relativeError(got, want) < 1e-6, variant.name)
    const stepless = multiplyAddReference({ ...problem, iterations: 1 }, accumulators, factor, addend)
    assert.ok(relativeError(stepless, want) > 1e-3, 'the reference would show a missing round')
    assert.is(program.cost.flops, 2 * 4 * accumulators * multiplyAddUnroll * 2 * 3 * 64)
  }
})

test('f16 multiply-adds stay near one, and need shader-f16', async () => {
  const problem: MultiplyAddProblem = { workgroups: 1, iterations: 4, type: 'f16' }
  assert.throws(() => multiplyAddVariants(problem, { ...capabilities, f16: false }), /shader-f16/)
  if (!capabilities.f16) return
  const halves = Uint32Array.from({ length: 4 }, () => 0x38003800) // ½, eight times
  const [y] = await runProgram(device, multiplyAddVariants(problem, capabilities)[0]!.program(), [
    halves,
    new Uint32Array(64 * 2),
  ])
  assert.ok(
    new Uint16Array(y!.buffer).every((bits) => bits === 0x4000),
    'two accumulators of 1 each',
  )
})

test('copy: every element, ragged ends included', async () => {
  for (const vectors of [1, 63, 1000]) {
    const x = randomArray(4 * vectors, vectors)
    for (const variant of copyVariants({ vectors }, capabilities)) {
      const [y] = await runProgram(device, variant.program(), [x, new Float32Array(4 * vectors)])
      assert.equal(y, x, `${variant.name} of ${vectors}`)
    }
  }
})

test.run()
