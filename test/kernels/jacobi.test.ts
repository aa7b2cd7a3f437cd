/** Jacobi eigensolver: by its properties, in every variant, and its eigenvalues against the float64 reference. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { jacobiNeedsWork, jacobiVariants } from '../../kernels/jacobi/jacobi.ts'
import { jacobiReference } from '../../kernels/jacobi/reference.ts'
import { baselineCapabilities, type Capabilities, type Variant } from '../../kernels/kernel.ts'
import { openBareDevice, randomArray, runProgram } from '../support/program.ts'

const test = suite('kernels/jacobi')
const { device, capabilities } = await openBareDevice()

interface Solution {
  values: Float32Array
  vectors: Float32Array
  info: Float32Array
}

async function solve(variant: Variant, s: Float32Array, batch: number, n: number): Promise<Solution> {
  const program = variant.program()
  // Outputs start as NaN: whatever the kernel forgets to write shows.
  const blank = (count: number) => new Float32Array(count).fill(Number.NaN)
  const data = [s, blank(batch * n), blank(batch * n * n), blank(2 * batch)]
  if (jacobiNeedsWork(n)) data.push(blank(batch * n * n))
  const [values, vectors, info] = (await runProgram(device, program, data)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  return { values, vectors, info }
}

/** QΛQᵀ = S and QᵀQ = I entry by entry, λ ascending, the report converged, and λ equal to the float64 reference. */
function check(s: Float32Array, batch: number, n: number, { values, vectors, info }: Solution, name: string): void {
  const reference = jacobiReference(s, batch, n)
  for (let b = 0; b < batch; b++) {
    const norm = Math.hypot(...s.subarray(b * n * n, (b + 1) * n * n))
    const slack = 2e-6 * Math.sqrt(n)
    for (let i = 0; i < n; i++) {
      const value = values[b * n + i]!
      assert.ok(Math.abs(value - reference.values[b * n + i]!) <= slack * norm, `${name}: λ ${b},${i} = ${value}`)
      if (i) assert.ok(values[b * n + i - 1]! <= value, `${name}: not ascending at ${b},${i}`)
      for (let j = 0; j < n; j++) {
        let entry = 0
        let dot = 0
        for (let r = 0; r < n; r++) {
          const q = (row: number, column: number) => vectors[b * n * n + row * n + column]!
          entry += q(i, r) * values[b * n + r]! * q(j, r)
          dot += q(r, i) * q(r, j)
        }
        const wanted = s[b * n * n + i * n + j]!
        assert.ok(Math.abs(entry - wanted) <= slack * norm, `${name}: QΛQᵀ ${b},${i},${j} = ${entry}, S ${wanted}`)
        assert.ok(Math.abs(dot - (i === j ? 1 : 0)) <= slack, `${name}: QᵀQ ${b},${i},${j} = ${dot}`)
      }
    }
    // Quadratic convergence for the random matrix of each batch; eigenvalues of high multiplicity take longer (18 sweeps seen).
    if (b === 0) assert.ok(info[0]! <= 10, `${name}: ${info[0]} sweeps`)
    assert.ok(info[2 * b]! < 30, `${name}: matrix ${b}: ${info[2 * b]} sweeps`)
    assert.ok(info[2 * b + 1]! <= 1e-7, `${name}: residual ${info[2 * b + 1]}`)
  }
}

function symmetric(n: number, entry: (i: number, j: number) => number): number[] {
  return Array.from({ length: n * n }, (_, k) => {
    const [i, j] = [Math.floor(k / n), k % n]
    return i <= j ? entry(i, j) : entry(j, i)
  })
}

function randomSymmetric(n: number, seed: number, scale = 1): number[] {
  const values = randomArray(n * n, seed)
  return symmetric(n, (i, j) => values[i * n + j]! * scale)
}

/** H D H with H a reflector: the eigenvalues are those of D. */
function withSpectrum(spectrum: number[], seed: number): number[] {
  const n = spectrum.length
  const w = randomArray(n, seed)
  const norm2 = w.reduce((sum, x) => sum + x * x, 0)
  const h = symmetric(n, (i, j) => (i === j ? 1 : 0) - (2 * w[i]! * w[j]!) / norm2)
  return symmetric(n, (i, j) => spectrum.reduce((sum, d, k) => sum + h[i * n + k]! * d * h[k * n + j]!, 0))
}

