/** IDM: Eq. 4 and Eq. 5 are the same number, both finite and of equal gradient where graphs degenerate. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { diffusionDistances, neighbours, squaredDistances } from '../../dip/index.ts'
import { type Device, grad, openDevice, tensor, where } from '../../engine/index.ts'
import { randomArray, relativeError } from '../support/program.ts'

const idm = suite('inconsistency diffusion')
let device: Device

idm.before(async () => {
  device = await openDevice()
})
idm.after(() => device.destroy())

interface Graph {
  readonly features: Float32Array
  readonly B: number
  readonly L: number
  readonly E: number
  readonly kn: number
  readonly t: number
  readonly mu: number
}

/** Eq. 2 to Eq. 4 as they are written, in float64. */
function direct({ features, B, L, E, kn, t, mu }: Graph): { W: Float64Array; dist: Float64Array } {
  const n = 2 * L
  const W = new Float64Array(B * n * n)
  const dist = new Float64Array(B * n * n)
  for (let s = 0; s < B; s++) {
    const at = (i: number, j: number) => s * n * n + i * n + j
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        if (Math.abs((i % L) - (j % L)) > Math.floor(kn / 2)) continue
        let d2 = 0
        for (let e = 0; e < E; e++) d2 += (features[(s * n + i) * E + e]! - features[(s * n + j) * E + e]!) ** 2
        W[at(i, j)] = Math.exp(-mu * d2)
      }
    const D = Array.from({ length: n }, (_, i) => W.subarray(at(i, 0), at(i, n)).reduce((a, x) => a + x, 0))
    const volume = D.reduce((a, x) => a + x, 0)
    const step = (P: Float64Array) => {
      const next = new Float64Array(n * n)
      for (let i = 0; i < n; i++)
        for (let k = 0; k < n; k++)
          for (let j = 0; j < n; j++) next[i * n + j]! += (P[i * n + k]! * W[at(k, j)]!) / D[k]!
      return next
    }
    let P = new Float64Array(n * n)
    for (let i = 0; i < n; i++) P[i * n + i] = 1
    for (let k = 0; k < t; k++) P = step(P)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++) dist[at(i, j)]! += (P[i * n + k]! - P[j * n + k]!) ** 2 / (D[k]! / volume)
  }
  return { W, dist }
}

/** W, Dist and the gradient of a weighted sum of Dist with respect to the features, on the device. */
async function onDevice({ features, B, L, E, kn, t, mu }: Graph, way: 'spectral' | 'power') {
  const n = 2 * L
  const f = tensor(features, [B, n, E])
  const W = where(neighbours(L, kn).expand([B, n, n]), squaredDistances(f).mul(-mu).exp(), 0)
  const dist = diffusionDistances(W, t, way)
  const gradient = grad(dist.mul(tensor(randomArray(B * n * n, 5), [B, n, n])).sum(), f)
  await device.realize([W.node, dist.node, gradient.node])
  return { W: await W.data(), dist: await dist.data(), gradient: await gradient.data() }
}

const finite = (x: ArrayLike<number>) => Array.from(x).every(Number.isFinite)
const graph = { B: 2, L: 7, E: 5, kn: 3, t: 20, mu: 0.4 }
const size = graph.B * 2 * graph.L * graph.E

for (const [what, t, mu] of [
  ['slow diffusion', 20, 0.4],
  ['fast diffusion', 20, 0.02],
  ['one step', 1, 0.4],
  ['odd steps', 7, 1.5],
] as const)
  idm(`Eq. 4 = Eq. 5 by both ways: ${what}`, async () => {
    const given: Graph = { ...graph, t, mu, features: randomArray(size, 3) }
    const want = direct(given)
    const spectral = await onDevice(given, 'spectral')
    const power = await onDevice(given, 'power')
    for (const got of [spectral, power]) {
      assert.ok(relativeError(got.W, want.W) < 1e-6, `W: ${relativeError(got.W, want.W)}`)
      assert.ok(relativeError(got.dist, want.dist) < 1e-4, `Dist: ${relativeError(got.dist, want.dist)}`)
    }
    const apart = relativeError(spectral.gradient, power.gradient)
    assert.ok(apart < 1e-3, `gradients: ${apart}`)
  })

idm('equal features: one row, no distance, no gradient', async () => {
  const given: Graph = { ...graph, kn: 15, features: new Float32Array(size).fill(0.7) }
  for (const way of ['spectral', 'power'] as const) {
    const { W, dist, gradient } = await onDevice(given, way)
    assert.ok(W.every((x) => x === 1))
    assert.ok(
      dist.every((x) => x >= 0 && x < 1e-10),
      `${way}: ${Math.max(...dist)}`,
    )
    assert.ok(gradient.every((x) => Math.abs(x) < 1e-6))
  }
})

idm('a graph that falls apart: every node alone, distances 1/π(i) + 1/π(j)', async () => {
  const far = randomArray(size, 3, 1e4)
  for (const given of [
    { ...graph, mu: 1e6, features: randomArray(size, 3) },
    { ...graph, features: far },
  ])
    for (const way of ['spectral', 'power'] as const) {
      const { W, dist, gradient } = await onDevice(given, way)
      const want = direct(given)
      assert.ok(finite(W) && finite(dist) && finite(gradient), way)
      const error = relativeError(dist, want.dist)
      assert.ok(error < 1e-5, `${way}: ${error}`)
      assert.is(dist[1]! > 2 * 14 - 1e-2, true)
      assert.ok(gradient.every((x) => Math.abs(x) < 1e-6))
    }
})

idm('two equal rows have distance 0 and a finite gradient', async () => {
  const features = randomArray(size, 3)
  for (let e = 0; e < graph.E; e++) features[e] = features[graph.L * graph.E + e]!
  const given: Graph = { ...graph, features }
  const [spectral, power] = [await onDevice(given, 'spectral'), await onDevice(given, 'power')]
  assert.ok(power.dist[graph.L]! < 1e-9 && spectral.dist[graph.L]! < 1e-9)
  assert.ok(finite(spectral.gradient) && relativeError(spectral.gradient, power.gradient) < 1e-3)
})

idm.run()
