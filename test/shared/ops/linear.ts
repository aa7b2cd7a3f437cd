/** Products, layers and linear algebra. */
import { directionalPool, einsum, pairwiseSquaredDistances, resize, resizeMatrix } from '../../../engine/functional.ts'
import { arange, eye, Tensor } from '../../../engine/index.ts'
import type { Conv2dProblem } from '../../../kernels/conv2d/conv2d.ts'
import { conv2dReference } from '../../../kernels/conv2d/reference.ts'
import { jacobiReference } from '../../../kernels/jacobi/reference.ts'
import { directionalPoolReference } from '../../../kernels/pooling/reference.ts'
import { b } from './engine.ts'
import { alongLast, build, erf, get, map, type Nd, product, reshaped, sumOver, transposed, zip } from './reference.ts'
import type { OpCase } from './table.ts'

const gelu = (v: number) => (v * (1 + erf(v * Math.SQRT1_2))) / 2
const T = (x: Nd) => transposed(x, [...x.shape.slice(2).map((_, i) => i), x.shape.length - 1, x.shape.length - 2])
const add = (x: Nd, y: Nd) => zip((v, w) => v + w, x, y)
const tolerance = 1e-5

// biome-ignore format: one line a case
export const productCases: OpCase[] = [
  { op: 'matmul', shapes: [[5, 7], [7, 3]], tolerance, second: false, f: (x, y) => x.matmul(y), reference: product },
  { op: 'matmul', shapes: [[33, 17], [17, 29]], tolerance: 2e-5, second: false, f: (x, y) => x.matmul(y), reference: product },
  { op: 'matmul of ones', shapes: [[1, 1], [1, 1]], tolerance, views: false, f: (x, y) => x.matmul(y), reference: product },
  { op: 'matmul with vectors', shapes: [[5], [5, 3], [3]], tolerance, second: false, views: false, f: (x, y, z) => x.matmul(y).matmul(z), reference: (x, y, z) => reshaped(product(product(reshaped(x, 1, 5), y), reshaped(z, 3, 1))) },
  { op: 'matmul, one matrix for a batch', shapes: [[2, 3, 5, 7], [7, 3]], tolerance, second: false, f: (x, y) => x.matmul(y), reference: product },
  { op: 'matmul, batch broadcast', shapes: [[2, 1, 5, 7], [3, 7, 3]], tolerance, second: false, f: (x, y) => x.matmul(y), reference: product },
  { op: 'matmul, transposed operands', shapes: [[3, 7, 5], [3, 4, 7]], tolerance, second: false, f: (x, y) => x.transpose().matmul(y.transpose()), reference: (x, y) => product(T(x), T(y)) },
  { op: 'matmul, sliced operands', shapes: [[6, 9], [8, 4]], tolerance, second: false, f: (x, y) => x.slice([[1, 6], [1, 8]]).matmul(y.narrow(0, 1, 8)), reference: (x, y) => product(build([5, 7], ([i, j]) => get(x, i! + 1, j! + 1)), build([7, 4], ([i, j]) => get(y, i! + 1, j!))) },
  { op: 'matmul of computed operands', shapes: [[5, 7], [7, 3]], range: [-1, 1], tolerance, second: false, views: false, gradient: false, f: (x, y) => x.exp().matmul(y.square()), reference: (x, y) => product(map(x, Math.exp), map(y, (v) => v * v)) },
  { op: 'matmul, four batch axes that do not merge', shapes: [[2, 3, 2, 2, 2, 3], [1, 3, 1, 2, 3, 2]], tolerance, f: (x, y) => x.matmul(y), reference: product, second: false },
  { op: 'matmul, permuted batch axes', shapes: [[2, 3, 2, 2, 2, 3], [2, 3, 2, 2, 3, 2]], tolerance, f: (x, y) => x.permute([3, 2, 1, 0, 4, 5]).matmul(y.permute([2, 3, 1, 0, 4, 5])), second: false,
    reference: (x, y) => product(transposed(x, [3, 2, 1, 0, 4, 5]), transposed(y, [2, 3, 1, 0, 4, 5])) },
  { op: 'matmul + bias', shapes: [[5, 7], [7, 3], [3]], tolerance, second: false, views: false, gradient: false, f: (x, w, c) => x.matmul(w).add(c), reference: (x, w, c) => add(product(x, w), c) },
  { op: 'matmul + bias, gelu, residual', shapes: [[2, 5, 6], [6, 6], [6]], range: [-1, 1], tolerance, second: false, gradient: false, views: false, f: (x, w, c) => x.add(x.matmul(w).add(c).gelu()), reference: (x, w, c) => add(x, map(add(product(x, w), c), gelu)) },
  { op: 'matmul, softmax, matmul', shapes: [[2, 4, 5], [2, 5, 5]], range: [-1, 1], tolerance, second: false, views: false, f: (x, y) => x.matmul(y).mul(0.4).softmax().matmul(y), reference: (x, y) => product(alongLast(map(product(x, y), (v) => 0.4 * v), softmax), y) },
  { op: 'matmul of a broadcast', shapes: [[1, 5], [5, 3]], tolerance, second: false, f: (x, y) => x.expand([4, 5]).matmul(y), reference: (x, y) => build([4, 3], ([, j]) => get(product(x, y), 0, j!)) },
  { op: 'einsum ij,jk->ik', shapes: [[3, 5], [5, 4]], tolerance, second: false, views: false, gradient: false, f: (x, y) => einsum('ij,jk->ik', x, y), reference: product },
  { op: 'einsum bhid,bhjd->bhij', shapes: [[2, 3, 4, 5], [2, 3, 2, 5]], tolerance, second: false, views: false, f: (x, y) => einsum('bhid,bhjd->bhij', x, y), reference: (x, y) => product(x, T(y)) },
  { op: 'einsum ij->j', shapes: [[3, 5]], tolerance, f: (x) => einsum('ij->j', x), reference: (x) => sumOver(x, 0) },
  { op: 'einsum i,j->ji', shapes: [[3], [4]], tolerance, f: (x, y) => einsum('i,j->ji', x, y), reference: (x, y) => build([4, 3], ([j, i]) => get(x, i!) * get(y, j!)) },
  { op: 'einsum, implied output', shapes: [[3, 4], [4, 2]], tolerance, second: false, views: false, f: (x, y) => einsum('ca,ab', x, y), reference: (x, y) => T(product(x, y)) },
  { op: 'einsum of three', shapes: [[3, 4], [4, 5, 2], [5, 2]], tolerance: 2e-5, second: false, views: false, f: (x, y, z) => einsum('ia,abk,bk->ki', x, y, z),
    reference: (x, y, z) => build([2, 3], ([k, i]) => { let s = 0; for (let p = 0; p < 4; p++) for (let q = 0; q < 5; q++) s += get(x, i!, p) * get(y, p, q, k!) * get(z, q, k!); return s }) },
  { op: 'einsum ii->', shapes: [[4, 4]], f: (x) => einsum('ii->', x), reference: (x) => build([], () => [0, 1, 2, 3].reduce((t, i) => t + get(x, i, i), 0)) },
  { op: 'einsum bii->bi', shapes: [[2, 3, 3]], f: (x) => einsum('bii->bi', x).square(), reference: (x) => build([2, 3], ([n, i]) => get(x, n!, i!, i!) ** 2) },
  { op: 'einsum iji,j->i', shapes: [[3, 2, 3], [2]], second: false, f: (x, y) => einsum('iji,j->i', x, y), reference: (x, y) => build([3], ([i]) => get(x, i!, 0, i!) * get(y, 0) + get(x, i!, 1, i!) * get(y, 1)) },
  { op: 'einsum ...ij,...jk->...ik', shapes: [[2, 1, 3, 4], [5, 4, 2]], tolerance, second: false, views: false, f: (x, y) => einsum('...ij,...jk->...ik', x, y), reference: product },
  { op: 'einsum i...,i->...', shapes: [[3, 2, 2], [3]], tolerance, gradient: false, f: (x, y) => einsum('i...,i->...', x, y), reference: (x, y) => build([2, 2], ([p, q]) => [0, 1, 2].reduce((t, i) => t + get(x, i, p!, q!) * get(y, i), 0)) },
  { op: 'einsum, ellipsis and implied output', shapes: [[2, 3, 4], [4, 2]], tolerance, gradient: false, views: false, f: (x, y) => einsum('...a,ab', x, y), reference: product },
  { op: 'pairwiseSquaredDistances', shapes: [[2, 4, 3], [2, 5, 3]], tolerance: 2e-5, second: false, views: false, f: (x, y) => pairwiseSquaredDistances(x, y),
    reference: (x, y) => build([2, 4, 5], ([n, i, j]) => [0, 1, 2].reduce((s, d) => s + (get(x, n!, i!, d) - get(y, n!, j!, d)) ** 2, 0)) },
  { op: 'matrixPower', shapes: [[2, 3, 3]], range: [-0.8, 0.8], tolerance, second: false, views: false, f: (x) => x.matrixPower(3), reference: (x) => [1, 2].reduce((p) => product(p, x), x) },
  { op: 'matrixPower 0', shapes: [[2, 3, 3]], gradient: false, f: (x) => x.matrixPower(0), reference: () => build([2, 3, 3], ([, i, j]) => Number(i === j)) },
  { op: 'matrixPower 6', shapes: [[3, 3]], range: [-0.8, 0.8], tolerance, gradient: false, f: (x) => x.matrixPower(6), reference: (x) => [1, 2, 3, 4, 5].reduce((p) => product(p, x), x) },
  ...(['nearest', 'bilinear', 'bicubic'] as const).map((mode): OpCase => ({
    op: `resize ${mode}`, shapes: [[2, 4, 5]], tolerance, views: false, second: false, f: (x) => resize(x, 7, 3, mode),
    reference: (x) => { const [v, h] = [sample(4, 7, mode), sample(5, 3, mode)]; return product(product({ shape: [7, 4], data: v }, x), T({ shape: [3, 5], data: h })) },
  })),
  { op: 'resize bilinear doubles a ramp', shapes: [[1, 2]], gradient: false, values: [[0, 1]], f: (x) => resize(x, 1, 4), reference: () => ({ shape: [1, 4], data: Float64Array.of(0, 0.25, 0.75, 1) }) },
]

