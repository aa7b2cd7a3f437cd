/** Pointwise ops: values, gradients, special numbers, integers. */
import type { DType } from '../../../engine/dtype.ts'
import { defineOp, full, scalar, Tensor, where } from '../../../engine/index.ts'
import { b } from './engine.ts'
import { erf, map, zip } from './reference.ts'
import type { OpCase } from './table.ts'

const bitcast = (x: Tensor, to: DType): Tensor => new Tensor(b.bitcast(x.node, to))
const shapes = [[3, 5]]
const pair = [
  [3, 5],
  [3, 5],
]
const sigmoid = (v: number) => 1 / (1 + Math.exp(-v))
const floored = (v: number, w: number) => v - Math.floor(v / w) * w
const even = (v: number) => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v))
const { NaN: nan, POSITIVE_INFINITY: inf } = Number
const special = [[nan, inf, -inf, 0, -0, 1, 3e38]]
const integer = { gradient: false }
const ints = { ...integer, dtypes: ['i32', 'i32'], dtype: 'i32', range: [-20, 20] } as const
const words = { ...integer, dtypes: ['u32', 'u32'], dtype: 'u32', range: [1, 20] } as const
const test = { ...integer, dtype: 'bool', spaced: true } as const
const bits = { ...integer, dtypes: ['bool', 'bool'], dtype: 'bool' } as const

/** scale · x², from WGSL. */
const own = defineOp({
  inputs: { x: 'f32', scale: 'f32[]' },
  output: (x) => x.shape,
  wgsl: 'y[i] = x[i] * x[i] * scale;',
  vjp: ({ x, scale }, dy) => ({ x: dy.mul(x).mul(scale).mul(2), scale: dy.mul(x.square()).sum() }),
})

