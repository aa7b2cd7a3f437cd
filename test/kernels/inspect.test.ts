/** Kernels that make test data and judge results: fill, difference, summary. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { floatToHalf, halfToFloat } from '../../engine/dtype.ts'
import { differenceOf, differencePartials, differenceProgram } from '../../kernels/inspect/difference.ts'
import { type FillProblem, fillProgram, fillReference } from '../../kernels/inspect/fill.ts'
import { summaryOf, summaryProgram, summaryReference, summaryWords } from '../../kernels/inspect/summary.ts'
import { openBareDevice, randomArray, relativeError, runProgram, type Words } from '../support/program.ts'

const test = suite('inspect')
const { device, capabilities } = await openBareDevice()
const words = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length)
const halves = (values: ArrayLike<number>) => new Uint32Array(Uint16Array.from(values, floatToHalf).buffer)

test('fill: floats, halves and indices as the reference has them', async () => {
  const run = async (problem: FillProblem) =>
    (await runProgram(device, fillProgram(problem, capabilities), [new Uint32Array(problem.words)]))[0]!
  const floats: FillProblem = { words: 1000, kind: 'f32', seed: 7, low: -1, high: 1 }
  const want = Array.from({ length: 1000 }, (_, i) => fillReference(floats, i))
  assert.ok(relativeError(await run(floats), want) < 1e-6)
  const mean = want.reduce((s, v) => s + v, 0) / 1000
  assert.ok(Math.abs(mean) < 0.06 && Math.min(...want) < -0.98 && Math.max(...want) > 0.98, `mean ${mean}`)
  assert.ok(relativeError(await run({ ...floats, seed: 8 }), want) > 1, 'another seed, other values')
  const packed = new Uint16Array((await run({ ...floats, words: 500, kind: 'f16' })).buffer)
  assert.ok(relativeError(Array.from(packed, halfToFloat), want) < 1e-3)
  const indices = words(await run({ words: 1000, kind: 'index', seed: 1, low: 0, high: 5 }))
  assert.equal([...new Set(indices)].sort(), [0, 1, 2, 3, 4])
})

test('difference: distances, and elements that are broken', async () => {
  const compare = async (a: Words, b: Words, type: 'f32' | 'f16' | 'integer', magnitudes = false) => {
    const program = differenceProgram({ words: a.length, type, magnitudes }, capabilities)
    const [sums] = await runProgram(device, program, [a, b, new Float32Array(4 * differencePartials)])
    return differenceOf(sums!)
  }
  const b = randomArray(10001, 1)
  const a = b.map((v, i) => v + (i % 3 === 0 ? 1e-3 : 0))
  const { error, broken } = await compare(a, b, 'f32')
  assert.ok(Math.abs(error - relativeError(a, b)) < 1e-3 * error)
  assert.is(broken, 0)
  assert.is(
    (
      await compare(
        b.map((v, i) => (i % 2 ? -v : v)),
        b,
        'f32',
        true,
      )
    ).error,
    0,
  )
  assert.ok(
    (
      await compare(
        b.map((v, i) => (i % 2 ? -v : v)),
        b,
        'f32',
      )
    ).error > 1,
  )

  const bad = Float32Array.of(1, Number.NaN, Infinity, -Infinity, 2)
  assert.equal(await compare(bad, bad, 'f32'), { error: 0, broken: 0 })
  assert.is((await compare(bad, Float32Array.of(1, 0, Infinity, Infinity, 2), 'f32')).broken, 2)
  assert.is((await compare(halves([1, Number.NaN, 3, Infinity]), halves([1, 2, 3, 4]), 'f16')).broken, 2)
  assert.is((await compare(halves([1, Infinity]), halves([1, Infinity]), 'f16')).broken, 0)
  const apart = await compare(halves([1, 2, 3, 4]), halves([1, 2, 3, 5]), 'f16')
  assert.ok(Math.abs(apart.error - 1 / Math.sqrt(39)) < 1e-6)
  assert.is((await compare(Uint32Array.of(1, 2, 3), Uint32Array.of(1, 5, 3), 'integer')).broken, 1)
  assert.ok(Number.isNaN((await compare(Float32Array.of(1e30), Float32Array.of(2e30), 'f32')).error), 'no digit left')
})

test('summary: counts, extremes and the first that is not finite', async () => {
  const run = async (x: Words, count: number, type: 'f32' | 'f16') => {
    const program = summaryProgram({ count, type }, capabilities)
    const [record] = await runProgram(device, program, [x, new Uint32Array(summaryWords)])
    return summaryOf(words(record!))
  }
  const cases: number[][] = [
    [0],
    [-0, 0, 1e-40, -3.5, 2],
    [Number.NaN],
    [1, 2, Infinity, Number.NaN, -Infinity, -7, Number.NaN],
    [...randomArray(5000, 2), -1e30, 3e38],
    [-1, -2, -3],
  ]
  for (const values of cases) {
    const x = Float32Array.from(values)
    assert.equal(await run(x, x.length, 'f32'), summaryReference(x), values.slice(0, 8).join())
  }
  const values = [1, -2, Number.NaN, 65504, -Infinity]
  assert.equal(await run(halves([...values, 0]), 5, 'f16'), summaryReference(values))
})

test.run()