/** Every kind of matrix that has made an eigensolver stumble, one batch. */
function gallery(n: number): Float32Array {
  const near = Array.from({ length: n }, (_, i) => 1 + 1e-6 * i)
  return Float32Array.from([
    ...randomSymmetric(n, 11),
    ...symmetric(n, () => 0),
    ...symmetric(n, (i, j) => (i === j ? ((i * 7) % n) - n / 2 : 0)),
    ...symmetric(n, (i, j) => (i === j ? 1 : 0)),
    ...symmetric(n, () => 1),
    ...withSpectrum(
      near.map((_, i) => (i % 3) - 1),
      12,
    ),
    ...withSpectrum(near, 13),
    ...randomSymmetric(n, 14, 1e18),
    ...randomSymmetric(n, 15, 1e-18),
    ...randomSymmetric(n, 16, 1e36),
    ...randomSymmetric(n, 17, 1e-37),
    ...symmetric(n, (i, j) => (i === j ? 1e-6 : i === 0 ? 1 : 0)),
  ])
}

const baseline: Capabilities = { ...baselineCapabilities, maxWorkgroupBytes: 16384 }
/** What a GPU would run: registers instead of the CPU adapter's arrays, as far as this adapter's subgroups go. */
const hardware: Capabilities = { ...capabilities, software: false }

for (const n of [1, 2, 3, 8, 13, 28])
  test(`n = ${n}: every variant, every kind of matrix`, async () => {
    const s = gallery(n)
    const batch = s.length / (n * n)
    for (const variant of [...jacobiVariants({ batch, n }, capabilities), ...jacobiVariants({ batch, n }, baseline)])
      check(s, batch, n, await solve(variant, s, batch, n), `${variant.name} n ${n}`)
  })

test('registers, as on a GPU', async () => {
  for (const n of [4, 11]) {
    const s = gallery(n)
    const batch = s.length / (n * n)
    const variant = jacobiVariants({ batch, n }, hardware)[0]!
    assert.match(variant.name, 'rows')
    check(s, batch, n, await solve(variant, s, batch, n), `${variant.name} n ${n}`)
  }
})

test('large n: vectors, then the matrix too, in storage', async () => {
  const labels = new Set<string>()
  for (const n of [33, 45, 59, 64, 95, 96]) {
    const s = Float32Array.from([...randomSymmetric(n, n), ...withSpectrum(Array(n).fill(0).map((_, i) => i % 5), n)]) // biome-ignore format: one batch
    const variants = [...jacobiVariants({ batch: 2, n }, capabilities), ...jacobiVariants({ batch: 2, n }, baseline)]
    const chosen = new Map(variants.map((v) => [v.program().wgsl, v]))
    for (const variant of n > 64 ? [variants.at(-1)!] : n === 33 ? chosen.values() : [...chosen.values()].slice(-1)) {
      labels.add(variant.program().label.split('.')[1]!)
      check(s, 2, n, await solve(variant, s, 2, n), `${variant.name} n ${n}`)
    }
  }
  assert.equal([...labels].sort(), ['rows', 'storage', 'vectors-in-storage', 'workgroup'])
})

test('reports a matrix that did not converge', async () => {
  const n = 12
  const s = Float32Array.from(randomSymmetric(n, 5))
  for (const variant of jacobiVariants({ batch: 1, n, maxSweeps: 1 }, capabilities)) {
    const { info } = await solve(variant, s, 1, n)
    assert.is(info[0], 1)
    assert.ok(info[1]! > 1e-3 && info[1]! < 1, `residual ${info[1]}`)
  }
})

test('bindings depend on n alone', () => {
  for (const n of [40, 59, 60, 64, 96])
    for (const caps of [capabilities, baseline])
      for (const variant of jacobiVariants({ batch: 1, n }, caps))
        assert.is(variant.program().bindings.length, jacobiNeedsWork(n) ? 5 : 4)
})

test.after(() => device.destroy())
test.run()
