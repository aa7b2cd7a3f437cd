/** Windows: pooling, folding, warping; and the order and sums of integers. */
import { affineWarp, Tensor } from '../../../engine/index.ts'
import { affineWarpReference } from '../../../kernels/warp/reference.ts'
import { b } from './engine.ts'
import { build, get, map, type Nd, product, reshaped, transposed } from './reference.ts'
import type { OpCase } from './table.ts'

interface Pool {
  readonly size: readonly [number, number]
  readonly stride?: readonly [number, number]
  readonly padding?: readonly [number, number]
  readonly dilation?: readonly [number, number]
  readonly countPadding?: boolean
}

/** Pooling loop by loop over [..., H, W]. */
function pooled(x: Nd, mode: 'max' | 'mean', o: Pool): Nd {
  const { size, stride = size, padding = [0, 0], dilation = [1, 1] } = o
  const [h, w] = x.shape.slice(-2) as [number, number]
  const extent = (d: number, i: 0 | 1) =>
    Math.floor((d + 2 * padding[i] - dilation[i] * (size[i] - 1) - 1) / stride[i]) + 1
  return build([...x.shape.slice(0, -2), extent(h, 0), extent(w, 1)], (at) => {
    const [lead, i, j] = [at.slice(0, -2), at.at(-2)!, at.at(-1)!]
    const seen: number[] = []
    for (let p = 0; p < size[0]; p++)
      for (let q = 0; q < size[1]; q++) {
        const [r, c] = [i * stride[0] + p * dilation[0] - padding[0], j * stride[1] + q * dilation[1] - padding[1]]
        if (r >= 0 && r < h && c >= 0 && c < w) seen.push(get(x, ...lead, r, c))
      }
    if (mode === 'max') return Math.max(...seen)
    return seen.reduce((s, v) => s + v, 0) / (o.countPadding === false ? seen.length : size[0] * size[1])
  })
}

const pool = (mode: 'max' | 'mean', shape: number[], o: Pool, rest: Partial<OpCase> = {}): OpCase => ({
  op: `${mode}Pool2d ${JSON.stringify(o)}`,
  shapes: [shape],
  spaced: mode === 'max',
  f: (x) => (mode === 'max' ? x.maxPool2d(o.size, o) : x.meanPool2d(o.size, o)),
  reference: (x) => pooled(x, mode, o),
  ...rest,
})

// Turned, scaled and shifted; every source point stands well away from a pixel's centre, where the gradient jumps.
const turned = [0.74, -0.6, 0.4, 0.07, 0.76, -0.03]
const mirrored = [-0.79, 0.54, 0.4, 0.08, 0.79, 0.49]
const sheared = [0.76, -0.07, -0.07, 0.63, 0.63, 0.2]
/** All on one line: the inverse map does not exist. */
const flat = [0.4, 0.4, 0.03, 0.4, 0.4, 0.17]
const warp = (x: Nd, m: Nd, oh: number, ow: number): Nd => {
  const [n, c, h, w] = x.shape as [number, number, number, number]
  const matrix = m.shape.length === 2 ? Float64Array.from({ length: 6 * n }, (_, i) => m.data[i % 6]!) : m.data
  return { shape: [n, c, oh, ow], data: affineWarpReference({ n, c, h, w, oh, ow }, x.data, matrix) }
}

const lines = (x: Nd) => build([4, 3], ([i, k]) => get(x, 2 * i! + k!))
const folded = (x: Nd) =>
  build([11], ([p]) => {
    let s = 0
    for (let i = 0; i < 4; i++) for (let k = 0; k < 3; k++) if (2 * i + k * 2 === p) s += get(x, i, k)
    return s
  })

