/** Functions of symmetric matrices, at open and at repeated eigenvalues. */
import { spectral, type Tensor } from '../../../engine/index.ts'
import { jacobiReference } from '../../../kernels/jacobi/reference.ts'
import { build, get, type Nd, product, transposed } from './reference.ts'
import type { OpCase } from './table.ts'

const symmetric = (x: Tensor) => x.add(x.transpose()).mul(0.5)

/** f(S) of the symmetric part of x, in float64. */
function mapped(x: Nd, f: (v: number) => number): Nd {
  const n = x.shape.at(-1)!
  const s = build(x.shape, ([m, i, j]) => (get(x, m!, i!, j!) + get(x, m!, j!, i!)) / 2)
  const { values, vectors } = jacobiReference(s.data, x.shape[0]!, n)
  const q: Nd = { shape: x.shape, data: Float64Array.from(vectors) }
  const scaled = build(x.shape, ([m, i, j]) => get(q, m!, i!, j!) * f(values[m! * n + j!]!))
  return product(scaled, transposed(q, [0, 2, 1]))
}

/** Eigenvalues 2, 2, 4 in one matrix and three within 0.003 in the other: quotients of differences have no digits left. */
const meeting = [3, 1, 0, 1, 3, 0, 0, 0, 2, 2, 1e-4, 0, 1e-4, 2, 0, 0, 0, 2.003]
const three = { shapes: [[2, 3, 3]], values: [meeting], tolerance: 2e-5, views: false, second: false } as const
const root = {
  value: (x: Tensor) => x.maximum(1e-3).sqrt(),
  derivative: (x: Tensor) => x.maximum(1e-3).rsqrt().mul(0.5),
}

// Second derivatives were checked once: their kernels take a software adapter a minute to compile.
// biome-ignore format: one line a case
export const spectralCases: OpCase[] = [
  { op: 'spectral exp', ...three, f: (x) => spectral(symmetric(x), (v) => v.exp()), reference: (x) => mapped(x, Math.exp) },
  { op: 'spectral root by its own rule', ...three, f: (x) => spectral(symmetric(x), root), reference: (x) => mapped(x, Math.sqrt) },
]