/** Sampling weights from the formula, one tap at a time. */
function sample(from: number, to: number, mode: 'nearest' | 'bilinear' | 'bicubic'): Float64Array {
  if (mode === 'nearest') return Float64Array.from(resizeMatrix(from, to, mode))
  const kernel = (d: number) => {
    const t = Math.abs(d)
    if (mode === 'bilinear') return Math.max(0, 1 - t)
    if (t <= 1) return 1.25 * t ** 3 - 2.25 * t ** 2 + 1
    return t < 2 ? -0.75 * (t ** 3 - 5 * t ** 2 + 8 * t - 4) : 0
  }
  const out = new Float64Array(to * from)
  for (let i = 0; i < to; i++)
    for (let j = -4; j < from + 4; j++)
      out[i * from + Math.min(Math.max(j, 0), from - 1)]! += kernel(((i + 0.5) * from) / to - 0.5 - j)
  return out
}

function softmax(line: Float64Array): Float64Array {
  const top = Math.max(...line)
  const e = line.map((v) => Math.exp(v - top))
  const total = e.reduce((s, v) => s + v, 0)
  return e.map((v) => v / total)
}

const normalized = (x: Nd, epsilon: number) =>
  alongLast(x, (l) => {
    const mean = l.reduce((s, v) => s + v, 0) / l.length
    const spread = l.reduce((s, v) => s + (v - mean) ** 2, 0) / l.length
    return l.map((v) => (v - mean) / Math.sqrt(spread + epsilon))
  })

