/** Every tier of the matrix product against plain loops in float64: layouts, ragged sizes, broadcast batches, epilogues. */
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

/** An operand [batch, rows, cols] and the elements its buffer needs. */
function lay(
  layout: Layout,
  batch: readonly number[],
  rows: number,
  cols: number,
  { broadcast = [] as number[], offset = 0 } = {},
): { operand: MatmulOperand; size: number } {
  const gap = layout === 'strided' ? 3 : 1
  const batchStrides: number[] = []
  let size = rows * cols * gap
  for (let dim = batch.length - 1; dim >= 0; dim--) {
    batchStrides[dim] = broadcast.includes(dim) ? 0 : size
    if (!broadcast.includes(dim)) size *= batch[dim]!
  }
  const strides =
    layout === 'transposed' ? { rowStride: 1, colStride: rows } : { rowStride: cols * gap, colStride: gap }
  return { operand: { batchStrides, ...strides, offset }, size: offset + size }
}

/** Every tier in every shape, whatever the heuristic thinks of it. */
function everyProgram(problem: MatmulProblem, caps: Capabilities): Program[] {
  return [
    registerProgram(problem, caps, { rows: 4, groups: 1 }),
    registerProgram(problem, caps, { rows: 8, groups: 2 }),
    ...(oneSubgroupSize(caps) ? ([4, 8, 24] as const).map((rows) => subgroupProgram(problem, caps, rows)) : []),
    ...Object.values(tiledShapes).map((shape) => tiledProgram(problem, caps, shape)),
    splitProgram(problem, caps, 2),
    splitProgram(problem, caps, 4),
  ]
}

async function check(
  problem: MatmulProblem,
  [a, b]: [Float32Array, Float32Array],
  { extra = [] as Float32Array[], finish = (v: number, _at: number) => v, caps = capabilities } = {},
): Promise<void> {
  const want = matmulReference(problem, a, b).map(finish)
  for (const program of everyProgram(problem, caps)) {
    const c = new Float32Array(want.length + 8).fill(-7)
    const [got] = await runProgram(device, program, [a, b, ...extra, c])
    const error = relativeError(got!.subarray(0, want.length), want)
    assert.ok(error < 5e-6, `${program.label} ${problem.batch}·${problem.m}×${problem.n}×${problem.k}: ${error}`)
    assert.ok(
      got!.subarray(want.length).every((v) => v === -7),
      `${program.label} writes past the end of C`,
    )
  }
}

const shapes: [m: number, n: number, k: number][] = [
  [1, 1, 1],
  [13, 37, 17],
  [132, 68, 36],
  [12, 8, 1100],
]
const layouts: [Layout, Layout][] = [
  ['dense', 'dense'],
  ['dense', 'transposed'],
  ['transposed', 'dense'],
  ['transposed', 'transposed'],
  ['strided', 'strided'],
]

for (const [aLayout, bLayout] of layouts)
  test(`A ${aLayout}, B ${bLayout}`, async () => {
    for (const [m, n, k] of shapes) {
      const a = lay(aLayout, [], m, k)
      const b = lay(bLayout, [], k, n)
      const problem = { batch: [], m, n, k, a: a.operand, b: b.operand }
      await check(problem, [randomArray(a.size, 3), randomArray(b.size, 4)])
    }
  })

test('three batch dimensions, operands broadcast over different ones, offsets on and off a vec4', async () => {
  const batch = [2, 3, 2]
  for (const offset of [4, 3])
    for (const [m, n, k] of [
      [8, 24, 16],
      [5, 7, 9],
    ] as const) {
      const a = lay('dense', batch, m, k, { broadcast: [1], offset })
      const b = lay('transposed', batch, k, n, { broadcast: [0, 2], offset })
      const problem = { batch, m, n, k, a: a.operand, b: b.operand }
      // A grid of at most 3 along x also folds.
      const caps = { ...capabilities, maxGrid: 3 }
      await check(problem, [randomArray(a.size, 5), randomArray(b.size, 6)], { caps })
      const matrices = { a: 4, b: 3, c: 12 }
      const words = matrices.a * m * k + matrices.b * k * n + matrices.c * m * n
      assert.equal(matmulCost(problem), { flops: 12 * m * n * 2 * k, bytes: 4 * words })
    }
})

test('epilogue: bias and residual, with its batch, row and column', async () => {
  for (const [m, n, k] of [
    [11, 13, 20],
    [9, 16, 8],
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
    const a = lay('dense', [2], m, k)
    const b = lay('transposed', [2], k, n, { broadcast: [0] })
    const [bias, residual] = [randomArray(n, 8), randomArray(2 * m * n, 9)]
    const problem = { batch: [2], m, n, k, a: a.operand, b: b.operand, epilogue }
    await check(problem, [randomArray(a.size, 10), randomArray(b.size, 11)], {
      extra: [bias, residual],
      finish: (v, at) => 2 * v + bias[at % n]! + residual[at]!,
    })
  }
})

test('infinities beyond the end of k never leak in', async () => {
  for (const k of [9, 12])
    for (const [aLayout, bLayout] of layouts.slice(1, 3)) {
      const [m, n] = [8, 32]
      const a = lay(aLayout, [], m, k)
      const b = lay(bLayout, [], k, n)
      const aData = randomArray(a.size + 600, 12).fill(Infinity, a.size)
      const bData = randomArray(b.size + 600, 13).fill(Infinity, b.size)
      await check({ batch: [], m, n, k, a: a.operand, b: b.operand }, [aData, bData])
    }
})

test('the heuristic: a variant for every device and size, none that a device cannot run', () => {
  const names = (variants: Variant[]): string[] => variants.map((v) => v.name)
  const dense = (m: number, n: number, k: number): MatmulProblem => ({
    batch: [],
    m,
    n,
    k,
    a: lay('dense', [], m, k).operand,
    b: lay('transposed', [], k, n).operand,
  })
  const lanes8 = { subgroups: true, subgroupMinSize: 8, subgroupMaxSize: 8 }
  assert.is(
    names(matmulVariants(dense(512, 512, 512), { ...baselineCapabilities, ...lanes8, software: true }))[0],
    'subgroup.32',
  )
  assert.is(names(matmulVariants(dense(3152, 768, 768), baselineCapabilities))[0], 'tiled.large')
  assert.is(names(matmulVariants(dense(48, 48, 1e5), baselineCapabilities))[0], 'split.8x8')
  for (const software of [true, false])
    for (const [m, n, k] of [...shapes, [4096, 4096, 64] as const]) {
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