// biome-ignore format: one line a case
export const unaryCases: OpCase[] = [
  { op: 'neg', shapes, f: (x) => x.neg(), reference: (x) => map(x, (v) => -v) },
  { op: 'abs', shapes, spaced: true, f: (x) => x.abs(), reference: (x) => map(x, Math.abs) },
  { op: 'sign', shapes, spaced: true, f: (x) => x.sign(), reference: (x) => map(x, Math.sign) },
  { op: 'floor', shapes, values: [[-1.5, -0.25, 0.25, 2.5, 3.75]], f: (x) => x.floor(), reference: (x) => map(x, Math.floor) },
  { op: 'ceil', shapes, values: [[-1.5, -0.25, 0.25, 2.5, 3.75]], f: (x) => x.ceil(), reference: (x) => map(x, Math.ceil) },
  { op: 'round', shapes, gradient: false, values: [[-1.5, -0.5, 0.5, 1.5, 2.5, 0.4]], f: (x) => x.round(), reference: (x) => map(x, even) },
  { op: 'exp', shapes, f: (x) => x.exp(), reference: (x) => map(x, Math.exp) },
  { op: 'log', shapes, range: [0.3, 4], f: (x) => x.log(), reference: (x) => map(x, Math.log) },
  { op: 'sqrt', shapes, range: [0.3, 4], f: (x) => x.sqrt(), reference: (x) => map(x, Math.sqrt) },
  { op: 'rsqrt', shapes, range: [0.3, 4], f: (x) => x.rsqrt(), reference: (x) => map(x, (v) => 1 / Math.sqrt(v)) },
  { op: 'reciprocal', shapes, range: [0.4, 4], f: (x) => x.reciprocal(), reference: (x) => map(x, (v) => 1 / v) },
  { op: 'sin', shapes, tolerance: 5e-6, f: (x) => x.sin(), reference: (x) => map(x, Math.sin) },
  { op: 'cos', shapes, tolerance: 5e-6, f: (x) => x.cos(), reference: (x) => map(x, Math.cos) },
  { op: 'tanh', shapes, f: (x) => x.tanh(), reference: (x) => map(x, Math.tanh) },
  { op: 'tanh far out', shapes, gradient: false, values: [[-200, -20, 20, 200, 0.001]], f: (x) => x.tanh(), reference: (x) => map(x, Math.tanh) },
  { op: 'erf', shapes: [[7, 11]], range: [-4, 4], f: (x) => x.erf(), reference: (x) => map(x, erf) },
  { op: 'sigmoid', shapes, range: [-9, 9], f: (x) => x.sigmoid(), reference: (x) => map(x, sigmoid) },
  { op: 'sigmoid far out', shapes, gradient: false, values: [[-300, -100, 100, 300]], f: (x) => x.sigmoid(), reference: (x) => map(x, sigmoid) },
  { op: 'softplus', shapes, range: [-9, 9], f: (x) => x.softplus(), reference: (x) => map(x, (v) => Math.log1p(Math.exp(v))) },
  { op: 'square', shapes, f: (x) => x.square(), reference: (x) => map(x, (v) => v * v) },
  { op: 'relu', shapes, spaced: true, f: (x) => x.relu(), reference: (x) => map(x, (v) => Math.max(v, 0)) },
  { op: 'silu', shapes, f: (x) => x.silu(), reference: (x) => map(x, (v) => v * sigmoid(v)) },
  { op: 'gelu', shapes, range: [-4, 4], f: (x) => x.gelu(), reference: (x) => map(x, (v) => (v * (1 + erf(v * Math.SQRT1_2))) / 2) },
  { op: 'clamp', shapes, spaced: true, f: (x) => x.clamp(-0.5, 0.4), reference: (x) => map(x, (v) => Math.min(Math.max(v, -0.5), 0.4)) },
  { op: 'isNan', shapes: [[7]], ...bits, dtypes: ['f32'], values: special, f: (x) => x.isNan(), reference: (x) => map(x, (v) => Number(Number.isNaN(v))) },
  { op: 'isFinite', shapes: [[7]], ...bits, dtypes: ['f32'], values: special, f: (x) => x.isFinite(), reference: (x) => map(x, (v) => Number(Number.isFinite(v))) },
  { op: 'not', shapes, ...bits, f: (x) => x.not(), reference: (x) => map(x, (v) => 1 - v) },
  { op: 'detach', shapes, gradient: false, f: (x) => x.detach().add(x), reference: (x) => map(x, (v) => 2 * v) },
  { op: 'after', shapes, f: (x) => new Tensor(b.record('after', [x.exp().node, x.square().node], {})), reference: (x) => map(x, Math.exp) },
  { op: 'contiguous', shapes, f: (x) => x.exp().contiguous().sin(), tolerance: 5e-6, reference: (x) => map(x, (v) => Math.sin(Math.exp(v))) },
  { op: 'custom', shapes: [[3, 5], []], f: (x, s) => own(x, s), reference: (x, s) => map(x, (v) => s.data[0]! * v * v) },
  { op: 'neg of integers', shapes, ...ints, f: (x) => x.neg(), reference: (x) => map(x, (v) => -v) },
  { op: 'abs and sign of integers', shapes, ...ints, f: (x) => x.abs().add(x.sign()), reference: (x) => map(x, (v) => Math.abs(v) + Math.sign(v)) },
  { op: 'sign of u32', shapes, ...words, range: [0, 3], f: (x) => x.sign(), reference: (x) => map(x, Math.sign) },
]

