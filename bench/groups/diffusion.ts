/**
 * The diffusion map of DIP: features of rows and columns → affinities → S → Sᵗ → distances, and the gradient all the way back.
 * Peers raise S to its power by products; this engine by products in one launch (`power`), by its eigensystem (`spectral`), and in
 * plain ops as a peer would (`plain`).
 */
import { affinities, diffusionDistances } from '../../dip/idm.ts'
import { arange, grad, matrixPower, scalar, type Tensor, where } from '../../engine/index.ts'
import { diptych, jax, tfjs } from '../contestants.ts'
import type { Check, Group, Inputs, Outputs, Row } from '../contract.ts'
import { product, random, relativeError } from '../data.ts'
import type { Tensors } from '../libraries/diptych.ts'

interface Shape {
  readonly batch: number
  /** Rows, and columns, of patches; the graph has 2L nodes. */
  readonly L: number
  readonly width: number
  readonly kn: number
  /** Diffusion steps. */
  readonly t: number
}

/** 0.05 · 768 / width, as the model starts. */
const mu = ({ width }: Shape): number => (0.05 * 768) / width

/** features [batch, 2L, width], and weights of the distances for gradients. */
const inputsOf = ({ batch, L, width }: Shape): Inputs => ({
  features: random([batch, 2 * L, width], 1, 0.3),
  weights: random([batch, 2 * L, 2 * L], 2),
})

const near = ({ L, kn }: Shape, i: number, j: number): boolean => Math.abs((i % L) - (j % L)) <= Math.floor(kn / 2)

/** Dist [batch, n, n] in float64, by products. */
function reference(features: ArrayLike<number>, shape: Shape): Float64Array {
  const { batch, L, width, t } = shape
  const n = 2 * L
  const out = new Float64Array(batch * n * n)
  for (let b = 0; b < batch; b++) {
    const at = (i: number, c: number) => features[(b * n + i) * width + c]!
    const W = new Float64Array(n * n)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        let squares = 0
        if (near(shape, i, j)) for (let c = 0; c < width; c++) squares += (at(i, c) - at(j, c)) ** 2
        W[i * n + j] = near(shape, i, j) ? Math.exp(-mu(shape) * squares) : 0
      }
    const degree = Array.from({ length: n }, (_, i) => W.subarray(i * n, (i + 1) * n).reduce((x, y) => x + y, 0))
    const total = degree.reduce((x, y) => x + y, 0)
    const S = W.map((w, k) => w / Math.sqrt(degree[Math.floor(k / n)]! * degree[k % n]!))
    let raised: ArrayLike<number> = S
    for (let step = 1; step < t; step++) raised = product(raised, S, n, n, n)
    const Y = Float64Array.from(raised, (p, k) => p / Math.sqrt(degree[Math.floor(k / n)]! / total))
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++) out[(b * n + i) * n + j]! += (Y[i * n + k]! - Y[j * n + k]!) ** 2
  }
  return out
}

const loss = (features: ArrayLike<number>, weights: ArrayLike<number>, shape: Shape): number =>
  reference(features, shape).reduce((sum, d, i) => sum + d * weights[i]!, 0)

/** The gradient along itself and along a random direction, against central differences in float64. */
function checkGradient(shape: Shape): (outputs: Outputs, inputs: Inputs) => readonly Check[] {
  return ({ gradient }, { features, weights }) => {
    if (!gradient || gradient.length !== features!.data.length) return []
    const length = Math.sqrt(Array.from(gradient).reduce((sum, g) => sum + g * g, 0))
    const directions: [string, ArrayLike<number>][] = [
      ['gradient along itself', Array.from(gradient, (g) => g / length)],
      ['gradient along a random direction', random(features!.shape, 7).data],
    ]
    return directions.map(([what, v]) => {
      const step = 1e-4
      const moved = (by: number) => Array.from(features!.data, (x, i) => x + by * v[i]!)
      const difference =
        (loss(moved(step), weights!.data, shape) - loss(moved(-step), weights!.data, shape)) / (2 * step)
      const along = Array.from(gradient).reduce((sum, g, i) => sum + g * v[i]!, 0)
      return { what, error: Math.abs(along - difference) / Math.max(Math.abs(difference), 1e-30), limit: 2e-3 }
    })
  }
}

const ways = ['power', 'spectral', 'plain'] as const
type Way = (typeof ways)[number]

const distances = ({ features }: Tensors, shape: Shape, way: Way): Tensor => {
  if (way === 'plain') return inPlainOps(features!, shape)
  return diffusionDistances(affinities(features!, scalar(Math.log(mu(shape))), shape.kn), shape.t, way)
}

function inPlainOps(features: Tensor, shape: Shape): Tensor {
  const { batch, L, kn, t } = shape
  const n = 2 * L
  const squared = (x: Tensor) => x.unsqueeze(2).sub(x.unsqueeze(1)).square().sum(-1)
  const position = arange(n, undefined, 1, 'i32').mod(L)
  const near = position
    .unsqueeze(1)
    .sub(position.unsqueeze(0))
    .abs()
    .lessEqual(Math.floor(kn / 2))
  const W = where(near.expand([batch, n, n]), squared(features).mul(-mu(shape)).exp(), 0)
  const degree = W.sum(-1, true)
  const root = degree.div(degree.sum(1, true)).sqrt()
  const inverse = degree.rsqrt()
  const walk = W.mul(inverse).mul(inverse.transpose()).sub(root.mul(root.transpose()))
  return squared(matrixPower(walk, t).div(root))
}

