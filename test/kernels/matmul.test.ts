/**
 * Every tier of the matrix product against plain loops in float64: layouts, ragged sizes, broadcast batches, epilogues.
 *
 * f32: 5e-6 of the norm of what is expected, for sums of up to 4100 products. Whatever lies in a buffer outside of its matrix (gaps of a
 * strided one, what precedes and follows it) is NaN: a product with any of it would spread.
 *
 * Compiling a tier takes CPU adapters seconds, and sizes are uniforms: a table of many shapes shares the texts of one layout, in which
 * every size of every tier runs; in the other layouts the sizes of a tier take turns.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Capabilities, Epilogue, Program, Variant } from '../../kernels/kernel.ts'
import { baselineCapabilities, oneSubgroupSize } from '../../kernels/kernel.ts'
import type { MatmulOperand, MatmulProblem } from '../../kernels/matmul/matmul.ts'
import { matmulCost, matmulReference, matmulVariants } from '../../kernels/matmul/matmul.ts'
import { registerProgram } from '../../kernels/matmul/register.ts'
import { splitProgram } from '../../kernels/matmul/splitk.ts'
import { subgroupProgram } from '../../kernels/matmul/subgroup.ts'
import { tiledProgram, tiledShapes } from '../../kernels/matmul/tiled.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/matmul')
const { device, capabilities } = await openBareDevice()

type Layout = 'dense' | 'transposed' | 'strided'

interface Matrices {
  readonly operand: MatmulOperand
  readonly data: Float32Array
}

/** Random matrices [batch, rows, cols] in a buffer of NaNs. */
function lay(
  layout: Layout,
  batch: readonly number[],
  rows: number,
  cols: number,
  { broadcast = [] as number[], offset = 0, seed = 1 } = {},
): Matrices {
  const gap = layout === 'strided' ? 3 : 1
  const batchStrides: number[] = []
  let size = rows * cols * gap
  for (let dim = batch.length - 1; dim >= 0; dim--) {
    batchStrides[dim] = broadcast.includes(dim) ? 0 : size
    if (!broadcast.includes(dim)) size *= batch[dim]!
  }
  const strides =
    layout === 'transposed' ? { rowStride: 1, colStride: rows } : { rowStride: cols * gap, colStride: gap }
  const data = new Float32Array(offset + size + 600).fill(Number.NaN)
  const values = randomArray(size / gap, seed)
  values.forEach((v, i) => {
    data[offset + i * gap] = v
  })
  return { operand: { batchStrides, ...strides, offset }, data }
}

type Tier = (problem: MatmulProblem, caps: Capabilities) => Program

const registers = (
  [
    [8, 1],
    [4, 2],
    [4, 1],
    [8, 2],
  ] as const
).map(
  // biome-ignore format: rows, groups of columns
  ([rows, groups]): Tier => (p, caps) => registerProgram(p, caps, { rows, groups }),
)
const subgroups = oneSubgroupSize(capabilities)
  ? ([8, 16, 24, 32, 4] as const).map(
      (rows): Tier =>
        (p, caps) =>
          subgroupProgram(p, caps, rows),
    )
  : []
const tiles = Object.values(tiledShapes).map(
  (shape): Tier =>
    (p, caps) =>
      tiledProgram(p, caps, shape),
)
const splits = ([2, 4] as const).map(
  (side): Tier =>
    (p, caps) =>
      splitProgram(p, caps, side),
)

/** Every tier in every size, whatever the heuristic thinks of it. */
const everyTier = [...registers, ...subgroups, ...tiles, ...splits]
/** One size of every tier, another with every turn. */
const someTiers = (turn: number): Tier[] =>
  [registers, subgroups, tiles, splits].flatMap((sizes) => sizes.slice(turn % sizes.length).slice(0, 1))

async function check(
  problem: MatmulProblem,
  [a, b]: [Float32Array, Float32Array],
  tiers: readonly Tier[],
  { extra = [] as Float32Array[], finish = (v: number, _at: number) => v, caps = capabilities } = {},
): Promise<void> {
  const want = matmulReference(problem, a, b).map(finish)
  for (const tier of tiers) {
    const program = tier(problem, caps)
    // For few outputs: a workgroup for every 8 × 8 takes CPU adapters seconds.
    if (splits.includes(tier) && want.length > 4096) continue
    const c = new Float32Array(want.length + 8).fill(Number.NaN, 0, want.length).fill(-7, want.length)
    const [got] = await runProgram(device, program, [a, b, ...extra, c])
    const error = relativeError(got!.subarray(0, want.length), want)
    assert.ok(error < 5e-6, `${program.label} ${problem.batch}·${problem.m}×${problem.n}×${problem.k}: ${error}`)
    assert.ok(
      got!.subarray(want.length).every((v) => v === -7),
      `${program.label} writes past the end of C`,
    )
  }
}

