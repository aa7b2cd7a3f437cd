/** Finding and opening a device in Node, and what is said when there is none. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { describeAdapter } from '../../engine/device/adapter.ts'
import * as errors from '../../engine/device/errors.ts'
import { requestGpu } from '../../engine/device/open.ts'

const device = suite('device')
const root = fileURLToPath(new URL('../../', import.meta.url))

/** Runs a module that has `requestGpu` and `errors` in scope, in a process of its own. */
function inChild(body: string, env: Record<string, string | undefined> = {}) {
  const module = `
    import { requestGpu } from './engine/device/open.ts'
    import * as errors from './engine/device/errors.ts'
    ${body}`
  const started = performance.now()
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', module], {
    cwd: root,
    env: { ...process.env, ...env },
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (text) => (out += text))
  child.stderr.on('data', (text) => (err += text))
  return new Promise<{ code: number | null; out: string; err: string; seconds: number }>((resolve) =>
    child.on('close', (code) => resolve({ code, out, err, seconds: (performance.now() - started) / 1000 })),
  )
}

const spoken = (text: string) => text.split('\n').filter((line) => line.startsWith('diptych:'))

device('auto finds an adapter and describes it', async () => {
  const { adapter, device: gpu } = await requestGpu()
  assert.ok(adapter.device || adapter.description, JSON.stringify(adapter))
  assert.ok(describeAdapter(adapter).endsWith(`(${adapter.backend})`))
  gpu.destroy()
})

device('the CPU can be asked for, and is what opens', async () => {
  const { adapter, capabilities, device: gpu } = await requestGpu({ adapter: 'software' })
  assert.is(adapter.software, true)
  assert.is(capabilities.software, true)
  assert.is(
    process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES,
    userDrivers,
    'the environment is left as it was',
  )
  gpu.destroy()
})

device('subgroup matrices that cannot be proven are left out, beside flags of the program', async () => {
  const options = { subgroupMatrix: true, flags: ['enable-dawn-features=skip_validation'] }
  for (const adapter of ['null', 'software'] as const) {
    const { capabilities, device: gpu } = await requestGpu({ ...options, adapter })
    const has = gpu.features.has('chromium-experimental-subgroup-matrix' as GPUFeatureName)
    // The null backend has the feature, and computes nothing.
    if (adapter === 'null') assert.ok(has)
    if (adapter === 'null' || !has) assert.is(capabilities.subgroupMatrix, undefined)
    gpu.destroy()
  }
})

device('timestamps are not rounded', async () => {
  const { device: gpu } = await requestGpu()
  if (gpu.features.has('timestamp-query')) {
    const ticks: bigint[] = []
    for (let i = 0; i < 3; i++) ticks.push(...(await timestamps(gpu)))
    // Rounded ones are all multiples of 65,536 ns.
    assert.ok(
      ticks.some((t) => t % 65536n !== 0n),
      ticks.join(' '),
    )
  }
  gpu.destroy()
})

device('the null backend compiles shaders and refuses wrong ones', async () => {
  const { device: gpu, adapter, capabilities } = await requestGpu({ adapter: 'null' })
  assert.is(adapter.backend, 'null')
  assert.ok(capabilities.maxInvocations >= 256)
  const compile = async (code: string) => {
    gpu.pushErrorScope('validation')
    const { messages } = await gpu.createShaderModule({ code }).getCompilationInfo()
    await gpu.popErrorScope()
    return messages
  }
  assert.is((await compile('@compute @workgroup_size(1) fn main() {}')).length, 0)
  const wrong = '@compute @workgroup_size(1) fn main() {\n  let a = b;\n}'
  const error = new errors.ShaderError('wrong', wrong, await compile(wrong))
  assert.match(error.message, /'wrong' does not compile[\s\S]*2:11: unresolved value 'b'[\s\S]*let a = b;/)
  gpu.destroy()
})

device('without any driver the error names the command that installs one', async () => {
  const ask = `try { await requestGpu() } catch (e) { console.log(e instanceof errors.DeviceError, e.name, e.message) }`
  const { out, code } = await inChild(ask, { VK_DRIVER_FILES: '/nowhere.json', VK_ICD_FILENAMES: undefined })
  assert.is(code, 0)
  assert.match(out, 'true DeviceError No WebGPU adapter found.')
  assert.match(out, 'npm run setup')
  assert.match(out, "VK_DRIVER_FILES is set to '/nowhere.json'")
})

