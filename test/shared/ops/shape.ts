/** Views, joins, indices and order. */
import { arange, concat, eye, full, ones, stack, Tensor, zeros } from '../../../engine/index.ts'
import { b } from './engine.ts'
import { build, get, map, reshaped, transposed, zip } from './reference.ts'
import type { OpCase } from './table.ts'

const box = [[2, 3, 5]]
const integer = { gradient: false } as const
const index = { dtypes: ['f32', 'i32'] } as const
const twenty = Array.from({ length: 20 }, (_, i) => [1 + (i % 3), 2])
/** Rows of a by rows of b along axis 0. */
const stretch = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i))

// biome-ignore format: one line a case
export const viewCases: OpCase[] = [
  { op: 'reshape', shapes: box, f: (x) => x.reshape([5, -1]).exp().reshape([3, 10]), reference: (x) => reshaped(map(x, Math.exp), 3, 10) },
  { op: 'flatten', shapes: box, f: (x) => x.flatten(1), reference: (x) => reshaped(x, 2, 15) },
  { op: 'permute', shapes: box, f: (x) => x.permute([2, 0, 1]), reference: (x) => transposed(x, [2, 0, 1]) },
  { op: 'transpose', shapes: box, f: (x) => x.transpose(0, -1), reference: (x) => transposed(x, [2, 1, 0]) },
  { op: 'reshape of a permutation', shapes: box, f: (x) => x.permute([1, 0, 2]).reshape([6, 5]).transpose().reshape([10, 3]),
    reference: (x) => reshaped(transposed(reshaped(transposed(x, [1, 0, 2]), 6, 5), [1, 0]), 10, 3) },
  { op: 'expand', shapes: [[3, 1]], f: (x) => x.expand([2, 3, 5]), reference: (x) => build([2, 3, 5], ([, i]) => get(x, i!, 0)) },
  { op: 'reshape of an expansion', shapes: [[3, 1]], f: (x) => x.expand([2, 3, 5]).reshape([6, 5]).square(), reference: (x) => build([6, 5], ([i]) => get(x, i! % 3, 0) ** 2) },
  { op: 'squeeze and unsqueeze', shapes: [[3, 1, 5]], f: (x) => x.squeeze(1).unsqueeze(-1), reference: (x) => reshaped(x, 3, 5, 1) },
  { op: 'slice', shapes: [[4, 5, 7]], f: (x) => x.slice([[1, 3], null, [-4, -1]]), reference: (x) => build([2, 5, 3], ([i, j, k]) => get(x, i! + 1, j!, k! + 3)) },
  { op: 'narrow', shapes: box, f: (x) => x.narrow(-1, 2), reference: (x) => build([2, 3, 3], ([i, j, k]) => get(x, i!, j!, k! + 2)) },
  { op: 'select', shapes: box, f: (x) => x.select(1, -1), reference: (x) => build([2, 5], ([i, k]) => get(x, i!, 2, k!)) },
  { op: 'split', shapes: box, f: (x) => { const [p, q] = x.split([2, 3], 2); return p!.sum(-1).mul(q!.sum(-1)) },
    reference: (x) => build([2, 3], ([i, j]) => (get(x, i!, j!, 0) + get(x, i!, j!, 1)) * (get(x, i!, j!, 2) + get(x, i!, j!, 3) + get(x, i!, j!, 4))) },
  { op: 'split into equal parts', shapes: [[6, 2]], f: (x) => x.split(3)[1]!, reference: (x) => build([2, 2], ([i, j]) => get(x, i! + 2, j!)) },
  { op: 'flip', shapes: box, f: (x) => x.flip([0, -1]), reference: (x) => build([2, 3, 5], ([i, j, k]) => get(x, 1 - i!, j!, 4 - k!)) },
  { op: 'pad', shapes: box, f: (x) => x.pad([[1, 0], [0, 2], [3, 1]], 0.5).square(),
    reference: (x) => build([3, 5, 9], ([i, j, k]) => (i! >= 1 && j! < 3 && k! >= 3 && k! < 8 ? get(x, i! - 1, j!, k! - 3) ** 2 : 0.25)) },
  { op: 'pad twice', shapes: [[1, 3]], f: (x) => x.pad([[1, 1], [0, 0]]).pad([[0, 1], [2, 0]], -1), reference: (x) => build([4, 5], ([i, j]) => (i === 3 || j! < 2 ? -1 : i === 1 ? get(x, 0, j! - 2) : 0)) },
  { op: 'roll', shapes: box, f: (x) => x.roll(2).roll(-4, 1), reference: (x) => build([2, 3, 5], ([i, j, k]) => get(x, i!, (j! + 4) % 3, (k! + 3) % 5)) },
  { op: 'concat', shapes: [[2, 3], [2, 1], [2, 4]], f: (x, y, z) => concat([x, y, z], 1).square(), reference: (x, y, z) => build([2, 8], ([i, j]) => (j! < 3 ? get(x, i!, j!) : j! < 4 ? get(y, i!, 0) : get(z, i!, j! - 4)) ** 2) },
  { op: 'concat of twenty', shapes: twenty, second: false, gradient: false, views: false, f: (...xs) => concat(xs).square(), reference: (...xs) => { const rows = xs.flatMap((x) => stretch(x.shape[0]!, (i) => [get(x, i, 0), get(x, i, 1)])); return build([rows.length, 2], ([i, j]) => rows[i!]![j!]! ** 2) } },
  { op: 'concat of nine', shapes: stretch(9, () => [1, 2]), views: false, second: false, f: (...xs) => concat(xs).square(), reference: (...xs) => build([9, 2], ([i, j]) => get(xs[i!]!, 0, j!) ** 2) },
  { op: 'concat with itself', shapes: [[3, 2]], f: (x) => concat([x, x.mul(2), x], 0), reference: (x) => build([9, 2], ([i, j]) => get(x, i! % 3, j!) * (i! >= 3 && i! < 6 ? 2 : 1)) },
  { op: 'sum of twenty tensors', shapes: stretch(20, () => [3, 2]), second: false, f: (...xs) => xs.slice(1).reduce((a, x, i) => (i % 2 ? a.add(x) : a.mul(0.5).sub(x)), xs[0]!), reference: (...xs) => xs.slice(1).reduce((a, x, i) => zip((v, w) => (i % 2 ? v + w : 0.5 * v - w), a, x), xs[0]!) },
  { op: 'stack', shapes: [[2, 3], [2, 3]], f: (x, y) => stack([x, y], 1), reference: (x, y) => build([2, 2, 3], ([i, s, j]) => get(s ? y : x, i!, j!)) },
  { op: 'where a shape has a zero', shapes: [[3, 4]], f: (x) => concat([x.narrow(1, 2, 2), x, zeros([3, 0])], 1).mul(x.narrow(0, 1, 1).sum(0)), reference: (x) => map(x, () => 0), views: false },
  { op: 'constants', shapes: [[3, 3]], f: (x) => x.mul(eye(3)).add(arange(3)).add(ones([3])).add(full([3, 1], 2)).add(arange(2, 8, 2)), reference: (x) => build([3, 3], ([i, j]) => (i === j ? get(x, i!, j!) : 0) + j! + 3 + 2 + 2 * j!) },
]

