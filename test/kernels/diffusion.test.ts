/** Affinities, diffusion distances and their gradients against float64, over sizes, window widths, powers and degenerate graphs. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type AffinityProblem, affinityBackwardVariants, affinityVariants } from '../../kernels/diffusion/affinities.ts'
import {
  diffusionBackwardVariants,
  diffusionLimit,
  diffusionVariants,
  diffusionWorkBytes,
} from '../../kernels/diffusion/diffusion.ts'
import {
  affinityBackwardReference,
  affinityReference,
  diffusionBackwardReference,
  diffusionReference,
} from '../../kernels/diffusion/reference.ts'
import { baselineCapabilities, type Capabilities } from '../../kernels/kernel.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/diffusion')
const { device, capabilities } = await openBareDevice()
const blank = (count: number): Float32Array => new Float32Array(count).fill(Number.NaN)
/** Many threads a graph, as on a GPU; grids of more than three workgroups fold. */
const gpu: Capabilities = { ...baselineCapabilities, maxGrid: 3 }
const finite = (x: ArrayLike<number>) => Array.from(x).every(Number.isFinite)

/** f32: relative to the norm of what is expected. A squared distance over e channels has been rounded e times: at least √e·2⁻²⁴. */
const tolerance = { w: 1e-6, dfeatures: 2e-6, dist: 1e-5, dw: 2e-5 }

async function checkAffinities(
  problem: AffinityProblem,
  features: Float32Array,
  logMu: number,
  adapters: readonly Capabilities[] = [capabilities, gpu],
): Promise<Float32Array> {
  const { batch, l, e } = problem
  const size = batch * 4 * l * l
  const want = affinityReference(problem, features, logMu)
  const dw = randomArray(size, 9)
  const slope = affinityBackwardReference(problem, features, logMu, dw)
  const mu = Float32Array.of(logMu)
  const rounding = Math.sqrt(e) * 2 ** -24
  const most = { w: Math.max(tolerance.w, rounding), dfeatures: Math.max(tolerance.dfeatures, 2 * rounding) }
  let last: Float32Array = new Float32Array()
  for (const caps of adapters) {
    for (const variant of affinityVariants(problem, caps)) {
      const program = variant.program()
      const [w, exponent] = (await runProgram(device, program, [features, mu, blank(size), blank(size)])) as [
        Float32Array,
        Float32Array,
      ]
      assert.ok(relativeError(w, want.w) < most.w, `${program.label}: W ${relativeError(w, want.w)}`)
      const bounded = want.exponent.map((x) => Math.min(x, 1e4))
      assert.ok(relativeError(exponent, bounded) < most.w, `${program.label}: exponent`)
      for (let k = 0; k < size; k++) {
        const [b, i, j] = [Math.floor(k / (4 * l * l)), Math.floor(k / (2 * l)) % (2 * l), k % (2 * l)]
        assert.is(w[k], w[(b * 2 * l + j) * 2 * l + i], `${program.label}: symmetric`)
      }
      last = w
    }
    for (const variant of affinityBackwardVariants(problem, caps)) {
      const program = variant.program()
      const [got] = await runProgram(device, program, [features, mu, last, dw, blank(batch * 2 * l * e)])
      const error = relativeError(got!, slope)
      assert.ok(error < most.dfeatures, `${program.label}: dfeatures ${error}`)
    }
  }
  return last
}

// L, E, half, B; windows from the node alone to beyond every border.
for (const [l, e, half, batch] of [
  [1, 1, 0, 1],
  [1, 5, 0, 3],
  [2, 1, 1, 2],
  [3, 7, 4, 1],
  [5, 61, 2, 1],
  [13, 67, 1, 3],
  [31, 3, 30, 1],
  [3, 4099, 1, 1],
  [7, 13, 1, 2],
  [7, 13, 2, 2],
  [14, 96, 3, 2],
] as const)
  test(`affinities of ${batch} × 2·${l} nodes, ${e} channels, windows of ${2 * half + 1}`, async () => {
    await checkAffinities({ batch, l, e, half }, randomArray(batch * 2 * l * e, 1), Math.log(1 / e))
  })

test('affinities: wide nodes, and lanes as a GPU shares them out', async () => {
  const problem = { batch: 1, l: 3, e: 300, half: 1 }
  await checkAffinities(problem, randomArray(6 * 300, 2), Math.log(0.01), [baselineCapabilities])
})

test('affinities: far nodes, equal nodes, any μ: finite, and 0 where nothing is left', async () => {
  const problem = { batch: 1, l: 7, e: 13, half: 1 }
  const size = 14 * 14
  for (const [scale, logMu] of [
    [1e25, 80],
    [1e25, -200],
    [1e18, 0],
    [1, 200],
    [0, 80],
  ] as const) {
    const features = randomArray(14 * 13, 3, scale)
    const mu = Float32Array.of(logMu)
    const [w, exponent] = await runProgram(device, affinityVariants(problem, capabilities)[0]!.program(), [
      features,
      mu,
      blank(size),
      blank(size),
    ])
    assert.ok(finite(w!) && finite(exponent!), `${scale} ${logMu}`)
    for (let i = 0; i < 14; i++) assert.is(w![i * 15], 1)
    const program = affinityBackwardVariants(problem, capabilities)[0]!.program()
    const [slope] = await runProgram(device, program, [features, mu, w!, randomArray(size, 4), blank(14 * 13)])
    assert.ok(finite(slope!), `gradient at ${scale} ${logMu}`)
    if (scale !== 1e18 && logMu !== -200) assert.ok(slope!.every((x) => x === 0))
  }
})

