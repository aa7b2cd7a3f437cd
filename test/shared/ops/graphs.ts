/** Affinities of neighbours and diffusion on them. */
import { matrixPower, neighbourAffinities, type Tensor, walkDistances } from '../../../engine/index.ts'
import { affinityReference, diffusionReference } from '../../../kernels/diffusion/reference.ts'
import { build, get, type Nd } from './reference.ts'
import type { OpCase } from './table.ts'

const scores = (features: Nd, logMu: Nd, half: number): Nd => {
  const [batch, nodes, e] = features.shape as [number, number, number]
  const { w } = affinityReference({ batch, l: nodes / 2, e, half }, features.data, logMu.data[0]!)
  return { shape: [batch, nodes, nodes], data: w }
}

const symmetric = (x: Tensor) => x.add(x.transpose())
const distances = (x: Nd, t: number): Nd => {
  const [batch, n] = x.shape as [number, number]
  const w = build(x.shape, ([m, i, j]) => get(x, m!, i!, j!) + get(x, m!, j!, i!))
  return { shape: x.shape, data: diffusionReference({ batch, n, t }, w.data).dist }
}

const weights = { range: [0.2, 1], tolerance: 1e-5 } as const

// The second derivative of diffusion was checked once: its kernels take a software adapter twenty seconds to compile.
// biome-ignore format: one line a case
export const graphCases: OpCase[] = [
  { op: 'affinities', shapes: [[2, 6, 5], []], range: [-1, 1], f: (x, log) => neighbourAffinities(x, log, 1), reference: (x, log) => scores(x, log, 1) },
  { op: 'affinities of halves', shapes: [[1, 6, 5], []], range: [-1, 1], dtypes: ['f16', 'f32'], gradient: 2e-2, second: false, f: (x, log) => neighbourAffinities(x, log, 0), reference: (x, log) => scores(x, log, 0) },
  { op: 'diffusion', shapes: [[2, 4, 4]], ...weights, second: false, f: (x) => walkDistances(symmetric(x), 3), reference: (x) => distances(x, 3) },
  { op: 'diffusion with a power given', shapes: [[2, 4, 4]], ...weights, second: false, f: (x) => walkDistances(symmetric(x), 5, matrixPower), reference: (x) => distances(x, 5) },
]
