/** Runs a kernel's `Program` on a bare device, without the engine: for kernel tests, in Node or in a page. */
import { requestGpu } from '../../engine/device/open.ts'
import type { Capabilities, Program } from '../../kernels/kernel.ts'

export { randomArray } from '../shared/random.ts'

export type Words = Float32Array | Int32Array | Uint32Array

function upload(device: GPUDevice, data: Words): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC
  const buffer = device.createBuffer({ size: Math.max(16, Math.ceil(data.byteLength / 16) * 16), usage })
  if (data.byteLength) device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>)
  return buffer
}

export interface PreparedProgram {
  readonly pipeline: GPUComputePipeline
  readonly bind: GPUBindGroup
  readonly buffers: GPUBuffer[]
  encode(pass: GPUComputePassEncoder): void
  destroy(): void
}

interface Compiled {
  readonly pipeline: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
}

/** Software drivers compile at a pipeline's first dispatch, and again for an equal one: shapes that share a text share this. */
const compiled = new WeakMap<GPUDevice, Map<string, Promise<Compiled>>>()

async function compile(device: GPUDevice, program: Program): Promise<Compiled> {
  const module = device.createShaderModule({ code: program.wgsl, label: program.label })
  const info = await module.getCompilationInfo()
  const errors = info.messages.filter((m) => m.type === 'error')
  if (errors.length) {
    const lines = program.wgsl.split('\n')
    throw new Error(
      errors.map((m) => `${program.label}:${m.lineNum}: ${m.message}\n  ${lines[m.lineNum - 1]}`).join('\n'),
    )
  }
  const entries: GPUBindGroupLayoutEntry[] = program.bindings.map((b, binding) => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type: b.access === 'read' ? 'read-only-storage' : 'storage' },
  }))
  if (program.uniforms.length)
    entries.push({ binding: entries.length, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'uniform' } })
  const layout = device.createBindGroupLayout({ entries })
  const pipeline = await device.createComputePipelineAsync({
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: 'main' },
  })
  return { pipeline, layout }
}

/** Compiles a program and binds one buffer per storage binding, filled with `data[i]` in binding order. */
export async function prepareProgram(device: GPUDevice, program: Program, data: Words[]): Promise<PreparedProgram> {
  if (data.length !== program.bindings.length)
    throw new Error(`${program.label}: ${program.bindings.length} bindings, ${data.length} arrays given`)
  const known = compiled.get(device) ?? new Map<string, Promise<Compiled>>()
  compiled.set(device, known)
  const key = JSON.stringify([program.wgsl, program.bindings.map((b) => b.access)])
  device.pushErrorScope('validation')
  let made: Compiled
  try {
    const compiling = known.get(key) ?? compile(device, program)
    known.set(key, compiling)
    made = await compiling
  } catch (error) {
    await device.popErrorScope()
    throw error
  }
  const { pipeline, layout } = made
  const buffers = data.map((d) => upload(device, d))
  const all = [...buffers]
  if (program.uniforms.length) {
    const size = Math.ceil(program.uniforms.byteLength / 16) * 16
    const uniform = device.createBuffer({ size, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST })
    device.queue.writeBuffer(uniform, 0, program.uniforms as Uint32Array<ArrayBuffer>)
    all.push(uniform)
  }
  const bind = device.createBindGroup({
    layout,
    entries: all.map((buffer, binding) => ({ binding, resource: { buffer } })),
  })
  const error = await device.popErrorScope()
  if (error) throw new Error(`${program.label}: ${error.message}`)
  return {
    pipeline,
    bind,
    buffers,
    encode(pass) {
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, bind)
      pass.dispatchWorkgroups(...(program.grid as [number, number, number]))
    },
    destroy() {
      for (const buffer of all) buffer.destroy()
    },
  }
}

/** Reads the first `count` 4-byte words of a buffer as f32. */
export async function readBuffer(device: GPUDevice, buffer: GPUBuffer, count: number): Promise<Float32Array> {
  const size = Math.ceil((count * 4) / 16) * 16
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const encoder = device.createCommandEncoder()
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, size)
  device.queue.submit([encoder.finish()])
  await staging.mapAsync(GPUMapMode.READ)
  const out = new Float32Array(staging.getMappedRange().slice(0, count * 4))
  staging.destroy()
  return out
}

/** Runs a program once; `data[i]` fills binding i. Returns the contents (as f32 words) of every `read_write` binding. */
export async function runProgram(device: GPUDevice, program: Program, data: Words[]): Promise<Float32Array[]> {
  const prepared = await prepareProgram(device, program, data)
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  prepared.encode(pass)
  pass.end()
  device.queue.submit([encoder.finish()])
  const outputs: Float32Array[] = []
  for (const [i, binding] of program.bindings.entries())
    if (binding.access === 'read_write') outputs.push(await readBuffer(device, prepared.buffers[i]!, data[i]!.length))
  prepared.destroy()
  return outputs
}

/** ‖a − b‖ / ‖b‖ in float64; a length mismatch or a NaN gives NaN or throws, never a small number. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`relativeError: ${a.length} values against ${b.length}`)
  let diff = 0
  let norm = 0
  for (let i = 0; i < a.length; i++) {
    diff += (a[i]! - b[i]!) ** 2
    norm += b[i]! ** 2
  }
  return norm === 0 ? Math.sqrt(diff) : Math.sqrt(diff / norm)
}

/** A bare device of its own, on the machine's adapter or in a page on the browser's, with every feature the kernels can use. */
export async function openBareDevice(): Promise<{ device: GPUDevice; capabilities: Capabilities }> {
  return requestGpu()
}