// biome-ignore format: one line a case
export const windowCases: OpCase[] = [
  { op: 'windows', shapes: [[9]], f: (x) => x.windows(0, 3, 2).square(), reference: (x) => map(lines(x), (v) => v * v) },
  { op: 'windows of an inner axis', shapes: [[2, 7, 3]], second: false, f: (x) => x.windows(1, 2, 2, 3).exp(), reference: (x) => build([2, 2, 3, 2], ([n, i, c, k]) => Math.exp(get(x, n!, 2 * i! + 3 * k!, c!))) },
  { op: 'windows in a matrix product', shapes: [[2, 9], [3, 4]], tolerance: 5e-6, gradient: false, f: (x, w) => x.windows(1, 3, 2).matmul(w), reference: (x, w) => product(build([2, 4, 3], ([n, i, k]) => get(x, n!, 2 * i! + k!)), w) },
  { op: 'fold', shapes: [[4, 3]], f: (x) => new Tensor(b.fold(x.node, { axes: [0], lengths: [11], strides: [2], dilations: [2] })).square(), reference: (x) => map(folded(x), (v) => v * v) },
  pool('mean', [2, 3, 6, 8], { size: [2, 2] }),
  pool('mean', [1, 2, 7, 5], { size: [3, 2], stride: [2, 1], padding: [1, 1] }, { second: false }),
  pool('mean', [2, 7, 5], { size: [3, 3], stride: [2, 2], padding: [1, 1], countPadding: false }),
  pool('mean', [6, 7], { size: [2, 3], stride: [1, 1], dilation: [2, 2] }, { second: false }),
  pool('mean', [4, 6], { size: [2, 2] }, { gradient: false, dtypes: ['i32'], range: [-9, 9] }),
  pool('max', [2, 3, 6, 8], { size: [2, 2] }),
  pool('max', [1, 2, 7, 5], { size: [3, 3], stride: [2, 2], padding: [1, 1] }),
  pool('max', [6, 7], { size: [2, 3], stride: [1, 2], dilation: [3, 1] }, { second: false }),
  pool('max', [2, 5, 5], { size: [3, 3], stride: [2, 2], padding: [1, 1] }, { gradient: false, dtypes: ['i32'], dtype: 'i32', range: [-99, -9] }),
  pool('max', [3, 4, 4], { size: [2, 2] }, { gradient: false, dtypes: ['u32'], dtype: 'u32', range: [0, 9] }),
  { op: 'affineWarp', shapes: [[2, 2, 4, 5], [2, 2, 3]], values: [undefined, [...turned, ...mirrored]], tolerance: 1e-5, epsilon: 1 / 256, gradient: 4e-3, f: (x, m) => affineWarp(x, m, 3, 4), reference: (x, m) => warp(x, m, 3, 4) },
  { op: 'affineWarp by one matrix', shapes: [[2, 1, 5, 4], [2, 3]], values: [undefined, sheared], tolerance: 1e-5, epsilon: 1 / 256, second: false, views: false, gradient: 4e-3, f: (x, m) => affineWarp(x, m, 3, 3), reference: (x, m) => warp(x, m, 3, 3) },
  { op: 'affineWarp onto a line', shapes: [[1, 2, 5, 5], [1, 2, 3]], values: [undefined, flat], tolerance: 1e-5, second: false, views: false, gradient: false, f: (x, m) => affineWarp(x, m, 4, 3), reference: (x, m) => warp(x, m, 4, 3) },
  { op: 'affineWarp by the identity', shapes: [[1, 1, 3, 4]], gradient: false, f: (x) => affineWarp(x, new Tensor(b.hostLeaf(Float32Array.of(1, 0, 0, 0, 1, 0), [2, 3], 'f32'))), reference: (x) => x },
  { op: 'gradient of affineWarp for the picture, onto a line', shapes: [[1, 2, 4, 3]], tolerance: 1e-5, second: false, f: (dy) => new Tensor(b.record('affineWarpGradInput', [dy.node, b.hostLeaf(Float32Array.from(flat), [1, 2, 3], 'f32')], { height: 5, width: 5 })),
    reference: (dy) => { const basis = (k: number): Nd => ({ shape: [1, 2, 5, 5], data: Float64Array.from({ length: 50 }, (_, i) => Number(i === k)) }); return build([1, 2, 5, 5], ([, c, i, j]) => { const y = warp(basis((c! * 5 + i!) * 5 + j!), { shape: [1, 2, 3], data: Float64Array.from(flat) }, 4, 3); return y.data.reduce((s, v, k) => s + v * dy.data[k]!, 0) }) } },
  { op: 'diagonal', shapes: [[2, 4, 4]], f: (x) => x.diagonal().exp(), reference: (x) => build([2, 4], ([n, i]) => Math.exp(get(x, n!, i!, i!))) },
  { op: 'diagonal of outer axes', shapes: [[3, 2, 3]], f: (x) => x.diagonal(0, 2).square(), reference: (x) => build([2, 3], ([n, i]) => get(x, i!, n!, i!) ** 2) },
  { op: 'trace', shapes: [[2, 3, 3]], f: (x) => x.trace().square(), reference: (x) => build([2], ([n]) => (get(x, n!, 0, 0) + get(x, n!, 1, 1) + get(x, n!, 2, 2)) ** 2) },
]