/** [2L, 2L] of 0 and 1. */
const windowOf = (shape: Shape): number[] =>
  Array.from({ length: 4 * shape.L ** 2 }, (_, k) =>
    Number(near(shape, Math.floor(k / (2 * shape.L)), k % (2 * shape.L))),
  )

/** x^t by squaring, with whatever `times` multiplies and `again` makes usable twice. */
function power<T>(x: T, t: number, times: (a: T, b: T) => T, again: (x: T) => T): T {
  if (t === 1) return x
  const half = power(t & 1 ? again(x) : x, t >> 1, times, again)
  const even = times(again(half), half)
  return t & 1 ? times(even, x) : even
}

function withTf(tf: any, features: any, shape: Shape): any {
  const { L, t } = shape
  const squared = (x: any) => {
    const squares = tf.sum(tf.square(x), -1, true)
    const cross = tf.matMul(x, x, false, true)
    return tf.relu(tf.sub(tf.add(squares, tf.transpose(squares, [0, 2, 1])), tf.mul(cross, 2)))
  }
  const inside = tf.tensor(windowOf(shape), [1, 2 * L, 2 * L])
  const W = tf.mul(tf.exp(tf.mul(squared(features), -mu(shape))), inside)
  const degree = tf.sum(W, -1, true)
  const root = tf.rsqrt(degree)
  const S = tf.mul(tf.mul(W, root), tf.transpose(root, [0, 2, 1]))
  const raised = power(
    S,
    t,
    (a: any, b: any) => tf.matMul(a, b),
    (x) => x,
  )
  return squared(tf.div(raised, tf.sqrt(tf.div(degree, tf.sum(degree, 1, true)))))
}

function withJax({ numpy, nn }: any, features: any, shape: Shape): any {
  const { L, t } = shape
  const swap = (x: any) => numpy.swapaxes(x, -1, -2)
  const squared = (x: any) => {
    const squares = numpy.sum(numpy.square(x.ref), -1, { keepdims: true })
    const cross = numpy.matmul(x.ref, swap(x))
    return nn.relu(squares.ref.add(swap(squares)).sub(cross.mul(2)))
  }
  const inside = numpy.array(windowOf(shape)).reshape([1, 2 * L, 2 * L])
  const W = numpy.exp(squared(features).mul(-mu(shape))).mul(inside)
  const degree = numpy.sum(W.ref, -1, { keepdims: true })
  const root = numpy.reciprocal(numpy.sqrt(degree.ref))
  const S = W.mul(root.ref).mul(swap(root))
  const raised = power(
    S,
    t,
    (a: any, b: any) => numpy.matmul(a, b),
    (x) => x.ref,
  )
  const density = degree.ref.div(numpy.sum(degree, 1, { keepdims: true }))
  return squared(raised.div(numpy.sqrt(density)))
}

/** The scores of each pair of neighbours once, products of repeated squaring, and the distances of rows. */
function costOf(shape: Shape, gradient: boolean): Row['cost'] {
  const { batch, L, width, t } = shape
  const n = 2 * L
  const pairs = windowOf(shape).reduce((sum, inside) => sum + inside, 0) / 2
  const products = Math.floor(Math.log2(t)) + [...t.toString(2)].filter((bit) => bit === '1').length - 1
  const flops = batch * (3 * pairs * width + 2 * products * n ** 3 + 3 * n ** 3)
  return {
    flops: (gradient ? 3 : 1) * flops,
    bytes: 4 * batch * ((gradient ? 2 : 1) * n * width + (gradient ? 2 : 1) * n * n),
  }
}

const title = ({ batch, L, width, t }: Shape): string =>
  `${batch} graphs of ${2 * L} nodes, ${width} channels, t = ${t}`

function forward(shape: Shape): Row {
  let want: Float64Array | undefined
  return {
    name: title(shape),
    inputs: () => inputsOf(shape),
    check: ({ dist }, { features }) => {
      want ??= reference(features!.data, shape)
      return [{ what: 'dist', error: relativeError(dist, want), limit: 1e-3 }]
    },
    cost: costOf(shape, false),
    unit: 'GFLOP/s',
    contestants: [
      ...ways.map((way) => diptych((x) => ({ dist: distances(x, shape, way) }), { variant: way })),
      tfjs((tf, { features }) => ({ dist: withTf(tf, features, shape) })),
      jax((library, { features, weights }) => {
        weights.dispose()
        return { dist: withJax(library, features, shape) }
      }),
    ],
  }
}

function gradient(shape: Shape): Row {
  const own = (way: Way) =>
    diptych((x) => ({ gradient: grad(distances(x, shape, way).mul(x.weights!).sum(), x.features!) }), { variant: way })
  return {
    name: `${title(shape)}, with gradients`,
    inputs: () => inputsOf(shape),
    check: checkGradient(shape),
    cost: costOf(shape, true),
    unit: 'GFLOP/s',
    contestants: [
      ...ways.map(own),
      tfjs((tf, { features, weights }) => ({
        gradient: tf.grad((x: any) => tf.sum(tf.mul(withTf(tf, x, shape), weights)))(features),
      })),
      jax((library, { features, weights }) => ({
        gradient: library.grad((x: any) => library.numpy.sum(withJax(library, x, shape).mul(weights)))(features),
      })),
    ],
  }
}

export const group: Group = {
  name: 'diffusion',
  about: 'features → neighbour scores → S → Sᵗ → squared diffusion distances',
  rows: ({ software, quick }) => {
    const shape: Shape = quick
      ? { batch: 1, L: 3, width: 8, kn: 3, t: 5 }
      : { batch: software ? 8 : 48, L: 14, width: 768, kn: 7, t: 20 }
    return [forward(shape), gradient(shape)]
  },
}
