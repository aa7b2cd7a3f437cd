/** Counts what a program asks of WebGPU, by wrapping the methods of one device, its queue and the buffers it makes. */

const counted = [
  'createBuffer',
  'createBindGroup',
  'createBindGroupLayout',
  'createPipelineLayout',
  'createComputePipeline',
  'createComputePipelineAsync',
  'createShaderModule',
  'createQuerySet',
  'createCommandEncoder',
] as const
const countedOfQueue = ['submit', 'writeBuffer'] as const

export type GpuCalls = Record<(typeof counted)[number] | (typeof countedOfQueue)[number] | 'mapAsync', number>

const none = (): GpuCalls =>
  Object.fromEntries([...counted, ...countedOfQueue, 'mapAsync'].map((name) => [name, 0])) as GpuCalls

/** Counts from now on; `take()` gives the counts since the last take. */
export function countGpuCalls(device: GPUDevice): { take(): GpuCalls } {
  let calls = none()
  const wrap = <T extends object>(object: T, name: keyof T & keyof GpuCalls, after?: (result: unknown) => void) => {
    const original = object[name] as (...args: unknown[]) => unknown
    Object.defineProperty(object, name, {
      configurable: true,
      value: (...args: unknown[]) => {
        calls[name]++
        const result = original.apply(object, args)
        after?.(result)
        return result
      },
    })
  }
  for (const name of counted)
    wrap(device, name, name === 'createBuffer' ? (buffer) => wrap(buffer as GPUBuffer, 'mapAsync') : undefined)
  for (const name of countedOfQueue) wrap(device.queue, name)
  return {
    take() {
      const taken = calls
      calls = none()
      return taken
    },
  }
}