device('a GPU that is not there is not replaced by the CPU', async () => {
  const ask = `for (const adapter of ['discrete', 'integrated'])
    try { await requestGpu({ adapter }); console.log('opened') } catch (e) { console.log(e.name, e.message) }`
  const { out } = await inChild(ask, { VK_DRIVER_FILES: '/nowhere.json' })
  const lines = out.trim().split('\n')
  assert.is(lines.length, 2)
  for (const line of lines) assert.match(line, /^DeviceError No GPU found\./)
})

device('says once that it runs on the CPU, or nothing when told to be quiet', async () => {
  const twice = `const a = await requestGpu(), b = await requestGpu(); console.log(a.adapter.software)`
  const loud = await inChild(twice, { DIPTYCH_QUIET: undefined })
  assert.is(spoken(loud.err).length, loud.out.trim() === 'true' ? 1 : 0, loud.err)
  const quiet = await inChild(twice, { DIPTYCH_QUIET: '1' })
  assert.is(spoken(quiet.err).length, 0)
})

device('a process that holds an open device exits by itself', async () => {
  const { code, out, seconds } = await inChild(`
    const { device } = globalThis.held = await requestGpu()
    device.lost.then(() => console.log('lost'))
    const buffer = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE })
    await device.queue.onSubmittedWorkDone()
    console.log('end')`)
  assert.is(code, 0)
  assert.is(out.trim(), 'end')
  assert.ok(seconds < 5, `took ${seconds} s`)
})

device('a bundle for browsers holds nothing of Node', async () => {
  const result = await build({
    entryPoints: [fileURLToPath(new URL('../../engine/device/open.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    minify: true,
    logLevel: 'silent',
  })
  const [file] = result.outputFiles
  assert.not.match(file!.text, /node:|webgpu"|icd\.d/)
  assert.match(file!.text, 'isSecureContext')
})

device('errors say what ran and what to do', () => {
  const lost = new errors.DeviceLostError({ reason: 'unknown', message: 'Adapter hung.' }, 'matmul 512x512')
  assert.is(lost.name, 'DeviceLostError')
  assert.is(lost.running, 'matmul 512x512')
  assert.match(lost.message, 'lost while running matmul 512x512 (Adapter hung). Open a new device')
  const memory = new errors.OutOfMemoryError({ bytes: 3 * 2 ** 30 }, 'adamW')
  assert.match(memory.message, 'out of memory allocating 3 GiB for adamW. Use a smaller micro-batch')
  const limit = new errors.LimitError(
    { limit: 'maxStorageBufferBindingSize', needed: 2 ** 28, available: 2 ** 27 },
    'attention [12, 4096, 4096]',
  )
  assert.match(limit.message, 'attention [12, 4096, 4096] needs 256 MiB, but maxStorageBufferBindingSize')
  assert.match(limit.message, 'is 128 MiB. Use a smaller micro-batch')
  const threads = new errors.LimitError({ limit: 'maxComputeWorkgroupSizeX', needed: 512, available: 256 }, 'softmax')
  assert.match(threads.message, 'softmax needs 512, but maxComputeWorkgroupSizeX of this device is 256')
  for (const error of [lost, memory, limit]) assert.ok(error instanceof errors.GpuError && error instanceof Error)
})

device('error scopes become typed errors', async () => {
  const { device: gpu } = await requestGpu({ adapter: 'null' })
  gpu.pushErrorScope('validation')
  gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE })
  const error = errors.fromGpuError((await gpu.popErrorScope())!, 'readback')
  assert.match(error.message, /^The GPU refused readback: /)
  assert.not.ok(error instanceof errors.OutOfMemoryError)
  gpu.destroy()
})

async function timestamps(gpu: GPUDevice): Promise<BigUint64Array> {
  const querySet = gpu.createQuerySet({ type: 'timestamp', count: 2 })
  const resolved = gpu.createBuffer({ size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC })
  const staging = gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const encoder = gpu.createCommandEncoder()
  encoder
    .beginComputePass({ timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } })
    .end()
  encoder.resolveQuerySet(querySet, 0, 2, resolved, 0)
  encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16)
  gpu.queue.submit([encoder.finish()])
  await staging.mapAsync(GPUMapMode.READ)
  return new BigUint64Array(staging.getMappedRange().slice(0))
}

const userDrivers = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES

device.run()