// biome-ignore format: one line a case
export const indexCases: OpCase[] = [
  { op: 'gather', shapes: [[3, 5], [3, 4]], ...index, range: [0, 4], f: (x, i) => x.gather(i, 1), reference: (x, i) => build([3, 4], ([r, c]) => get(x, r!, get(i, r!, c!))) },
  { op: 'gather, one index for all', shapes: [[5, 2, 3], [7, 1, 1]], ...index, range: [0, 4], f: (x, i) => x.square().gather(i, 0), reference: (x, i) => build([7, 2, 3], ([r, c, d]) => get(x, get(i, r!, 0, 0), c!, d!) ** 2) },
  { op: 'take', shapes: [[5, 2, 3], [4]], ...index, range: [0, 2], f: (x, i) => x.take(i, -1), reference: (x, i) => build([5, 2, 4], ([r, c, d]) => get(x, r!, c!, get(i, d!))) },
  { op: 'take u32', shapes: [[5, 3], [4]], dtypes: ['f32', 'u32'], range: [0, 4], f: (x, i) => x.take(i), reference: (x, i) => build([4, 3], ([r, c]) => get(x, get(i, r!), c!)) },
  { op: 'take of integers', shapes: [[5, 3], [4]], ...integer, dtypes: ['i32', 'i32'], range: [0, 4], dtype: 'i32', f: (x, i) => x.take(i), reference: (x, i) => build([4, 3], ([r, c]) => get(x, get(i, r!), c!)) },
  { op: 'scatterAdd', shapes: [[3, 5], [3, 5]], ...index, range: [0, 3], f: (x, i) => x.scatterAdd(i, 1, 4), reference: (x, i) => build([3, 4], ([r, c]) => [0, 1, 2, 3, 4].reduce((s, k) => s + (get(i, r!, k) === c ? get(x, r!, k) : 0), 0)) },
  { op: 'scatterAdd, one index for all', shapes: [[2, 5, 3], [1, 5, 1]], ...index, range: [0, 6], f: (x, i) => x.square().scatterAdd(i, 1, 7), reference: (x, i) => build([2, 7, 3], ([r, c, d]) => [0, 1, 2, 3, 4].reduce((s, k) => s + (get(i, 0, k, 0) === c ? get(x, r!, k, d!) ** 2 : 0), 0)) },
  { op: 'oneHot', shapes: [[2, 3]], ...integer, dtypes: ['i32'], range: [0, 4], f: (i) => i.oneHot(5), reference: (i) => build([2, 3, 5], ([r, c, k]) => Number(get(i, r!, c!) === k)) },
  { op: 'oneHot of u32', shapes: [[7]], ...integer, dtypes: ['u32'], range: [0, 2], f: (i) => i.oneHot(3), reference: (i) => build([7, 3], ([r, k]) => Number(get(i, r!) === k)) },
  { op: 'cumsum', shapes: [[3, 7]], f: (x) => x.cumsum(), reference: (x) => build([3, 7], ([r, c]) => stretch(c! + 1, (k) => get(x, r!, k)).reduce((s, v) => s + v, 0)) },
  { op: 'cumsum along the first axis', shapes: [[5, 3]], f: (x) => x.cumsum(0).square(), reference: (x) => build([5, 3], ([r, c]) => stretch(r! + 1, (k) => get(x, k, c!)).reduce((s, v) => s + v, 0) ** 2) },
  { op: 'argmax', shapes: [[3, 7]], ...integer, dtype: 'i32', spaced: true, f: (x) => x.argmax(), reference: (x) => build([3], ([r]) => { const row = stretch(7, (k) => get(x, r!, k)); return row.indexOf(Math.max(...row)) }) },
  { op: 'argmax takes the first', shapes: [[2, 5]], ...integer, dtype: 'i32', values: [[1, 4, 2, 4, 0]], f: (x) => x.argmax(-1), reference: () => build([2], () => 1) },
  { op: 'argmin along the first axis', shapes: [[5, 3]], ...integer, dtype: 'i32', spaced: true, f: (x) => x.argmin(0), reference: (x) => build([3], ([c]) => { const column = stretch(5, (k) => get(x, k, c!)); return column.indexOf(Math.min(...column)) }) },
  { op: 'sort', shapes: [[3, 7]], spaced: true, f: (x) => x.sort().values, reference: (x) => build([3, 7], ([r, c]) => stretch(7, (k) => get(x, r!, k)).sort((v, w) => v - w)[c!]!) },
  { op: 'sort descending', shapes: [[3, 7]], spaced: true, f: (x) => x.sort(true).values.square(), reference: (x) => build([3, 7], ([r, c]) => stretch(7, (k) => get(x, r!, k)).sort((v, w) => w - v)[c!]! ** 2) },
  { op: 'sort is stable', shapes: [[2, 6]], ...integer, dtype: 'i32', values: [[2, 1, 2, 1, 0, 2]], f: (x) => x.sort().indices, reference: () => build([2, 6], ([, c]) => [4, 1, 3, 0, 2, 5][c!]!) },
  { op: 'topk', shapes: [[3, 11]], spaced: true, f: (x) => x.topk(4).values, reference: (x) => build([3, 4], ([r, c]) => stretch(11, (k) => get(x, r!, k)).sort((v, w) => w - v)[c!]!) },
  { op: 'topk indices', shapes: [[3, 11]], ...integer, spaced: true, dtype: 'i32', f: (x) => x.topk(4).indices, reference: (x) => build([3, 4], ([r, c]) => { const row = stretch(11, (k) => get(x, r!, k)); return row.indexOf([...row].sort((v, w) => w - v)[c!]!) }) },
  { op: 'strided slice', shapes: [[7, 5]], f: (x) => new Tensor(b.slice(x.node, [6, 0], [3, 3], [-3, 2])).square(), reference: (x) => build([3, 3], ([r, c]) => get(x, 6 - 3 * r!, 2 * c!) ** 2) },
]
