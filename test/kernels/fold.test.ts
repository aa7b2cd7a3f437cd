/**
 * Folding windows back, against float64 window by window: one to three axes, overlapping windows, gaps between and behind them, folded grids.
 * f32: 1e-6 of the norm of what is expected.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import { type FoldProblem, foldProgram, foldReference } from '../../kernels/pooling/fold.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/fold')
const { device, capabilities } = await openBareDevice()

/** `outer` before the windowed axes, `counts` windows of `sizes` elements along each, `spare` elements behind the last. */
function problem(
  outer: readonly number[],
  counts: readonly number[],
  sizes: readonly number[],
  strides: readonly number[],
  dilations: readonly number[] = sizes.map(() => 1),
  spare = 0,
): FoldProblem {
  const lengths = counts.map((c, j) => (c - 1) * strides[j]! + (sizes[j]! - 1) * dilations[j]! + 1 + spare)
  return {
    input: [...outer, ...counts, ...sizes],
    axes: counts.map((_, j) => outer.length + j),
    lengths,
    strides,
    dilations,
  }
}

const table: Record<string, FoldProblem> = {
  'one element': problem([], [1], [1], [1]),
  'one window': problem([], [1], [61], [1]),
  'windows of one': problem([1], [67], [1], [1]),
  'windows side by side': problem([3], [13], [5], [5]),
  'windows that overlap': problem([2], [31], [7], [1]),
  'windows that overlap, ragged': problem([5], [23], [7], [3], [1], 2),
  'gaps between them': problem([1, 7], [11], [2], [5]),
  'dilated, gaps behind them': problem([3], [13], [3], [2], [4], 5),
  'a long line': problem([], [20011], [5], [2]),
  'many short lines': problem([1009], [2], [2], [1]),
  'two axes': problem([2, 3], [5, 7], [3, 3], [1, 1]),
  'two axes, one of one': problem([1], [1, 13], [1, 5], [3, 2], [1, 3], 1),
  'two axes that differ': problem([3], [5, 4], [2, 7], [2, 3], [3, 1], 1),
  'two axes, a row of pixels': problem([1], [1, 4001], [1, 3], [1, 1]),
  'three axes': problem([2], [3, 2, 5], [2, 3, 1], [1, 2, 3], [2, 1, 1], 1),
}

for (const [name, p] of Object.entries(table))
  test(name, async () => {
    const x = randomArray(
      p.input.reduce((a, b) => a * b, 1),
      1,
    )
    const want = foldReference(p, x)
    // The second folds every grid of more than three workgroups.
    for (const caps of [capabilities, { ...baselineCapabilities, maxGrid: 3 }]) {
      const [y] = await runProgram(device, foldProgram(p, caps), [x, new Float32Array(want.length).fill(Number.NaN)])
      const error = relativeError(y!, want)
      assert.ok(error <= 1e-6, `relative error ${error}`)
    }
  })

test.after(() => device.destroy())
test.run()