const ints = { gradient: false, dtypes: ['i32'], dtype: 'i32', range: [-9, 9] } as const
const words = { gradient: false, dtypes: ['u32'], dtype: 'u32', range: [0, 9] } as const
const row = (x: Nd, r: number) => Array.from({ length: x.shape[1]! }, (_, k) => get(x, r, k))
const scattered = (x: Nd, i: Nd, size: number) =>
  build([x.shape[0]!, size], ([r, c]) => row(x, r!).reduce((s, v, k) => s + (get(i, r!, k) === c ? v : 0), 0))

// biome-ignore format: one line a case
export const integerCases: OpCase[] = [
  { op: 'cumsum of i32', shapes: [[3, 7]], ...ints, f: (x) => x.cumsum(), reference: (x) => build([3, 7], ([r, c]) => row(x, r!).slice(0, c! + 1).reduce((s, v) => s + v, 0)) },
  { op: 'cumsum of u32 along the first axis', shapes: [[7, 3]], ...words, f: (x) => x.cumsum(0), reference: (x) => build([7, 3], ([r, c]) => Array.from({ length: r! + 1 }, (_, k) => get(x, k, c!)).reduce((s, v) => s + v, 0)) },
  { op: 'argmax of i32', shapes: [[3, 7]], ...ints, f: (x) => x.argmax(), reference: (x) => build([3], ([r]) => row(x, r!).indexOf(Math.max(...row(x, r!)))) },
  { op: 'argmin of i32', shapes: [[3, 7]], ...ints, values: [[-2147483648, 5, 2147483647]], f: (x) => x.argmin(), reference: (x) => build([3], ([r]) => row(x, r!).indexOf(Math.min(...row(x, r!)))) },
  { op: 'argmin of u32', shapes: [[3, 7]], ...words, dtype: 'i32', f: (x) => x.argmin(), reference: (x) => build([3], ([r]) => row(x, r!).indexOf(Math.min(...row(x, r!)))) },
  { op: 'sort of i32', shapes: [[3, 7]], ...ints, f: (x) => x.sort().values, reference: (x) => build([3, 7], ([r, c]) => row(x, r!).sort((v, w) => v - w)[c!]!) },
  { op: 'sort of u32, descending', shapes: [[3, 7]], ...words, f: (x) => x.sort(true).values, reference: (x) => build([3, 7], ([r, c]) => row(x, r!).sort((v, w) => w - v)[c!]!) },
  { op: 'topk of i32', shapes: [[2, 9]], ...ints, f: (x) => x.topk(3).values, reference: (x) => build([2, 3], ([r, c]) => row(x, r!).sort((v, w) => w - v)[c!]!) },
  { op: 'scatterAdd of i32', shapes: [[3, 5], [3, 5]], ...ints, dtypes: ['i32', 'i32'], range: [0, 3], f: (x, i) => x.scatterAdd(i, 1, 4), reference: (x, i) => scattered(x, i, 4) },
  { op: 'scatterAdd of u32', shapes: [[2, 5], [2, 5]], ...words, dtypes: ['u32', 'u32'], range: [0, 3], f: (x, i) => x.scatterAdd(i, 1, 4), reference: (x, i) => scattered(x, i, 4) },
  { op: 'gather of u32', shapes: [[3, 5], [3, 2]], ...words, dtypes: ['u32', 'i32'], range: [0, 4], f: (x, i) => x.gather(i, 1), reference: (x, i) => build([3, 2], ([r, c]) => get(x, r!, get(i, r!, c!))) },
  { op: 'gather of bool', shapes: [[3, 5], [3, 2]], gradient: false, dtypes: ['bool', 'i32'], dtype: 'bool', range: [0, 4], f: (x, i) => x.gather(i, 1), reference: (x, i) => build([3, 2], ([r, c]) => get(x, r!, get(i, r!, c!))) },
  { op: 'pad, flip and roll of i32', shapes: [[3, 4]], ...ints, f: (x) => x.pad([[1, 0], [0, 2]], -7).flip(0).roll(1, 1), reference: (x) => build([4, 6], ([r, c]) => { const [i, j] = [3 - r! - 1, (c! + 5) % 6]; return i < 0 || j > 3 ? -7 : get(x, i, j) }) },
  { op: 'permuted reshape of u32', shapes: [[2, 3, 4]], ...words, f: (x) => x.permute([2, 0, 1]).reshape([8, 3]), reference: (x) => reshaped(transposed(x, [2, 0, 1]), 8, 3) },
  { op: 'windows of i32', shapes: [[9]], ...ints, f: (x) => x.windows(0, 3, 2), reference: lines },
]
