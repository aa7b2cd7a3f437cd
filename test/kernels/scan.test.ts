/**
 * Running sums, arg-max, stable order and scatter-add against plain loops: lines of any length and number, every type, folded grids.
 *
 * A running sum of k floats has made k roundings of at most 2⁻²⁴ each: f32 is held to (1 + √k)·2⁻²³ of the sum of magnitudes so
 * far, halves to 2⁻¹⁰ of the norm of what is expected. Integers and places are exact.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { baselineCapabilities, type Capabilities } from '../../kernels/kernel.ts'
import { argmaxProgram, cumsumProgram, scatterAddProgram, sortProgram } from '../../kernels/scan/scan.ts'
import { checker, exactArray, halfStorages, toWords } from '../support/half.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/scan')
const { device, capabilities } = await openBareDevice()
const check = checker(device)
/** The second folds every grid of more than three workgroups, 192 lines. */
const capabilitySets: Capabilities[] = [capabilities, { ...baselineCapabilities, maxGrid: 3 }]

const numel = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
const blank = (count: number): Float32Array => new Float32Array(count).fill(Number.NaN)
const integers = (words: Float32Array): number[] => [...new Int32Array(words.buffer, words.byteOffset, words.length)]

/** Indices of every line along `axis`, in order. */
function lines(shape: readonly number[], axis: number): number[][] {
  const [n, inner] = [shape[axis]!, numel(shape.slice(axis + 1))]
  return Array.from({ length: numel(shape) / n }, (_, line) =>
    Array.from({ length: n }, (_, k) => Math.floor(line / inner) * n * inner + k * inner + (line % inner)),
  )
}

const table: [shape: number[], axis: number][] = [
  [[1], 0], [[2], 0], [[61], 0], [[1, 1], 1], [[1, 61], 1], [[61, 1], 1], [[63, 5], 1], [[64, 5], 1], [[65, 5], 1], [[5, 131], 0],
  [[3, 7, 11], 1], [[257, 2, 3], 0], [[193, 3], 1], [[1009, 4], 1], [[100003], 0], [[2, 100003], 1], [[100003, 2], 0],
] // biome-ignore format: one shape after the other

test('cumsum of floats', async () => {
  for (const [shape, axis] of table) {
    const x = randomArray(numel(shape), 1)
    for (const caps of capabilitySets) {
      const [got] = await runProgram(device, cumsumProgram(shape, axis, caps), [x, blank(x.length)])
      for (const line of lines(shape, axis)) {
        let [sum, size] = [0, 0]
        line.forEach((at, k) => {
          sum += x[at]!
          size += Math.abs(x[at]!)
          const error = Math.abs(got![at]! - sum) / size
          if (!(error <= (1 + Math.sqrt(k)) * 2 ** -23))
            assert.unreachable(`[${shape}] along ${axis}, at ${at}: ${error}`)
        })
      }
    }
  }
})

test('cumsum of integers wraps', async () => {
  for (const [shape, axis] of table.filter((_, i) => i % 3 === 1 || i > 13))
    for (const [type, Words] of [
      ['i32', Int32Array],
      ['u32', Uint32Array],
    ] as const) {
      const x = Words.from(randomArray(numel(shape), 2).map((v) => v * 2 ** 31))
      const want = new Words(x.length)
      for (const line of lines(shape, axis)) {
        let sum = 0
        for (const at of line) want[at] = sum = (sum + x[at]!) | 0
      }
      const [got] = await runProgram(device, cumsumProgram(shape, axis, capabilities, type), [x, blank(x.length)])
      assert.equal(new Words(got!.buffer as ArrayBuffer), want, `${type} [${shape}] along ${axis}`)
    }
})

for (const [storage, caps] of halfStorages(capabilities))
  test(`halves, ${storage}`, async () => {
    for (const [shape, axis] of table.filter(([shape]) => numel(shape) < 600)) {
      const x = exactArray(numel(shape), 3, 'f16')
      const sums = new Float64Array(x.length)
      const places: number[] = []
      for (const line of lines(shape, axis)) {
        let sum = 0
        for (const at of line) sums[at] = sum += x[at]!
        const values = line.map((at) => x[at]!)
        places.push(values.indexOf(Math.max(...values)))
      }
      const words = toWords(x, 'f16')
      await check(cumsumProgram(shape, axis, caps, 'f16'), [words], [{ want: sums, type: 'f16' }], storage)
      await check(argmaxProgram(shape, axis, caps, 'f16'), [words], [{ want: Uint32Array.from(places) }], storage)
    }
  })

