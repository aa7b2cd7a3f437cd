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

/**
 * Float64 eigenvalues of `gallery(n)`, computed once for all variants; of larger n every eighth alone, since QΛQᵀ = S and QᵀQ = I leave no
 * other values (Weyl) and plain loops take seconds.
 */
const references = new Map<number, Float64Array>()
function referenceValues(s: Float32Array, batch: number, n: number): Float64Array | undefined {
  if (n > 24 && n % 8) return undefined
  const known = references.get(n) ?? jacobiReference(s, batch, n).values
  references.set(n, known)
  return known
}

/** X Xᵀ of rows x and y [n, n], below and on the diagonal. */
function* products(x: Float64Array, y: Float64Array, n: number): Generator<[i: number, j: number, dot: number]> {
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let dot = 0
      for (let r = 0; r < n; r++) dot += x[i * n + r]! * y[j * n + r]!
      yield [i, j, dot]
    }
}

/**
 * QΛQᵀ = S and QᵀQ = I entry by entry, λ ascending and finite, the report converged, and λ equal to the float64 reference.
 * Errors relative to ‖S‖_F (of QᵀQ: to 1), f32: at most 2e-6·√n. About ten sweeps turn each row n times by rotations that round by
 * 6e-8 or two; such errors add up like √(10·n), which makes some 4e-7·√n, and the largest of n² entries lies a few times above that.
 */
