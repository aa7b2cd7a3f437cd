/**
 * The product by subgroup matrices. No adapter that runs this suite has them: the kernel is compiled as it is on Dawn's null backend, and
 * its values are checked with the four built-ins rewritten as loops.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { computesProbe, probe } from '../../engine/device/matrix.ts'
import { openNodeGpu } from '../../engine/device/node.ts'
import { baselineCapabilities, type Capabilities, type SubgroupMatrix } from '../../kernels/kernel.ts'
import { type MatmulProblem, matmulReference, matmulVariants } from '../../kernels/matmul/matmul.ts'
import { matrixProgram, matrixShapes } from '../../kernels/matmul/matrix.ts'
import { checker, exactArray, toWords } from '../support/half.ts'
import { openBareDevice, prepareProgram } from '../support/program.ts'
import { withoutSubgroupMatrices } from '../support/subgroup-matrix.ts'

const test = suite('kernels, matmul by subgroup matrices')
const { device, capabilities } = await openBareDevice()
const gpu = (subgroupMatrix: SubgroupMatrix, lanes: number): Capabilities => ({
  ...baselineCapabilities,
  f16: true,
  subgroups: true,
  subgroupMinSize: lanes,
  subgroupMaxSize: lanes,
  maxInvocations: 1024,
  maxWorkgroupBytes: 49152,
  subgroupMatrix,
})
const adapters: Record<string, Capabilities> = {
  NVIDIA: gpu({ m: 16, n: 16, k: 16 }, 32),
  Intel: gpu({ m: 8, n: 16, k: 16 }, 32),
  Apple: gpu({ m: 8, n: 8, k: 8 }, 32),
}

type Layout = 'dense' | 'transposed' | 'strided'

function product(m: number, n: number, k: number, [a, b]: readonly [Layout, Layout], batch = 1): MatmulProblem {
  const operand = (layout: Layout, rows: number, cols: number) => {
    const gap = layout === 'strided' ? 3 : 1
    const strides =
      layout === 'transposed' ? { rowStride: 1, colStride: rows } : { rowStride: cols * gap, colStride: gap }
    return { batchStrides: [rows * cols * gap], ...strides, offset: 0, type: 'f16' as const }
  }
  return { batch: [batch], m, n, k, a: operand(a, m, k), b: operand(b, k, n) }
}

const layouts = [
  ['dense', 'dense'],
  ['transposed', 'transposed'],
  ['strided', 'strided'],
] as const

if (!capabilities.f16)
  console.log(
    'values and probe are not checked here: the adapter has no shader-f16, which subgroup matrices of halves need',
  )

test('compiles for the matrices of every vendor, in every layout', async () => {
  const opened = await openNodeGpu({
    adapter: 'null',
    features: ['chromium-experimental-subgroup-matrix'],
    flags: ['enable-dawn-features=allow_unsafe_apis'],
  })
  for (const caps of Object.values(adapters))
    for (const pair of layouts)
      for (const shape of Object.values(matrixShapes)) {
        const program = matrixProgram(product(128, 128, 64, pair), caps, shape)
        assert.match(program.wgsl, 'subgroupMatrixMultiplyAccumulate')
        // The null backend has 16 KiB of workgroup memory, too little for a pipeline of the large tile.
        if (program.workgroupBytes! > opened.capabilities.maxWorkgroupBytes) {
          const module = opened.device.createShaderModule({ code: program.wgsl })
          assert.equal((await module.getCompilationInfo()).messages, [])
          continue
        }
        const data = program.bindings.map(() => new Float32Array(4))
        const prepared = await prepareProgram(opened.device, program, data)
        prepared.destroy()
      }
  opened.device.destroy()
})

if (capabilities.f16)
  test('values at ragged sizes, batched, with the built-ins as loops', async () => {
    const check = checker(device)
    // Compiling one costs lavapipe seconds: each layout, shape and kind of matrix has its turn, not every combination.
    const { large, small } = matrixShapes
    for (const [caps, shape, pair, m, n, k] of [
      [adapters.NVIDIA!, small, layouts[0], 72, 68, 36],
      [adapters.NVIDIA!, large, layouts[1], 132, 12, 40],
      [adapters.Intel!, small, layouts[2], 67, 5, 33],
    ] as const) {
      const problem = product(m, n, k, pair, 2)
      const gap = pair[0] === 'strided' ? 3 : 1
      const [a, b] = [exactArray(2 * m * k * gap, 1, 'f16'), exactArray(2 * k * n * gap, 2, 'f16')]
      const program = withoutSubgroupMatrices(matrixProgram(problem, caps, shape), 32)
      const want = matmulReference(problem, a, b)
      await check(program, [toWords(a, 'f16'), toWords(b, 'f16')], [{ want }], 'f16')
    }
  })

if (capabilities.f16)
  test('the probe takes a product that is right and refuses one that is not', async () => {
    const problem = probe(20)
    const program = withoutSubgroupMatrices(matrixProgram(problem, adapters.NVIDIA!, matrixShapes.small), 32)
    assert.is(await computesProbe(device, problem, program), true)
    const wrong = { ...program, wgsl: program.wgsl.replace('var sum = out', 'var sum = 1.0 + out') }
    assert.is(await computesProbe(device, problem, wrong), false)
    assert.is(await computesProbe(device, problem, { ...program, wgsl: 'no program' }), false)
  })

test('taken where the device has them and both operands are halves, never otherwise', () => {
  const names = (problem: MatmulProblem, caps: Capabilities) => matmulVariants(problem, caps).map(({ name }) => name)
  const caps = adapters.NVIDIA!
  const halves = product(3152, 768, 768, layouts[0])
  assert.is(names(halves, caps)[0], 'matrix.large')
  const { subgroupMatrix: _, ...without } = caps
  const floats = { ...halves, a: { ...halves.a, type: 'f32' as const } }
  for (const list of [names(halves, without), names(floats, caps), names(halves, { ...caps, subgroupMinSize: 16 })])
    assert.not.match(list.join(), 'matrix')
})

test.after(() => device.destroy())
test.run()