test('argmax: the first of equals, infinities', async () => {
  for (const [shape, axis] of table) {
    const ties = randomArray(numel(shape), 4, 3).map(Math.floor)
    const edges = ties.map((v, i) => (v > 1 ? Infinity : i % 3 ? -Infinity : v))
    for (const x of [randomArray(ties.length, 5), ties, edges, ties.fill(-Infinity)])
      for (const caps of capabilitySets) {
        const all = lines(shape, axis)
        const want = all.map((line) => line.reduce((best, at, k) => (x[at]! > x[line[best]!]! ? k : best), 0))
        const [got] = await runProgram(device, argmaxProgram(shape, axis, caps), [x, blank(all.length)])
        assert.equal(integers(got!), want, `[${shape}] along ${axis}`)
      }
  }
})

test('sort: stable, either way, NaN last', async () => {
  for (const shape of [[1], [2], [61], [1, 1], [67, 1], [3, 64], [5, 65], [2, 257], [131, 7], [1, 1021]])
    for (const descending of [false, true]) {
      const n = shape.at(-1)!
      const x = randomArray(numel(shape), 6, 9).map((v, i) => (i % 7 === 3 ? Number.NaN : Math.floor(v)))
      const order = lines(shape, shape.length - 1).map((line) =>
        line.toSorted((a, b) => {
          const [v, w] = [x[a]!, x[b]!]
          if (Number.isNaN(v) || Number.isNaN(w)) return Number(Number.isNaN(v)) - Number(Number.isNaN(w)) || a - b
          return (descending ? w - v : v - w) || a - b
        }),
      )
      for (const caps of capabilitySets) {
        const [y, index] = await runProgram(device, sortProgram(shape, descending, caps), [
          x,
          blank(x.length),
          blank(x.length),
        ])
        const what = `[${shape}] ${descending ? 'descending' : 'ascending'}`
        assert.equal(
          [...y!],
          order.flatMap((line) => line.map((at) => x[at]!)),
          what,
        )
        assert.equal(
          integers(index!),
          order.flatMap((line) => line.map((at) => at % n)),
          what,
        )
      }
    }
})

test('scatter-add: places that many, one and none are added to', async () => {
  for (const [input, axis, size, shared] of [
    [[1], 0, 1, false],
    [[1], 0, 61, false],
    [[61], 0, 1, false],
    [[1009], 0, 13, false],
    [[5, 67], 1, 131, false],
    [[67, 5], 0, 3, true],
    [[3, 31, 7], 1, 65, true],
    [[3, 31, 7], 1, 11, false],
    [[20011], 0, 2, false],
  ] as const) {
    const index = input.map((d, i) => (shared && i !== axis ? 1 : d))
    const x = randomArray(numel(input), 7)
    const to = Int32Array.from(randomArray(numel(index), 8), (v) => Math.floor(((v + 1) / 2) * size))
    const output = input.map((d, i) => (i === axis ? size : d))
    const inner = numel(input.slice(axis + 1))
    const n = input[axis]!
    const want = new Float64Array(numel(output))
    x.forEach((v, at) => {
      const [outer, k, lane] = [Math.floor(at / (n * inner)), Math.floor(at / inner) % n, at % inner]
      want[(outer * size + to[shared ? k : at]!) * inner + lane]! += v
    })
    for (const caps of capabilitySets) {
      const program = scatterAddProgram({ input, index, axis, size, signed: true }, caps)
      const [got] = await runProgram(device, program, [x, to, blank(want.length)])
      const error = relativeError(got!, want)
      assert.ok(error <= 2e-6, `[${input}] along ${axis} into ${size}: ${error}`)
    }
  }
})

test.after(() => device.destroy())
test.run()