/** Symmetric weights in windows of a ring of n nodes, row sums above 0. */
function weights(batch: number, n: number, seed: number, make = (x: number) => x): Float32Array {
  const random = randomArray(batch * n * n, seed)
  return Float32Array.from({ length: batch * n * n }, (_, k) => {
    const [b, i, j] = [Math.floor(k / (n * n)), Math.floor(k / n) % n, k % n]
    if (i === j) return 1
    const at = (b * n + Math.min(i, j)) * n + Math.max(i, j)
    return Math.abs(i - j) % n < 5 ? make(Math.abs(random[at]!)) : 0
  })
}

async function checkDiffusion(
  n: number,
  t: number,
  w: Float32Array,
  adapters: readonly Capabilities[] = [capabilities, gpu],
): Promise<void> {
  const batch = w.length / (n * n)
  const problem = { batch, n, t }
  const want = diffusionReference(problem, w)
  const gradient = randomArray(w.length, 5)
  const slope = diffusionBackwardReference(problem, w, gradient)
  const scratch = (direction: 'forward' | 'backward') => {
    const bytes = diffusionWorkBytes(n, direction)
    return bytes ? [blank((batch * bytes) / 4)] : []
  }
  for (const caps of adapters) {
    const ahead = diffusionVariants(problem, caps)[0]!.program()
    const [dist, power] = (await runProgram(device, ahead, [
      w,
      blank(w.length),
      blank(w.length),
      ...scratch('forward'),
    ])) as [Float32Array, Float32Array]
    const name = `${ahead.label}, t = ${t}`
    // Where everything has mixed, what is left are roundings of 1.
    const apart = Math.hypot(...dist.map((x, k) => x - want.dist[k]!)) / Math.max(Math.hypot(...want.dist), 1e-8)
    assert.ok(apart < tolerance.dist, `${name}: Dist ${apart}`)
    assert.ok(dist.every((x) => x >= 0) && finite(power), name)
    const back = diffusionBackwardVariants(problem, caps)[0]!.program()
    const [dw] = await runProgram(device, back, [w, power, gradient, blank(w.length), ...scratch('backward')])
    const off = Math.hypot(...dw!.map((x, k) => x - slope[k]!)) / Math.max(Math.hypot(...slope), 1e-8)
    assert.ok(off < tolerance.dw, `${back.label}, t = ${t}: dW ${off}`)
  }
}

for (const [n, steps, batch] of [
  [1, [1, 2, 20], 2],
  [2, [1, 2, 20], 3],
  [3, [1, 7], 1],
  [4, [3], 2],
  [6, [1, 13], 2],
  [13, [1, 2, 3, 4, 31], 13],
  [14, [1, 2, 3, 13, 20, 64], 3],
  [23, [5, 17], 2],
  [28, [1, 5, 20], 2],
  [29, [1, 20], 2],
] as const)
  for (const t of steps)
    test(`diffusion of ${batch} graphs of ${n} nodes, t = ${t}`, () => checkDiffusion(n, t, weights(batch, n, n + t)))

test('diffusion: matrices in scratch memory, with 16 KiB for workgroups and with more', async () => {
  assert.is(diffusionWorkBytes(25, 'backward'), 0)
  assert.ok(diffusionWorkBytes(34, 'backward') > 0)
  for (const n of [34, 61]) for (const t of [1, 20]) await checkDiffusion(n, t, weights(2, n, n))
})

test('diffusion on degenerate graphs: uniform, complete, apart, barely connected, nodes equal', async () => {
  const n = 14
  const graphs = [
    weights(1, n, 1, () => 1),
    new Float32Array(n * n).fill(1),
    weights(1, n, 1, () => 0),
    weights(1, n, 1, (x) => x * 1e-6),
    weights(1, n, 1, (x) => x ** 40),
    weights(1, n, 1, () => 1e-38),
    weights(1, n, 1, (x) => x * 1e-15).map((x) => x * 1e-15),
    weights(1, n, 1).map((x) => x * 1e15),
  ]
  for (const t of [1, 20, 64]) await checkDiffusion(n, t, Float32Array.from(graphs.flatMap((g) => [...g])))
})

test('the reference gradients are those of the reference values', () => {
  const problem = { batch: 1, n: 6, t: 7 }
  const w = Float64Array.from(weights(1, 6, 8))
  const gradient = randomArray(36, 5)
  const along = randomArray(36, 6)
  const direction = along.map((x, k) => x + along[(k % 6) * 6 + Math.floor(k / 6)]!)
  const loss = (h: number) => {
    const moved = w.map((x, k) => x + h * direction[k]!)
    return diffusionReference(problem, moved).dist.reduce((sum, x, k) => sum + x * gradient[k]!, 0)
  }
  const want = (loss(1e-6) - loss(-1e-6)) / 2e-6
  const got = diffusionBackwardReference(problem, w, gradient).reduce((sum, x, k) => sum + x * direction[k]!, 0)
  assert.ok(Math.abs(got - want) < 1e-6 * Math.abs(want), `${got}, ${want}`)
})

test('refuses sizes it cannot hold', () => {
  assert.throws(() => diffusionVariants({ batch: 1, n: diffusionLimit + 1, t: 1 }, capabilities), /at most 64 nodes/)
  assert.throws(() => diffusionVariants({ batch: 1, n: 4, t: 0 }, capabilities), /t must be a positive integer/)
  assert.throws(() => affinityVariants({ batch: 1, l: 0, e: 1, half: 1 }, capabilities), /l must be a positive integer/)
})

test.after(() => device.destroy())
test.run()
