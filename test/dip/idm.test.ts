/** IDM: Eq. 4 and Eq. 5 are the same number, both finite and of equal gradient where graphs degenerate. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { affinities, diffusionDistances, positive } from '../../dip/index.ts'
import { type Device, grad, openDevice, tensor } from '../../engine/index.ts'
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

/** Eq. 2 as it is written, in float64. */
function directAffinities({ features, B, L, E, kn, mu }: Graph): Float64Array {
  const n = 2 * L
  const W = new Float64Array(B * n * n)
  for (let s = 0; s < B; s++)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        if (Math.abs((i % L) - (j % L)) > Math.floor(kn / 2)) continue
        let d2 = 0
        for (let e = 0; e < E; e++) d2 += (features[(s * n + i) * E + e]! - features[(s * n + j) * E + e]!) ** 2
        W[s * n * n + i * n + j] = Math.exp(-mu * d2)
      }
  return W
}

/** Eqs. 3 and 4 as they are written, in float64: Pᵗ by t products. */
function directDistances(W: ArrayLike<number>, B: number, n: number, t: number): Float64Array {
  const dist = new Float64Array(B * n * n)
  for (let s = 0; s < B; s++) {
    const at = (i: number, j: number) => s * n * n + i * n + j
    const D = Array.from({ length: n }, (_, i) => {
      let sum = 0
      for (let j = 0; j < n; j++) sum += W[at(i, j)]!
      return sum
    })
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
  return dist
}

function direct(graph: Graph): { W: Float64Array; dist: Float64Array } {
  const W = directAffinities(graph)
  return { W, dist: directDistances(W, graph.B, 2 * graph.L, graph.t) }
}

/** W, Dist and the gradient of a weighted sum of Dist with respect to the features, on the device. */
async function onDevice({ features, B, L, E, kn, t, mu }: Graph, way: 'spectral' | 'power') {
  const n = 2 * L
  const f = tensor(features, [B, n, E])
  const W = affinities(f, tensor(Math.log(mu)), kn)
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
  ['many steps', 64, 0.4],
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

/**
 * The gradient with respect to W itself, where eigenvalues coincide: along a symmetric direction against differences of Eq. 4 in
 * float64, and the two ways against each other. Features would hide it: their gradient is 0 where they are equal.
 */
for (const [what, features, mu, kn, t] of [
  ['uniform: L eigenvalues are zero', new Float32Array(size).fill(0.3), 0.4, 3, 20],
  ['uniform, complete', new Float32Array(size).fill(0.3), 0.4, 99, 20],
  ['disconnected: W = 1 on the diagonal, eigenvalue 1 fourteen times', randomArray(size, 3), 1e6, 3, 20],
  ['two far clusters', randomArray(size, 3).map((x, i) => x * 0.1 + (i % (14 * 5) < 35 ? 0 : 50)), 0.4, 3, 20],
  ['one step', randomArray(size, 3), 0.4, 3, 1],
  ['sixty-four steps', randomArray(size, 3), 0.4, 3, 64],
] as const)
  idm(`gradients of both ways are those of Eq. 4, ${what}`, async () => {
    const { B, L } = graph
    const n = 2 * L
    const W = directAffinities({ ...graph, features, mu, kn, t })
    const seed = randomArray(B * n * n, 5)
    const half = randomArray(B * n * n, 6)
    const direction = half.map((x, at) => {
      const [s, i, j] = [Math.floor(at / (n * n)), Math.floor(at / n) % n, at % n]
      return (x + half[s * n * n + j * n + i]!) * Math.max(W[at]!, 0.05)
    })
    const along = (h: number) => {
      const moved = W.map((x, i) => x + h * direction[i]!)
      return directDistances(moved, B, n, t).reduce((sum, x, i) => sum + x * seed[i]!, 0)
    }
    const h = 1e-5
    const want = (along(h) - along(-h)) / (2 * h)
    const gradients: ArrayLike<number>[] = []
    for (const way of ['spectral', 'power'] as const) {
      const w = tensor(Float32Array.from(W), [B, n, n])
      const loss = diffusionDistances(w, t, way)
        .mul(tensor(seed, [B, n, n]))
        .sum()
      const gradient = await grad(loss, w).data()
      assert.ok(finite(gradient))
      const got = direction.reduce((sum, v, i) => sum + v * gradient[i]!, 0)
      const scale = Math.hypot(...gradient) * Math.hypot(...direction)
      assert.ok(Math.abs(got - want) < 2e-4 * Math.max(scale, 1e-3), `${way}: ${got} for ${want} of ${scale}`)
      gradients.push(symmetrised(gradient, B, n))
    }
    const apart = relativeError(gradients[0]!, gradients[1]!)
    assert.ok(apart < 1e-3, `${apart}`)
  })

/** Only the symmetric part counts: W is symmetric. */
const symmetrised = (g: ArrayLike<number>, B: number, n: number): Float64Array =>
  Float64Array.from({ length: B * n * n }, (_, at) => {
    const [s, i, j] = [Math.floor(at / (n * n)), Math.floor(at / n) % n, at % n]
    return (g[at]! + g[s * n * n + j * n + i]!) / 2
  })

idm('squares that overflow float32, and every width of the kernel, leave everything finite', async () => {
  for (const scale of [1, 1e18, 1e25])
    for (const logMu of [-200, -80, 0, 80, 200]) {
      const features = tensor(randomArray(size, 3, scale), [graph.B, 14, graph.E])
      const log = tensor(logMu)
      const W = affinities(features, log, 3)
      const tau = positive(tensor(logMu))
      for (const way of ['spectral', 'power'] as const) {
        const dist = diffusionDistances(W, 20, way)
        const loss = dist.mul(tau).neg().exp().sum()
        const [gf, gl] = grad(loss, [features, log])
        for (const x of [W, dist, loss, gf!, gl!])
          assert.ok(finite(await x.data()), `${way} at scale ${scale}, log μ ${logMu}`)
        const rows = await W.sum(-1).data()
        assert.ok(rows.every((d) => d >= 1))
      }
    }
})

idm.run()
