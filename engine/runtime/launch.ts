/** A program bound to buffers outside any plan, for measuring and checking kernels by themselves. */
import type { Program } from '../../kernels/kernel.ts'
import type { Device } from './device.ts'

export interface Launch {
  /** Sets pipeline and bind group. */
  bind(pass: GPUComputePassEncoder): void
  dispatch(pass: GPUComputePassEncoder): void
  /** Frees the uniform buffer; the storage buffers are the caller's. */
  destroy(): void
}

/** Compiles `program` and binds one storage buffer (or part of one) per binding. @throws ShaderError */
export async function prepareLaunch(
  device: Device,
  program: Program,
  buffers: readonly (GPUBuffer | GPUBufferBinding)[],
): Promise<Launch> {
  if (buffers.length !== program.bindings.length)
    throw new Error(`${program.label}: ${program.bindings.length} bindings, ${buffers.length} buffers given`)
  const { pipeline, layout } = await device.pipelines.get(program)
  const entries: GPUBindGroupEntry[] = buffers.map((b, binding) => ({
    binding,
    resource: 'buffer' in b ? b : { buffer: b },
  }))
  const words = program.uniforms
  let uniforms: GPUBuffer | undefined
  if (words.length) {
    uniforms = device.memory.create(Math.ceil(words.byteLength / 16) * 16, 0x40 | 0x08, 'uniforms')
    device.gpu.queue.writeBuffer(uniforms, 0, words as Uint32Array<ArrayBuffer>)
    entries.push({ binding: entries.length, resource: { buffer: uniforms } })
  }
  const group = device.gpu.createBindGroup({ layout, entries, label: program.label })
  const [x, y, z] = program.grid
  return {
    bind(pass) {
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
    },
    dispatch: (pass) => pass.dispatchWorkgroups(x, y, z),
    destroy: () => uniforms?.destroy(),
  }
}
