/** Random tensors: every number follows from seed, stream and place, on the host as on any adapter. */
import { Generator, philox } from '../../../engine/index.ts'
import { build, count, map, type Nd, zip } from './reference.ts'
import type { OpCase } from './table.ts'

const shape = [7, 13]
/** Element i of the generator's stream, in [0, 1). */
const unit = (seed: number, stream: number, at = shape): Nd => ({
  shape: at,
  data: Float64Array.from({ length: count(at) }, (_, i) => Math.floor(philox(seed, 0, stream, i) / 256) * 2 ** -24),
})

/** Φ(x), from the complementary error function's continued fraction and the series near 0. */
function distribution(x: number): number {
  let [sum, term] = [x, x]
  for (let n = 1; n < 200; n++) {
    term *= (x * x) / (2 * n + 1)
    sum += term
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}

/** Φ⁻¹ by bisection. */
function quantile(p: number): number {
  let [low, high] = [-9, 9]
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2
    if (distribution(middle) < p) low = middle
    else high = middle
  }
  return (low + high) / 2
}

const truncated = (bound: number): Nd => {
  const [low, high] = [distribution(-bound), distribution(bound)]
  return map(unit(5, 0), (u) => quantile(low + u * (high - low)))
}
const dropped = (p: number) => map(unit(11, 0, [4, 9]), (u) => (u >= p ? 1 / (1 - p) : 0))

// biome-ignore format: one line a case
export const randomCases: OpCase[] = [
  { op: 'uniform', shapes: [], tolerance: 0, f: () => new Generator(3).uniform(shape), reference: () => unit(3, 0) },
  { op: 'uniform, second stream, in a range', shapes: [], f: () => { const g = new Generator(3); g.uniform([2]); return g.uniform(shape, -1, 3) }, reference: () => map(unit(3, 1), (u) => 4 * u - 1) },
  { op: 'uniform does not depend on its shape', shapes: [], tolerance: 0, f: () => new Generator(3).uniform([91]).reshape(shape), reference: () => unit(3, 0) },
  { op: 'normal', shapes: [], tolerance: 2e-5, f: () => new Generator(4).normal(shape), reference: () => zip((u, v) => Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v), unit(4, 0), unit(4, 1)) },
  { op: 'truncatedNormal', shapes: [], tolerance: 1e-4, f: () => new Generator(5).truncatedNormal(shape), reference: () => truncated(2) },
  { op: 'truncatedNormal within one', shapes: [], tolerance: 1e-4, f: () => new Generator(5).truncatedNormal(shape, 1), reference: () => truncated(1) },
  { op: 'dropout', shapes: [[4, 9]], f: (x) => new Generator(11).dropout(x, 0.4), reference: (x) => zip((v, k) => v * k, x, dropped(0.4)) },
  { op: 'dropout of nothing', shapes: [[4, 9]], second: false, f: (x) => new Generator(11).dropout(x, 0), reference: (x) => build([4, 9], ([i, j]) => x.data[i! * 9 + j!]!) },
]