// biome-ignore format: one line a case
export const binaryCases: OpCase[] = [
  { op: 'add', shapes: pair, f: (x, y) => x.add(y), reference: (x, y) => zip((v, w) => v + w, x, y) },
  { op: 'add a row', shapes: [[3, 5], [5]], f: (x, y) => x.add(y), reference: (x, y) => zip((v, w) => v + w, x, y) },
  { op: 'add row and column', shapes: [[7, 1], [1, 5]], f: (x, y) => x.add(y), reference: (x, y) => zip((v, w) => v + w, x, y) },
  { op: 'sub a scalar', shapes: [[3, 5], []], f: (x, y) => x.sub(y), reference: (x, y) => zip((v, w) => v - w, x, y) },
  { op: 'sub', shapes: pair, f: (x, y) => x.sub(y), reference: (x, y) => zip((v, w) => v - w, x, y) },
  { op: 'mul over four axes', shapes: [[2, 1, 3, 1], [5, 1, 2]], f: (x, y) => x.mul(y), reference: (x, y) => zip((v, w) => v * w, x, y) },
  { op: 'div', shapes: pair, range: [0.4, 3], f: (x, y) => x.div(y), reference: (x, y) => zip((v, w) => v / w, x, y) },
  { op: 'pow', shapes: pair, range: [0.4, 3], tolerance: 1e-5, f: (x, y) => x.pow(y), reference: (x, y) => zip((v, w) => v ** w, x, y) },
  { op: 'pow of negatives', shapes, range: [-3, -0.5], tolerance: 1e-5, f: (x) => x.pow(5).add(x.pow(4)), reference: (x) => map(x, (v) => v ** 5 + v ** 4) },
  { op: 'pow by numbers', shapes, range: [0.5, 2], tolerance: 1e-5,
    f: (x) => x.pow(1).add(x.pow(2)).add(x.pow(3)).add(x.pow(0.5)).add(x.pow(-0.5)).add(x.pow(-1)).add(x.pow(1.7)),
    reference: (x) => map(x, (v) => v + v ** 2 + v ** 3 + v ** 0.5 + v ** -0.5 + 1 / v + v ** 1.7) },
  { op: 'pow at zero', shapes: [[4]], gradient: false, values: [[0, 0, 2, -2]], f: (x) => x.pow(scalar(0)).add(x.pow(4)), reference: (x) => map(x, (v) => 1 + v ** 4) },
  { op: 'mod', shapes: [[4], [4]], values: [[5.5, -5.5, 5.5, -5.5], [3, 3, -3, -3]], f: (x, y) => x.mod(y), reference: (x, y) => zip(floored, x, y) },
  { op: 'maximum', shapes: [[3, 5], [5]], spaced: true, values: [undefined, [0.05, -0.12, 0.39, 0.22, -0.63]], f: (x, y) => x.maximum(y), reference: (x, y) => zip(Math.max, x, y) },
  { op: 'minimum', shapes: [[3, 5], [5]], spaced: true, values: [undefined, [0.05, -0.12, 0.39, 0.22, -0.63]], f: (x, y) => x.minimum(y), reference: (x, y) => zip(Math.min, x, y) },
  { op: 'where', shapes: [[3, 5], [5], [3, 1]], dtypes: ['bool', 'f32', 'f32'], f: (c, x, y) => where(c, x, y), reference: (c, x, y) => zip((k, v, w) => (k ? v : w), c, x, y) },
  { op: 'where with numbers', shapes, spaced: true, f: (x) => where(x.greater(0), x.square(), 3), reference: (x) => map(x, (v) => (v > 0 ? v * v : 3)) },
  { op: 'less', shapes: pair, ...test, values: [undefined, [0, 1, 0.306]], f: (x, y) => x.less(y), reference: (x, y) => zip((v, w) => Number(v < w), x, y) },
  { op: 'lessEqual', shapes: pair, ...test, values: [[1, 2, 3], [2, 2, 2]], f: (x, y) => x.lessEqual(y), reference: (x, y) => zip((v, w) => Number(v <= w), x, y) },
  { op: 'greater', shapes: pair, ...test, values: [[1, 2, 3], [2, 2, 2]], f: (x, y) => x.greater(y), reference: (x, y) => zip((v, w) => Number(v > w), x, y) },
  { op: 'greaterEqual', shapes: pair, ...test, values: [[1, 2, 3], [2, 2, 2]], f: (x, y) => x.greaterEqual(y), reference: (x, y) => zip((v, w) => Number(v >= w), x, y) },
  { op: 'equal', shapes: pair, ...test, values: [[1, 2, 3], [2, 2, 2]], f: (x, y) => x.equal(y), reference: (x, y) => zip((v, w) => Number(v === w), x, y) },
  { op: 'notEqual', shapes: pair, ...test, values: [[1, 2, 3], [2, 2, 2]], f: (x, y) => x.notEqual(y), reference: (x, y) => zip((v, w) => Number(v !== w), x, y) },
  { op: 'and', shapes: pair, ...bits, f: (x, y) => x.and(y), reference: (x, y) => zip((v, w) => v & w, x, y) },
  { op: 'or', shapes: pair, ...bits, f: (x, y) => x.or(y), reference: (x, y) => zip((v, w) => v | w, x, y) },
  { op: 'equal of bools', shapes: pair, ...bits, f: (x, y) => x.equal(y), reference: (x, y) => zip((v, w) => Number(v === w), x, y) },
  { op: 'i32 arithmetic', shapes: pair, ...ints, f: (x, y) => x.add(y).mul(y).sub(x).add(3), reference: (x, y) => zip((v, w) => (v + w) * w - v + 3, x, y) },
  { op: 'i32 div', shapes: pair, ...ints, values: [undefined, [3, -4, 7]], f: (x, y) => x.div(y), reference: (x, y) => zip((v, w) => Math.trunc(v / w), x, y) },
  { op: 'i32 mod', shapes: pair, ...ints, values: [undefined, [3, -4, 7]], f: (x, y) => x.mod(y), reference: (x, y) => zip(floored, x, y) },
  { op: 'i32 pow', shapes, ...ints, range: [-5, 5], f: (x) => x.pow(5), reference: (x) => map(x, (v) => v ** 5) },
  { op: 'i32 extrema', shapes: pair, ...ints, f: (x, y) => x.maximum(y).mul(100).add(x.minimum(y)), reference: (x, y) => zip((v, w) => 100 * Math.max(v, w) + Math.min(v, w), x, y) },
  { op: 'u32 arithmetic', shapes: pair, ...words, f: (x, y) => x.mul(y).add(x.mod(y)).add(x.div(y)).add(x.pow(3)), reference: (x, y) => zip((v, w) => v * w + (v % w) + Math.floor(v / w) + v ** 3, x, y) },
  { op: 'i32 with a fraction', shapes, ...ints, dtype: 'f32', f: (x) => x.mul(0.5), reference: (x) => map(x, (v) => v / 2) },
  { op: 'i32 with f32', shapes: pair, dtypes: ['i32', 'f32'], range: [-3, 3], f: (x, y) => x.mul(y), reference: (x, y) => zip((v, w) => v * w, x, y) },
  { op: 'bool plus number', shapes, gradient: false, dtypes: ['bool'], f: (x) => x.add(0.5), reference: (x) => map(x, (v) => v + 0.5) },
  { op: 'infinities and NaN as constants', shapes: [[4]], gradient: false, spaced: true,
    f: (x) => where(x.greater(0), full([], inf), full([], nan)).add(where(x.less(-1.5), full([], -inf), 0)).isNan().cast('f32'), reference: (x) => map(x, (v) => Number(!(v > 0))), values: [[1, -1, 2, -2]] },
  { op: 'huge and tiny constants', shapes: [[4]], gradient: false, values: [[1, 2, 3, 4]],
    f: (x) => x.mul(1e20).mul(3e-21).add(x.mul(1.5e9)).add(x.mul(1e-40)), reference: (x) => map(x, (v) => v * 0.3 + v * 1.5e9) },
]