type Size = readonly [m: number, n: number, k: number]

async function checkLayouts(
  [aLayout, bLayout]: readonly [Layout, Layout],
  shapes: readonly Size[],
  tiers: readonly Tier[],
  caps = capabilities,
): Promise<void> {
  for (const [m, n, k] of shapes) {
    const a = lay(aLayout, [], m, k, { seed: 3 })
    const b = lay(bLayout, [], k, n, { seed: 4 })
    await check({ batch: [], m, n, k, a: a.operand, b: b.operand }, [a.data, b.data], tiers, { caps })
  }
}

/** Ones, primes, and one less and one more than every tile, in m, n and k; vectors; long sums. */
const ragged: Size[] = [
  [1, 1, 1], [1, 1, 2], [1, 37, 1], [41, 1, 1], [23, 19, 1], [1, 1, 4099], [1, 131, 67], [131, 1, 67],
  [3, 5, 7], [5, 3, 9], [7, 9, 15], [8, 7, 17], [9, 15, 3], [15, 17, 63], [16, 17, 65], [17, 13, 31], [23, 25, 33],
  [24, 31, 5], [25, 33, 13], [31, 33, 255], [32, 31, 257], [33, 31, 21], [63, 65, 15], [64, 63, 17], [65, 61, 129],
  [127, 129, 33], [128, 127, 31], [129, 131, 47], [7, 11, 4099],
] // biome-ignore format: m, n, k
/** The same for layouts that are read four elements at a time: the tiles, four less and four more. */
const aligned: Size[] = [
  [4, 4, 4], [4, 132, 4], [132, 4, 4], [8, 8, 8], [12, 12, 12], [16, 16, 16], [20, 28, 20], [24, 36, 256], [28, 32, 60],
  [32, 32, 64], [36, 60, 68], [60, 68, 252], [64, 64, 16], [68, 124, 12], [124, 132, 20], [128, 128, 16], [132, 128, 36],
  [12, 8, 4100],
] // biome-ignore format: m, n, k
const few: Size[] = [
  [4, 4, 4],
  [12, 8, 1100],
  [132, 68, 36],
  [64, 128, 260],
]

test('any size, element by element', () => checkLayouts(['dense', 'strided'], ragged, everyTier))

test('multiples of four, A along k, B across', () => checkLayouts(['dense', 'dense'], aligned, everyTier))

test('as a GPU takes them', async () => {
  const caps = { ...capabilities, software: false }
  const tiers = [registers[2]!, registers[0]!, ...subgroups.slice(0, 1), ...subgroups.slice(4), ...tiles, ...splits]
  await checkLayouts(['dense', 'dense'], aligned, tiers, caps)
})

const otherLayouts: [Layout, Layout, readonly Size[]][] = [
  ['dense', 'transposed', few],
  ['transposed', 'dense', few],
  ['transposed', 'transposed', few],
  // The end of k, read across.
  ['transposed', 'dense', few.map(([m, n, k]) => [m, n, k + 1])],
  // Element by element, into rows of C that are written by fours.
  ['strided', 'strided', [...few, [128, 128, 17], [1, 4, 1], [33, 36, 13]]],
]

for (const [turn, [aLayout, bLayout, shapes]] of otherLayouts.entries())
  test(`A ${aLayout}, B ${bLayout}, k of ${shapes[0]![2]}`, () =>
    checkLayouts([aLayout, bLayout], shapes, someTiers(turn === 3 ? 1 : turn)))