interface Attend {
  readonly causal?: boolean
  readonly bias?: Nd
  readonly keyMask?: Nd
  readonly scale?: number
}

/** softmax(q kᵀ·scale + bias) v over [B, L, H, D], loop by loop. */
function attention(q: Nd, k: Nd, v: Nd, o: Attend = {}): Nd {
  const [batch, lq, heads, d] = q.shape as [number, number, number, number]
  const lk = k.shape[1]!
  const scale = o.scale ?? 1 / Math.sqrt(d)
  return build([batch, lq, heads, d], ([n, i, h, c]) => {
    const scores = Array.from({ length: lk }, (_, j) => {
      if (o.causal && j > i!) return -Infinity
      if (o.keyMask && !(get(o.keyMask, n!, j) > 0)) return -Infinity
      let s = 0
      for (let e = 0; e < d; e++) s += get(q, n!, i!, h!, e) * get(k, n!, j, h!, e)
      return s * scale + (o.bias ? get(o.bias, n!, h!, i!, j) : 0)
    })
    if (!scores.some((s) => s > -Infinity)) return 0
    return softmax(Float64Array.from(scores)).reduce((sum, p, j) => sum + p * get(v, n!, j, h!, c!), 0)
  })
}

const qkv = [
  [2, 5, 3, 4],
  [2, 7, 3, 4],
  [2, 7, 3, 4],
]
const self = [
  [2, 6, 3, 4],
  [2, 6, 3, 4],
  [2, 6, 3, 4],
]
// biome-ignore format: one line a case
export const attentionCases: OpCase[] = [
  { op: 'attention, cross', shapes: qkv, tolerance, second: false, f: (q, k, v) => q.attention(k, v), reference: (q, k, v) => attention(q, k, v) },
  { op: 'attention, causal and scaled', shapes: self, tolerance, second: false, f: (q, k, v) => q.attention(k, v, { causal: true, scale: 0.3 }), reference: (q, k, v) => attention(q, k, v, { causal: true, scale: 0.3 }) },
  ...[[2, 3], [1, 3], [2, 1], [1, 1]].map((lead): OpCase => ({
    op: 'attention with bias', shapes: [...self, [...lead, 6, 6]], tolerance, second: false,
    f: (q, k, v, bias) => q.attention(k, v, { bias }), reference: (q, k, v, bias) => attention(q, k, v, { bias: bias! }),
  })),
  { op: 'attention with masked keys', shapes: [...qkv, [2, 7]], tolerance, second: false, dtypes: ['f32', 'f32', 'f32', 'bool'], values: [undefined, undefined, undefined, [1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
    f: (q, k, v, keyMask) => q.attention(k, v, { keyMask }), reference: (q, k, v, keyMask) => attention(q, k, v, { keyMask: keyMask! }) },
  // Query 0 sees key 0 only, which is masked in one sample: its row is 0.
  { op: 'attention with bias, masks and scale', shapes: [[2, 4, 2, 4], [2, 4, 2, 4], [2, 4, 2, 4], [1, 2, 4, 4], [2, 4]], range: [-1, 1], dtypes: ['f32', 'f32', 'f32', 'f32', 'bool'], values: [undefined, undefined, undefined, undefined, [0, 1, 1, 1, 1, 0, 1, 1]], tolerance,
    f: (q, k, v, bias, keyMask) => q.attention(k, v, { bias, keyMask, causal: true, scale: 0.7 }), reference: (q, k, v, bias, keyMask) => attention(q, k, v, { bias: bias!, keyMask: keyMask!, causal: true, scale: 0.7 }) },
  { op: 'attention of heads wider than the kernels take', shapes: [[2, 3, 1, 130], [2, 3, 1, 130], [2, 3, 1, 130], [1, 1, 3, 3], [2, 3]], range: [-1, 1], dtypes: ['f32', 'f32', 'f32', 'f32', 'bool'], values: [undefined, undefined, undefined, undefined, [0, 1, 1, 1, 1, 0]], tolerance, second: false,
    f: (q, k, v, bias, keyMask) => q.attention(k, v, { bias, keyMask, causal: true }), reference: (q, k, v, bias, keyMask) => attention(q, k, v, { bias: bias!, keyMask: keyMask!, causal: true }) },
  { op: 'attention on slices of a packed projection', shapes: [[2, 6, 5], [5, 36]], range: [-1, 1], tolerance, second: false,
    f: (x, w) => { const p = x.matmul(w).reshape([2, 6, 3, 3, 4]); return p.select(2, 0).attention(p.select(2, 1), p.select(2, 2)) },
    reference: (x, w) => { const p = reshaped(product(x, w), 2, 6, 3, 3, 4); const part = (s: number) => build([2, 6, 3, 4], ([n, i, h, c]) => get(p, n!, i!, s, h!, c!)); return attention(part(0), part(1), part(2)) } },
  { op: 'attention over two batch axes', shapes: [[2, 3, 4, 2, 4], [2, 3, 4, 2, 4]], tolerance, second: false,
    f: (x, y) => x.transpose(0, 1).attention(y.transpose(0, 1), x.transpose(0, 1)),
    reference: (x, y) => { const flat = (z: Nd) => reshaped(transposed(z, [1, 0, 2, 3, 4]), 6, 4, 2, 4); return reshaped(attention(flat(x), flat(y), flat(x)), 3, 2, 4, 2, 4) } },
]

interface Conv {
  readonly x: number[]
  readonly w: number[]
  readonly stride?: number
  readonly padding?: number | [number, number, number, number]
  readonly dilation?: number
  readonly groups?: number
}

const convolution = ({ x, w, stride = 1, padding = 0, dilation = 1, groups = 1 }: Conv, withBias: boolean): OpCase => {
  const sides = typeof padding === 'number' ? ([padding, padding, padding, padding] as const) : padding
  const problem = {
    n: x[0]!,
    c: x[1]!,
    h: x[2]!,
    w: x[3]!,
    o: w[0]!,
    kh: w[2]!,
    kw: w[3]!,
    stride: [stride, stride],
    padding: sides,
    dilation: [dilation, dilation],
    groups,
    bias: withBias,
    activation: 'none',
  } as Conv2dProblem
  const extent = (size: number, k: number, pads: number) =>
    Math.floor((size + pads - dilation * (k - 1) - 1) / stride) + 1
  const shape = [x[0]!, w[0]!, extent(x[2]!, w[2]!, sides[0] + sides[2]), extent(x[3]!, w[3]!, sides[1] + sides[3])]
  return {
    op: `conv2d stride ${stride} padding ${padding} dilation ${dilation} groups ${groups}`,
    shapes: withBias ? [x, w, [w[0]!]] : [x, w],
    tolerance,
    f: (a, c, bias) => a.conv2d(c, { ...(bias ? { bias } : {}), stride, padding, dilation, groups }),
    reference: (a, c, bias) => ({ shape, data: conv2dReference(problem, a.data, c.data, bias?.data) }),
  }
}

const pool = (mode: 'mean' | 'max', pick: (z: Tensor) => Tensor, reference: (z: Nd) => Nd): OpCase => ({
  op: `directionalPool ${mode}`,
  shapes: [[2, 3, 5, 4]],
  spaced: true,
  tolerance,
  f: pick,
  reference,
})
const pooled = (z: Nd, mode: 'mean' | 'max') => directionalPoolReference({ b: 2, t: 3, l: 2, e: 4, mode }, z.data)
const combined = (z: Tensor, mode: 'mean' | 'max') => {
  const { rows, columns, cls } = directionalPool(z, 2, mode)
  return rows.mul(2).add(columns).add(cls)
}
const combinedReference = (z: Nd, mode: 'mean' | 'max'): Nd => {
  const { zh, zv, zcls } = pooled(z, mode)
  return build(
    [2, 2, 4],
    ([n, i, e]) => 2 * zh[(n! * 2 + i!) * 4 + e!]! + zv[(n! * 2 + i!) * 4 + e!]! + zcls[n! * 4 + e!]!,
  )
}

const symmetric = (x: Tensor) => x.add(x.transpose())
const eigenvalues2 = (x: Nd): Nd =>
  build([x.shape[0]!, 2], ([n, i]) => {
    const [a, c, d] = [2 * get(x, n!, 0, 0), get(x, n!, 0, 1) + get(x, n!, 1, 0), 2 * get(x, n!, 1, 1)]
    return (a + d) / 2 + (i ? 1 : -1) * Math.hypot((a - d) / 2, c)
  })

// biome-ignore format: one line a case
export const layerCases: OpCase[] = [
  { op: 'layerNorm', shapes: [[3, 2, 7], [7], [7]], tolerance, f: (x, g, c) => x.layerNorm(g, c), reference: (x, g, c) => add(zip((v, w) => v * w, normalized(x, 1e-5), g), c) },
  { op: 'layerNorm of a wide row', shapes: [[5, 130], [130], [130]], tolerance, second: false, f: (x, g, c) => x.layerNorm(g, c, 1e-3), reference: (x, g, c) => add(zip((v, w) => v * w, normalized(x, 1e-3), g), c) },
  // Small gradients are plain ops: what large ones take is called by itself here.
  { op: 'layerNormGradParams', shapes: [[4, 7], [4, 7]], tolerance, second: false, f: layerNormParams,
    reference: (x, dy) => add(sumOver(zip((v, w) => v * w, normalized(x, 1e-5), dy), 0), map(sumOver(dy, 0), (v) => 2 * v)) },
  { op: 'attentionDelta', shapes: [[2, 5, 3, 4], [2, 5, 3, 4]], tolerance, f: (o, d) => new Tensor(b.record('attentionDelta', [o.node, d.node], {})),
    reference: (o, d) => build([2, 3, 5], ([n, h, i]) => [0, 1, 2, 3].reduce((s, c) => s + get(o, n!, i!, h!, c) * get(d, n!, i!, h!, c), 0)) },
  { op: 'rmsNorm', shapes: [[3, 7], [7]], tolerance, f: (x, g) => x.rmsNorm(g), reference: (x, g) => zip((v, w) => v * w, alongLast(x, (l) => l.map((v) => v / Math.sqrt(l.reduce((s, u) => s + u * u, 0) / 7 + 1e-6))), g) },
  convolution({ x: [2, 3, 7, 5], w: [4, 3, 3, 3], padding: 1 }, true),
  convolution({ x: [1, 4, 8, 9], w: [6, 2, 3, 2], stride: 2, padding: [0, 1, 2, 1], groups: 2 }, false),
  convolution({ x: [1, 4, 9, 9], w: [4, 1, 3, 3], dilation: 2, groups: 4 }, true),
  convolution({ x: [2, 3, 6, 6], w: [5, 3, 2, 2], stride: 2 }, false),
  { ...convolution({ x: [2, 3, 7, 6], w: [3, 1, 3, 3], padding: 1, stride: 2, groups: 3 }, true), second: false },
  { ...convolution({ x: [1, 2, 5, 6], w: [4, 1, 3, 1], padding: [2, 0, 1, 0], groups: 2 }, false), second: false },
  pool('mean', (z) => combined(z, 'mean'), (z) => combinedReference(z, 'mean')),
  pool('max', (z) => combined(z, 'max'), (z) => combinedReference(z, 'max')),
  { op: 'directionalPool rows alone', shapes: [[2, 3, 5, 4]], spaced: true, tolerance, second: false, f: (z) => directionalPool(z, 2).rows, reference: (z) => ({ shape: [2, 2, 4], data: pooled(z, 'mean').zh }) },
  { op: 'eigh values', shapes: [[3, 2, 2]], tolerance, second: false, f: (x) => symmetric(x).eigh().values, reference: eigenvalues2 },
  { op: 'eigh rebuilds its matrix', shapes: [[2, 5, 5]], tolerance: 2e-5, second: false,
    views: false, f: (x) => { const { values, vectors } = symmetric(x).eigh(); return vectors.mul(values.unsqueeze(-2)).matmul(vectors.transpose()) }, reference: (x) => add(x, T(x)) },
  { op: 'eigh vectors are orthonormal', shapes: [[2, 5, 5]], tolerance: 2e-5, gradient: false,
    f: (x) => { const { vectors } = symmetric(x).eigh(); return vectors.transpose().matmul(vectors) }, reference: () => build([2, 5, 5], ([, i, j]) => Number(i === j)) },
  { op: 'eigh vectors', shapes: [[2, 4, 4]], tolerance: 5e-5, second: false, gradient: 1e-2,
    // Squares, since the sign of a vector is free; the spectrum 0, 3, 6, 9 plus noise keeps the gaps open.
    views: false, f: (x) => symmetric(x.mul(0.1).add(diagonal(x))).eigh().vectors.square().mul(ramp(x)),
    reference: weightedSquares },
]

/** dγ + 2 dβ of layerNorm, from its statistics. */
function layerNormParams(x: Tensor, dy: Tensor): Tensor {
  const [mean, rstd] = [x.mean(-1), x.variance(-1).add(1e-5).rsqrt()]
  const node = b.record('layerNormGradParams', [x.node, dy.node, mean.node, rstd.node], { epsilon: 1e-5 })
  return new Tensor(node).add(new Tensor(b.pick(node, 1)).mul(2))
}
function diagonal(x: Tensor): Tensor {
  const n = x.shape.at(-1)!
  return eye(n).mul(arange(n).mul(1.5))
}
function ramp(x: Tensor): Tensor {
  return arange(1, x.shape.at(-1)! + 1)
}
function weightedSquares(x: Nd): Nd {
  const n = x.shape.at(-1)!
  const s = build(x.shape, ([m, i, j]) => 0.1 * (get(x, m!, i!, j!) + get(x, m!, j!, i!)) + (i === j ? 3 * i! : 0))
  const { vectors } = jacobiReference(s.data, x.shape[0]!, n)
  return build(x.shape, (at) => get({ shape: x.shape, data: Float64Array.from(vectors) }, ...at) ** 2 * (at[2]! + 1))
}
