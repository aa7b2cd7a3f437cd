/** Whether an adapter's subgroup matrices can be trusted: a product is computed with them and compared, before any kernel may. */
import type { Capabilities, Program, SubgroupMatrix } from '../../kernels/kernel.ts'
import type { MatmulProblem } from '../../kernels/matmul/matmul.ts'
import { matrixFits, matrixProgram, matrixShapes } from '../../kernels/matmul/matrix.ts'

/** Name of the feature in Dawn. */
export const subgroupMatrixFeature = 'chromium-experimental-subgroup-matrix'

interface MatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}

/** The largest f16 → f32 matrices of an adapter whose product came out right; undefined where there are none. */
export async function provenMatrix(
  device: GPUDevice,
  info: GPUAdapterInfo,
  caps: Capabilities,
): Promise<SubgroupMatrix | undefined> {
  if (!device.features.has(subgroupMatrixFeature as GPUFeatureName)) return undefined
  const configs = [...((info as { subgroupMatrixConfigs?: Iterable<MatrixConfig> }).subgroupMatrixConfigs ?? [])]
  const matrices = configs
    .filter((c) => c.componentType === 'f16' && c.resultComponentType === 'f32')
    .map(({ M, N, K }) => ({ m: M, n: N, k: K }))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)
  for (const matrix of matrices) {
    const able = { ...caps, subgroupMatrix: matrix }
    let right = matrixFits(probe(1), able, matrixShapes.small)
    for (const shape of Object.values(matrixShapes)) {
      const problem = probe(shape.tileM + 5)
      if (right && matrixFits(problem, able, shape))
        right = await computesProbe(device, problem, matrixProgram(problem, able, shape))
    }
    if (right) return matrix
  }
  return undefined
}

const [n, k] = [37, 43]

/** The product that is computed on an adapter: ragged on every side, B transposed. */
export const probe = (m: number): MatmulProblem => ({
  batch: [],
  m,
  n,
  k,
  a: { batchStrides: [], rowStride: k, colStride: 1, offset: 0, type: 'f16' },
  b: { batchStrides: [], rowStride: 1, colStride: k, offset: 0, type: 'f16' },
})

/** Integers from −3 to 3: exact in half precision, as are their sums in f32. */
const a = (row: number, i: number): number => ((row * 5 + i * 3) % 7) - 3
const b = (i: number, col: number): number => ((i * 2 + col * 5) % 7) - 3
/** The bits of −3 … 3 as halves. */
const halves = [0xc200, 0xc000, 0xbc00, 0, 0x3c00, 0x4000, 0x4200]

/** Whether `program`, the product of `probe(m)`, gives exactly what it should. */
export async function computesProbe(device: GPUDevice, { m }: MatmulProblem, program: Program): Promise<boolean> {
  const { STORAGE, COPY_SRC, COPY_DST, UNIFORM, MAP_READ } = GPUBufferUsage
  const made: GPUBuffer[] = []
  const buffer = (size: number, usage: number, data?: Uint16Array | Uint32Array): GPUBuffer => {
    const one = device.createBuffer({ size: Math.ceil(size / 16) * 16, usage })
    made.push(one)
    if (data) device.queue.writeBuffer(one, 0, data as Uint32Array<ArrayBuffer>)
    return one
  }
  const filled = (rows: number, value: (row: number, i: number) => number): Uint16Array =>
    Uint16Array.from(
      { length: Math.ceil((rows * k) / 2) * 2 },
      (_, at) => halves[value(Math.floor(at / k), at % k) + 3]!,
    )
  device.pushErrorScope('validation')
  try {
    const [left, right] = [filled(m, a), filled(n, (col, i) => b(i, col))]
    const inputs = [left, right].map((data) => buffer(data.byteLength, STORAGE | COPY_DST, data))
    const c = buffer(4 * m * n, STORAGE | COPY_SRC)
    const uniform = buffer(program.uniforms.byteLength, UNIFORM | COPY_DST, program.uniforms)
    const readback = buffer(4 * m * n, MAP_READ | COPY_DST)
    const module = device.createShaderModule({ code: program.wgsl, label: program.label })
    const pipeline = await device.createComputePipelineAsync({
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    })
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    const entries = [...inputs, c, uniform].map((one, binding) => ({ binding, resource: { buffer: one } }))
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.dispatchWorkgroups(...(program.grid as [number, number, number]))
    pass.end()
    encoder.copyBufferToBuffer(c, 0, readback, 0, readback.size)
    device.queue.submit([encoder.finish()])
    await readback.mapAsync(GPUMapMode.READ)
    const got = new Float32Array(readback.getMappedRange())
    return Array.from({ length: m * n }).every((_, at) => {
      let want = 0
      for (let i = 0; i < k; i++) want += a(Math.floor(at / n), i) * b(i, at % n)
      return got[at] === want
    })
  } catch {
    // An adapter that refuses the kernel does without it.
    return false
  } finally {
    await device.popErrorScope().catch(() => null)
    for (const one of made) one.destroy()
  }
}
