/**
 * Reductions, whose kernels the planner generates, against float64: one element, primes, very long rows, over the last axis, the first,
 * one in between and all of them; as the adapter has them, and as a GPU would.
 *
 * f32: an error is relative to the magnitude of what was summed, Σ|x|, so that values that cancel are held to the same as those that do
 * not. An invocation adds up to n/128 values one after the other: 2e-6 for up to a million. Extrema are exact.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openDevice, type Tensor, tensor } from '../../engine/index.ts'
import { randomArray } from '../support/program.ts'

const test = suite('kernels/reductions')
const tolerance = 2e-6

const numel = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** The elements that go into each result. */
function groups(shape: readonly number[], axes: readonly number[]): number[][] {
  const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d))
  const out = Array.from({ length: numel(kept) }, (): number[] => [])
  for (let at = 0; at < numel(shape); at++) {
    let [left, to, step] = [at, 0, 1]
    for (let i = shape.length - 1; i >= 0; i--) {
      if (!axes.includes(i)) {
        to += (left % shape[i]!) * step
        step *= shape[i]!
      }
      left = Math.floor(left / shape[i]!)
    }
    out[to]!.push(at)
  }
  return out
}

const shapes: [shape: number[], axes: number[]][] = [
  [[1], [0]], [[1, 1], [1]], [[7, 1], [1]], [[1, 7], [0]], [[61], [0]], [[5, 127], [1]], [[5, 128], [1]], [[31, 129], [1]],
  [[1009, 13], [1]], [[1009, 13], [0]], [[127, 3], [0]], [[67, 61], [0, 1]], [[11, 37, 41], [1]], [[11, 37, 41], [0, 2]],
  [[4099, 2], [0]], [[3, 4097], [1]], [[1000003], [0]], [[2, 100003], [1]], [[100003, 2], [0]],
] // biome-ignore format: one shape after the other

interface Kind {
  readonly of: (x: Tensor, axes: number[]) => Tensor
  /** The value, and the magnitude that an error is relative to; 0: exact. */
  readonly reference: (values: Float64Array) => readonly [value: number, magnitude: number]
}

const total = (values: Float64Array): number => values.reduce((a, b) => a + b, 0)
const size = (values: Float64Array): number => total(values.map(Math.abs))

const kinds: Record<string, Kind> = {
  sum: { of: (x, axes) => x.sum(axes), reference: (v) => [total(v), size(v)] },
  'mean of squares': {
    of: (x, axes) => x.square().mean(axes),
    reference: (v) => [total(v.map((x) => x * x)) / v.length, total(v.map((x) => x * x)) / v.length],
  },
  max: { of: (x, axes) => x.max(axes), reference: (v) => [v.reduce((a, b) => Math.max(a, b)), 0] },
  min: { of: (x, axes) => x.min(axes), reference: (v) => [v.reduce((a, b) => Math.min(a, b)), 0] },
}

for (const gpu of [false, true])
  test(gpu ? 'as a GPU takes them' : 'as this adapter takes them', async () => {
    const device = await openDevice()
    if (gpu) (device.caps as { software: boolean }).software = false
    for (const [shape, axes] of shapes) {
      const members = groups(shape, axes)
      // Around 0, where sums cancel, and away from it.
      for (const shift of [0, 1.5]) {
        const x = randomArray(numel(shape), 1).map((v) => v + shift)
        for (const [name, { of, reference }] of Object.entries(kinds)) {
          // Sums everywhere, the others once.
          if (name !== 'sum' && (shift || x.length > 2e4)) continue
          const got = await of(tensor(x, shape), axes).data()
          assert.is(got.length, members.length)
          members.forEach((group, i) => {
            const [want, magnitude] = reference(Float64Array.from(group, (at) => x[at]!))
            const error = Math.abs(got[i]! - want)
            if (!(error <= tolerance * magnitude))
              assert.unreachable(`${name} of [${shape}] over ${axes}, result ${i}: ${got[i]}, expected ${want}`)
          })
        }
      }
    }
    device.destroy()
  })

test.run()
