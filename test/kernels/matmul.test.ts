/** Every tier of the matrix product against plain loops in float64: layouts, ragged sizes, broadcast batches, epilogues. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Epilogue } from '../../kernels/kernel.ts'
import { type MatmulOperand, type MatmulProblem, matmulReference, matmulVariants } from '../../kernels/matmul/matmul.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('matmul')
const { device, capabilities } = await openBareDevice()

type Layout = 'dense' | 'transposed' | 'strided'

/** An operand [batch, rows, cols] in a layout, with `broadcast` batch strides of 0. */
function operand(layout: Layout, batch: readonly number[], rows: number, cols: number, broadcast = false, offset = 0): { o: MatmulOperand; size: number } {
  const gap = layout === 'strided' ? 2 : 1
  const matrix = rows * cols * gap
  const strides: number[] = []
  let step = matrix
  for (let i = batch.length - 1; i >= 0; i--) {
    strides[i] = broadcast ? 0 : step
    step *= batch[i]!
  }
  const o = { batchStrides: strides, rowStride: layout === 'transposed' ? 1 : cols * gap, colStride: layout === 'transposed' ? rows : gap, offset }
  return { o, size: offset + (broadcast ? matrix : step) }
}

const shapes: [number[], number, number, number][] = [
  [[], 1, 1, 1], [[], 3, 5, 7], [[], 8, 32, 16], [[], 9, 33, 17], [[2], 16, 20, 12], [[], 65, 68, 64], [[3, 2], 5, 4, 8], [[2, 1, 3], 7, 12, 13],
  [[], 1, 64, 48], [[], 48, 1, 31], [[], 70, 130, 4], [[], 12, 8, 200],
]
const layouts: [Layout, Layout][] = [['dense', 'dense'], ['dense', 'transposed'], ['transposed', 'dense'], ['transposed', 'transposed'], ['strided', 'strided']]

async function check(p: MatmulProblem, sizes: [number, number], name: string, extra: Float32Array[] = [], finish = (v: number, _i: number) => v) {
  const a = randomArray(sizes[0], 3)
  const b = randomArray(sizes[1], 4)
  const want = matmulReference(p, a, b).map(finish)
  for (const variant of matmulVariants(p, capabilities)) {
    const [c] = await runProgram(device, variant.program(), [a, b, ...extra, new Float32Array(want.length).fill(Number.NaN)])
    const error = relativeError(c!, want)
    assert.ok(error < 1e-5, `${variant.name} ${name} ${p.batch}·${p.m}×${p.n}×${p.k}: error ${error}`)
  }
}

for (const [la, lb] of layouts)
  test(`A ${la}, B ${lb}`, async () => {
    for (const [batch, m, n, k] of shapes) {
      const a = operand(la, batch, m, k)
      const b = operand(lb, batch, k, n)
      await check({ batch, m, n, k, a: a.o, b: b.o }, [a.size, b.size], `${la} ${lb}`)
    }
  })

test('an operand broadcast over the batch, and offsets', async () => {
  const a = operand('dense', [4], 8, 16, false, 4)
  const b = operand('transposed', [4], 16, 24, true, 3)
  await check({ batch: [4], m: 8, n: 24, k: 16, a: a.o, b: b.o }, [a.size, b.size], 'broadcast')
})

test('epilogue: bias and residual', async () => {
  const [m, n, k] = [11, 13, 20]
  const epilogue: Epilogue = {
    bindings: [{ name: 'bias', type: 'f32', access: 'read' }, { name: 'residual', type: 'f32', access: 'read' }],
    wgsl: `fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f {
  var out = acc;
  for (var i = 0u; i < 4u; i++) { out[i] += bias[col + i] + residual[row * 13u + col + i]; }
  return out;
}`,
    flopsPerOutput: 2,
  }
  const a = operand('dense', [], m, k)
  const b = operand('transposed', [], k, n)
  const [bias, residual] = [randomArray(n, 8), randomArray(m * n, 9)]
  const p = { batch: [], m, n, k, a: a.o, b: b.o, epilogue }
  await check(p, [a.size, b.size], 'epilogue', [bias, residual], (v, i) => v + bias[i % n]! + residual[i]!)
})

test('values beyond the end of k never leak in, not even infinities', async () => {
  const [m, n, k] = [8, 32, 9]
  const a = operand('dense', [], m, k)
  const b = operand('dense', [], k, n)
  const data = randomArray(a.size + 64, 5).fill(Infinity, a.size)
  const right = randomArray(b.size + 64, 6).fill(Infinity, b.size)
  const p = { batch: [], m, n, k, a: a.o, b: b.o }
  const want = matmulReference(p, data, right)
  for (const variant of matmulVariants(p, capabilities)) {
    const [c] = await runProgram(device, variant.program(), [data, right, new Float32Array(m * n)])
    assert.ok(relativeError(c!, want) < 1e-5, variant.name)
  }
})

test.after(() => device.destroy())
test.run()