test('up to three batch dimensions, each operand broadcast over any of them, offsets on and off a vec4', async () => {
  const subsets = (rank: number) =>
    Array.from({ length: 2 ** rank }, (_, bits) =>
      Array.from({ length: rank }, (_, dim) => dim).filter((d) => bits & (1 << d)),
    )
  // A grid of at most 3 along x also folds.
  const caps = { ...capabilities, maxGrid: 3 }
  let turn = 0
  for (const [batch, offset] of [
    [[2, 3, 2], 4],
    [[3, 1, 5], 3],
    [[2, 7], 4],
    [[13], 3],
  ] as const)
    for (const aOver of subsets(batch.length))
      for (const bOver of subsets(batch.length)) {
        const [m, n, k] = [8, 24, 16]
        const a = lay('dense', batch, m, k, { broadcast: aOver, offset, seed: 5 })
        const b = lay(offset === 4 ? 'dense' : 'strided', batch, k, n, { broadcast: bOver, offset, seed: 6 })
        const problem = { batch, m, n, k, a: a.operand, b: b.operand }
        const tiers = someTiers(4)
        await check(problem, [a.data, b.data], [tiers[turn++ % tiers.length]!], { caps })
      }
})

test('what a product costs: broadcast operands are read once', () => {
  const [batch, m, n, k] = [[2, 3, 2], 8, 24, 16]
  const a = lay('dense', batch, m, k, { broadcast: [1] })
  const b = lay('dense', batch, k, n, { broadcast: [0, 2] })
  const words = 4 * m * k + 3 * k * n + 12 * m * n
  const cost = matmulCost({ batch, m, n, k, a: a.operand, b: b.operand })
  assert.equal(cost, { flops: 12 * m * n * 2 * k, bytes: 4 * words })
})

test('epilogue: bias and residual, with its batch, row and column', async () => {
  for (const [m, n, depths] of [
    [11, 13, [1, 7, 67]],
    [36, 16, [4, 8, 68]],
  ] as const) {
    const read = (name: string) => ({ name, type: 'f32', access: 'read' }) as const
    const epilogue: Epilogue = {
      bindings: [read('bias'), read('residual')],
      wgsl: `fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f {
  var out = 2.0 * acc;
  for (var i = 0u; i < 4u; i++) { out[i] += bias[col + i] + residual[(batch * ${m}u + row) * ${n}u + col + i]; }
  return out;
}`,
      flopsPerOutput: 3,
    }
    for (const k of depths) {
      const a = lay('dense', [2], m, k, { seed: 10 })
      const b = lay(n % 4 ? 'strided' : 'dense', [2], k, n, { broadcast: [0], seed: 11 })
      const [bias, residual] = [randomArray(n, 8), randomArray(2 * m * n, 9)]
      const problem = { batch: [2], m, n, k, a: a.operand, b: b.operand, epilogue }
      await check(problem, [a.data, b.data], someTiers(n % 4), {
        extra: [bias, residual],
        finish: (v, at) => 2 * v + bias[at % n]! + residual[at]!,
      })
    }
  }
})

test('the heuristic: a variant for every device and size, none that a device cannot run', () => {
  const names = (variants: Variant[]): string[] => variants.map((v) => v.name)
  const dense = (m: number, n: number, k: number): MatmulProblem => ({
    ...{ batch: [], m, n, k },
    a: { batchStrides: [], rowStride: k, colStride: 1, offset: 0 },
    b: { batchStrides: [], rowStride: 1, colStride: k, offset: 0 },
  })
  const lanes8 = { subgroups: true, subgroupMinSize: 8, subgroupMaxSize: 8 }
  assert.is(
    names(matmulVariants(dense(512, 512, 512), { ...baselineCapabilities, ...lanes8, software: true }))[0],
    'subgroup.32',
  )
  assert.is(names(matmulVariants(dense(3152, 768, 768), baselineCapabilities))[0], 'tiled.large')
  assert.is(names(matmulVariants(dense(48, 48, 1e5), baselineCapabilities))[0], 'split.8x8')
  for (const software of [true, false])
    for (const [m, n, k] of [
      [1, 1, 1],
      [13, 37, 17],
      [132, 68, 36],
      [12, 8, 1100],
      [4096, 4096, 64],
    ] as const) {
      const caps = { ...baselineCapabilities, software, maxWorkgroupBytes: 8192, maxInvocations: 128 }
      const programs = matmulVariants(dense(m, n, k), caps).map((v) => v.program())
      assert.ok(programs.length > 0)
      for (const program of programs) {
        assert.ok((program.workgroupBytes ?? 0) <= 8192, program.label)
        assert.not.match(program.wgsl, 'subgroup')
      }
    }
})

test.after(() => device.destroy())
test.run()