// biome-ignore format: one line a case
export const castCases: OpCase[] = [
  { op: 'cast f32 to i32', shapes, ...integer, range: [-9, 9], dtype: 'i32', f: (x) => x.cast('i32'), reference: (x) => map(x, Math.trunc) },
  { op: 'cast f32 to u32', shapes, ...integer, range: [0, 9], dtype: 'u32', f: (x) => x.cast('u32'), reference: (x) => map(x, Math.trunc) },
  { op: 'cast f32 to bool', shapes, ...integer, values: [[0, 0.1, -2]], dtype: 'bool', f: (x) => x.cast('bool'), reference: (x) => map(x, (v) => Number(v !== 0)) },
  { op: 'cast i32 to f32', shapes, ...integer, dtypes: ['i32'], range: [-9, 9], f: (x) => x.cast('f32'), reference: (x) => x },
  { op: 'cast i32 to u32', shapes, ...integer, dtypes: ['i32'], values: [[-1, 5]], dtype: 'u32', f: (x) => x.cast('u32'), reference: (x) => map(x, (v) => v >>> 0) },
  { op: 'cast i32 to bool', shapes, ...integer, dtypes: ['i32'], values: [[-1, 0, 5]], dtype: 'bool', f: (x) => x.cast('bool'), reference: (x) => map(x, (v) => Number(v !== 0)) },
  { op: 'cast u32 to f32', shapes, ...integer, dtypes: ['u32'], values: [[0, 7, 4294967295]], f: (x) => x.cast('f32'), reference: (x) => x },
  { op: 'cast bool to all', shapes, ...integer, dtypes: ['bool'], f: (x) => x.cast('f32').add(x.cast('i32')).add(x.cast('u32')), reference: (x) => map(x, (v) => 3 * v) },
  { op: 'bitcast', shapes, ...integer, values: [[1, -2, 0.5]], dtype: 'u32', tolerance: 0, f: (x) => bitcast(x, 'u32'), reference: (x) => map(x, (v) => new Uint32Array(Float32Array.of(v).buffer)[0]!) },
]