function check(s: Float32Array, batch: number, n: number, { values, vectors, info }: Solution, name: string): void {
  const reference = referenceValues(s, batch, n)
  const slack = 2e-6 * Math.sqrt(n)
  for (let b = 0; b < batch; b++) {
    const matrix = s.subarray(b * n * n, (b + 1) * n * n)
    const q = Float64Array.from(vectors.subarray(b * n * n, (b + 1) * n * n))
    const norm = Math.sqrt(matrix.reduce((sum, x) => sum + x * x, 0))
    for (let i = 0; i < n; i++) {
      const value = values[b * n + i]!
      const wanted = reference?.[b * n + i] ?? value
      assert.ok(Math.abs(value - wanted) <= slack * norm, `${name}: λ ${b},${i} = ${value}`)
      if (i) assert.ok(values[b * n + i - 1]! <= value, `${name}: not ascending at ${b},${i}`)
    }
    const scaled = q.map((x, at) => x * values[b * n + (at % n)]!)
    for (const [i, j, entry] of products(scaled, q, n)) {
      const wanted = matrix[i * n + j]!
      if (!(Math.abs(entry - wanted) <= slack * norm))
        assert.unreachable(`${name}: QΛQᵀ ${b},${i},${j} = ${entry}, S ${wanted}`)
    }
    const transposed = q.map((_, at) => q[(at % n) * n + Math.floor(at / n)]!)
    for (const [i, j, dot] of products(transposed, transposed, n))
      if (!(Math.abs(dot - (i === j ? 1 : 0)) <= slack)) assert.unreachable(`${name}: QᵀQ ${b},${i},${j} = ${dot}`)
    // Quadratic convergence, of repeated eigenvalues too: 4 to 9 sweeps.
    assert.ok(info[2 * b]! <= 12, `${name}: matrix ${b}: ${info[2 * b]} sweeps`)
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

/** A diagonal of well separated entries with a little of everything beside it: two or three sweeps. */
function nearDiagonal(n: number, seed: number, scale: number): number[] {
  const values = randomArray(n * n, seed)
  return symmetric(n, (i, j) => (i === j ? (i % 2 ? -i : i) - 0.5 : 1e-3 * values[i * n + j]!) * scale)
}

/** H D H with H = I − h wwᵀ a reflector, h = 2/wᵀw: the eigenvalues are those of D. */
function withSpectrum(spectrum: number[], seed: number): number[] {
  const w = randomArray(spectrum.length, seed)
  const h = 2 / w.reduce((sum, x) => sum + x * x, 0)
  const mean = w.reduce((sum, x, k) => sum + x * x * spectrum[k]!, 0)
  return symmetric(
    spectrum.length,
    (i, j) => (i === j ? spectrum[i]! : 0) + h * w[i]! * w[j]! * (h * mean - spectrum[i]! - spectrum[j]!),
  )
}

/** Every kind of matrix that has made an eigensolver stumble, one batch. Of larger n, extreme scales come with what is solved soon. */
function gallery(n: number): Float32Array {
  const scaled = n <= 32 || n % 16 === 0 ? randomSymmetric : nearDiagonal
  const near = Array.from({ length: n }, (_, i) => 1 + 1e-6 * i)
  return Float32Array.from(
    [
      randomSymmetric(n, 11),
      symmetric(n, () => 0),
      symmetric(n, (i, j) => (i === j ? ((i * 7) % n) - n / 2 : 0)),
      symmetric(n, (i, j) => (i === j ? 1 : 0)),
      symmetric(n, () => 1),
      withSpectrum(
        near.map((_, i) => (i % 3) - 1),
        12,
      ),
      withSpectrum(near, 13),
      nearDiagonal(n, 14, 1e18),
      nearDiagonal(n, 15, 1e-18),
      scaled(n, 16, 1e36),
      scaled(n, 17, 1e-37),
      symmetric(n, (i, j) => (i === j ? 1e-6 : i === 0 ? 1 : 0)),
    ].flat(),
  )
}

const baseline: Capabilities = { ...baselineCapabilities, maxWorkgroupBytes: 16384 }
/** What a GPU would run: registers instead of the CPU adapter's arrays, as far as this adapter's subgroups go. */
const hardware: Capabilities = { ...capabilities, software: false }

async function checkGallery(n: number, variants: readonly Variant[]): Promise<void> {
  const s = gallery(n)
  const batch = s.length / (n * n)
  for (const variant of variants) check(s, batch, n, await solve(variant, s, batch, n), `${variant.name} n ${n}`)
}

const variantsOf = (n: number, caps: Capabilities): Variant[] => jacobiVariants({ batch: 12, n }, caps)

for (let first = 1; first < 96; first += 16)
  test(`every n from ${first} to ${first + 15}: the first choice, every kind of matrix`, async () => {
    for (let n = first; n < first + 16; n++) await checkGallery(n, variantsOf(n, capabilities).slice(0, 1))
  })

/** Where the matrix lies ('rows', 'workgroup', 'vectors-in-storage' or 'storage'), in the variant with that many threads. */
function tier(n: number, caps: Capabilities, threads: number): string | undefined {
  return variantsOf(n, caps)
    .find((variant) => variant.name === `workgroup.${threads}`)
    ?.program()
    .label.split('.')[1]
}

/** The sizes at which the variant changes its memory, and those before them. */
function boundaries(caps: Capabilities, threads: number): number[] {
  const sizes = Array.from({ length: 96 }, (_, i) => i + 1)
  return sizes.filter((n) =>
    [n - 1, n + 1].some((other) => other > 0 && other <= 96 && tier(n, caps, threads) !== tier(other, caps, threads)),
  )
}

/** Threads of the variants in memory, and sizes for them beside those where their memory changes. */
const inMemory: [name: string, caps: Capabilities, threads: number, sizes: number[]][] = [
  [
    'this device',
    capabilities,
    capabilities.software ? 8 : 64,
    [1, 2, 3, 7, 8, 47, 48, ...boundaries(capabilities, 8)],
  ],
  ['any device', baseline, 64, [1, 2, 5, 8, 23, 24]],
  ['any device', baseline, 128, [25, 31, 32]],
  ['any device', baseline, 256, [37, 40, 96, ...boundaries(baseline, 256)]],
]

for (const [name, caps, threads, sizes] of inMemory)
  test(`in memory, ${name}, ${threads} threads: every kind of matrix`, async () => {
    for (const n of new Set(sizes)) {
      // What is the first choice here has been checked above.
      const others = variantsOf(n, caps).slice(caps === capabilities ? 1 : 0)
      await checkGallery(
        n,
        others.filter((variant) => variant.name === `workgroup.${threads}`),
      )
    }
  })

test('memory is left as matrices grow', () => {
  const tiers = [1, 50, 96].map((n) => tier(n, baseline, 64))
  assert.equal(tiers, ['workgroup', 'vectors-in-storage', 'storage'])
  assert.equal(
    boundaries(baseline, 256).filter((n) => n > 25),
    [42, 43, 59, 60],
  )
})

test('registers, as on a GPU', async () => {
  for (const n of [3, 4, 11]) {
    const variant = variantsOf(n, hardware)[0]!
    assert.match(variant.name, 'rows')
    await checkGallery(n, [variant])
  }
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
