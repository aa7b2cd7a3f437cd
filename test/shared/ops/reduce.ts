/** Reductions over any axes, and what is made of them. */
import { alongLast, build, fold, get, map, maxOver, reshaped, sumOver, transposed, zip } from './reference.ts'
import type { OpCase } from './table.ts'

const box = [[3, 4, 5]]
const { POSITIVE_INFINITY: inf } = Number
const integer = { gradient: false, dtypes: ['i32'], dtype: 'i32', range: [-9, 9] } as const
const logsumexp = (line: Float64Array) => {
  const top = Math.max(...line)
  return top + Math.log(line.reduce((s, v) => s + Math.exp(v - top), 0))
}
const softmax = (line: Float64Array) => line.map((v) => Math.exp(v - logsumexp(line)))

// biome-ignore format: one line a case
export const reductionCases: OpCase[] = [
  { op: 'sum', shapes: box, tolerance: 5e-6, f: (x) => x.sum(), reference: (x) => sumOver(x, 0, 1, 2) },
  { op: 'sum of the last axis', shapes: box, f: (x) => x.square().sum(-1), reference: (x) => sumOver(map(x, (v) => v * v), 2) },
  { op: 'sum of the first axis', shapes: box, f: (x) => x.square().sum(0), reference: (x) => sumOver(map(x, (v) => v * v), 0) },
  { op: 'sum of outer axes', shapes: box, tolerance: 5e-6, f: (x) => x.sum([0, 2]).square(), reference: (x) => map(sumOver(x, 0, 2), (v) => v * v) },
  { op: 'sum keeping axes', shapes: box, tolerance: 5e-6, f: (x) => x.div(x.sum([1, 2], true)), range: [0.5, 1], reference: (x) => zip((v, s) => v / s, x, reshaped(sumOver(x, 1, 2), 3, 1, 1)) },
  { op: 'sum of many', shapes: [[2, 3001]], tolerance: 2e-5, range: [0, 1], f: (x) => x.sum(-1), reference: (x) => sumOver(x, 1), second: false },
  { op: 'sum of many into one', shapes: [[97, 101]], tolerance: 2e-5, range: [0, 1], f: (x) => x.sum(), reference: (x) => sumOver(x, 0, 1), second: false },
  { op: 'sum of a long first axis', shapes: [[701, 3]], tolerance: 2e-5, range: [0, 1], f: (x) => x.exp().sum(0).log(), reference: (x) => map(sumOver(map(x, Math.exp), 0), Math.log) },
  { op: 'sum of one', shapes: [[1, 1]], f: (x) => x.sum(0).exp(), reference: (x) => map(reshaped(x, 1), Math.exp) },
  { op: 'sum of sums', shapes: box, tolerance: 1e-5, f: (x) => x.sum(-1).exp().sum(0), reference: (x) => sumOver(map(sumOver(x, 2), Math.exp), 0), range: [-0.5, 0.5] },
  { op: 'sum of i32', shapes: box, ...integer, f: (x) => x.sum([0, 1]), reference: (x) => sumOver(x, 0, 1) },
  { op: 'max of i32', shapes: box, ...integer, f: (x) => x.max(1), reference: (x) => maxOver(x, 1) },
  { op: 'min of u32', shapes: box, ...integer, dtypes: ['u32'], dtype: 'u32', range: [3, 99], f: (x) => x.min([0, 2]), reference: (x) => fold(x, [0, 2], inf, Math.min) },
  { op: 'sum of u32, all of it', shapes: box, ...integer, dtypes: ['u32'], dtype: 'u32', range: [0, 99], f: (x) => x.sum(), reference: (x) => sumOver(x, 0, 1, 2) },
  { op: 'min of i32', shapes: box, ...integer, f: (x) => x.min([1, 2], true), reference: (x) => reshaped(fold(x, [1, 2], inf, Math.min), 3, 1, 1) },
  { op: 'all', shapes: box, ...integer, dtypes: ['bool'], dtype: 'bool', f: (x) => x.all([0]), reference: (x) => fold(x, [0], 1, Math.min) },
  { op: 'any', shapes: box, ...integer, dtypes: ['bool'], dtype: 'bool', f: (x) => x.any([0, 2]), reference: (x) => fold(x, [0, 2], 0, Math.max) },
  { op: 'argmax over outer axes', shapes: box, gradient: false, dtype: 'i32', spaced: true, f: (x) => x.argmax([0, 2]), reference: (x) => build([4], ([j]) => { const seen = Array.from({ length: 15 }, (_, k) => get(x, Math.floor(k / 5), j!, k % 5)); return seen.indexOf(Math.max(...seen)) }) },
  { op: 'argmin over all axes', shapes: box, gradient: false, dtype: 'i32', spaced: true, f: (x) => x.argmin([0, 1, 2]), reference: (x) => build([], () => x.data.indexOf(Math.min(...x.data))) },
  { op: 'variance over outer axes', shapes: box, tolerance: 1e-5, second: false, f: (x) => x.variance([0, 2]), reference: (x) => reshaped(alongLast(reshaped(transposed(x, [1, 0, 2]), 4, 15), variance(0)), 4) },
  { op: 'norm of everything', shapes: box, tolerance: 1e-5, second: false, f: (x) => x.norm(), reference: (x) => map(sumOver(map(x, (v) => v * v), 0, 1, 2), Math.sqrt) },
  { op: 'logsumexp over outer axes', shapes: box, tolerance: 1e-5, second: false, f: (x) => x.logsumexp([0, 2]), reference: (x) => reshaped(alongLast(reshaped(transposed(x, [1, 0, 2]), 4, 15), (l) => [logsumexp(l)]), 4) },
  { op: 'cosineSimilarity along the first axis', shapes: [[4, 3], [4, 3]], tolerance: 1e-5, second: false, f: (x, y) => x.cosineSimilarity(y, 0),
    reference: (x, y) => zip((d, p, q) => d / Math.sqrt(p * q), sumOver(zip((v, w) => v * w, x, y), 0), sumOver(map(x, (v) => v * v), 0), sumOver(map(y, (v) => v * v), 0)) },
  { op: 'prod of i32', shapes: [[2, 5]], ...integer, f: (x) => x.prod(-1), reference: (x) => fold(x, [1], 1, (a, v) => a * v) },
  { op: 'mean of i32', shapes: box, ...integer, dtype: 'f32', f: (x) => x.mean([0, 1]), reference: (x) => map(sumOver(x, 0, 1), (v) => v / 12) },
  { op: 'mean', shapes: box, f: (x) => x.mean(1), reference: (x) => map(sumOver(x, 1), (v) => v / 4) },
  { op: 'max', shapes: box, spaced: true, f: (x) => x.max([0, 2]), reference: (x) => maxOver(x, 0, 2) },
  { op: 'max of a computed value', shapes: box, spaced: true, f: (x) => x.mul(1.7).add(0.3).max(-1, true).sub(x), reference: (x) => zip((m, v) => m * 1.7 + 0.3 - v, reshaped(maxOver(x, 2), 3, 4, 1), x) },
  { op: 'max of −∞', shapes: [[2, 3]], gradient: false, values: [[-inf]], f: (x) => x.max(-1), reference: (x) => maxOver(x, 1) },
  { op: 'min', shapes: box, spaced: true, f: (x) => x.min(), reference: (x) => fold(x, [0, 1, 2], inf, Math.min) },
  { op: 'prod', shapes: [[3, 4]], tolerance: 1e-5, f: (x) => x.prod(-1), reference: (x) => fold(x, [1], 1, (a, v) => a * v) },
  { op: 'prod with zeros', shapes: [[3, 4]], second: false, values: [[2, 0, 3, 1.5, 0, -1, 0, 2, 1, 2, 3, -1]], f: (x) => x.prod(-1), reference: (x) => fold(x, [1], 1, (a, v) => a * v) },
  { op: 'variance', shapes: box, tolerance: 1e-5, f: (x) => x.variance(-1, true), reference: (x) => alongLast(x, variance(0)) },
  { op: 'variance, unbiased', shapes: box, tolerance: 1e-5, f: (x) => x.variance(-1, true, 1), reference: (x) => alongLast(x, variance(1)) },
  { op: 'norm', shapes: box, tolerance: 1e-5, f: (x) => x.norm(-1, true), reference: (x) => alongLast(x, (l) => [Math.hypot(...l)]) },
  { op: 'norm at zero', shapes: [[2, 3]], gradient: false, values: [[0, 0, 0, 3, 0, 4]], f: (x) => x.norm(-1), reference: (x) => map(sumOver(map(x, (v) => v * v), 1), Math.sqrt) },
  { op: 'logsumexp', shapes: box, tolerance: 1e-5, f: (x) => x.logsumexp(-1, true), reference: (x) => alongLast(x, (l) => [logsumexp(l)]) },
  { op: 'logsumexp of huge numbers', shapes: [[3, 4]], gradient: false, values: [[1000, 1001, 1000, 999, -inf, -inf, -inf, -inf, -1000, -1000, -inf, -1001]],
    f: (x) => x.logsumexp(-1, true), reference: (x) => alongLast(x, (l) => [Math.max(...l) === -inf ? -inf : logsumexp(l)]) },
  { op: 'softmax', shapes: [[3, 7]], f: (x) => x.softmax(), reference: (x) => alongLast(x, softmax) },
  { op: 'softmax along the middle', shapes: box, f: (x) => x.softmax(1), reference: (x) => transposed(alongLast(transposed(x, [0, 2, 1]), softmax), [0, 2, 1]) },
  { op: 'logSoftmax', shapes: [[3, 7]], tolerance: 1e-5, f: (x) => x.logSoftmax(), reference: (x) => alongLast(x, (l) => l.map((v) => v - logsumexp(l))) },
  { op: 'logSoftmax along the first axis', shapes: [[7, 3]], tolerance: 1e-5, f: (x) => x.logSoftmax(0), reference: (x) => transposed(alongLast(transposed(x, [1, 0]), (l) => l.map((v) => v - logsumexp(l))), [1, 0]) },
  { op: 'crossEntropy', shapes: [[5, 3], [5]], dtypes: ['f32', 'i32'], range: [0, 2], tolerance: 1e-5, f: (x, y) => x.mul(2).crossEntropy(y),
    reference: (x, y) => { const rows = alongLast(map(x, (v) => 2 * v), (l) => l.map((v) => v - logsumexp(l))); return { shape: [], data: Float64Array.of([0, 1, 2, 3, 4].reduce((s, i) => s - get(rows, i, get(y, i)) / 5, 0)) } } },
  { op: 'cosineSimilarity', shapes: [[3, 5], [3, 5]], tolerance: 1e-5, f: (x, y) => x.cosineSimilarity(y),
    reference: (x, y) => zip((d, p, q) => d / Math.sqrt(p * q), sumOver(zip((v, w) => v * w, x, y), 1), sumOver(map(x, (v) => v * v), 1), sumOver(map(y, (v) => v * v), 1)) },
]

function variance(correction: number) {
  return (line: Float64Array): number[] => {
    const mean = line.reduce((s, v) => s + v, 0) / line.length
    return [line.reduce((s, v) => s + (v - mean) ** 2, 0) / (line.length - correction)]
  }
}
