/** Opening a device and running a program on it, wherever there is an adapter. */
import type { OpenedGpu } from '../../engine/device/adapter.ts'
import { requestGpu } from '../../engine/device/open.ts'
import { type Case, same } from './case.ts'

const count = 1000

// Squares, past a ragged end: 1000 is no multiple of 64.
const squares = `
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= ${count}u) { return; }
  y[id.x] = x[id.x] * x[id.x];
}`

async function run(device: GPUDevice, input: Float32Array<ArrayBuffer>): Promise<Float32Array> {
  const size = input.byteLength
  const x = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST })
  const y = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  device.queue.writeBuffer(x, 0, input)
  const module = device.createShaderModule({ code: squares })
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const entries = [x, y].map((buffer, binding) => ({ binding, resource: { buffer } }))
  const bind = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, bind)
  pass.dispatchWorkgroups(Math.ceil(count / 64))
  pass.end()
  encoder.copyBufferToBuffer(y, 0, staging, 0, size)
  device.queue.submit([encoder.finish()])
  await staging.mapAsync(GPUMapMode.READ)
  const output = new Float32Array(staging.getMappedRange().slice(0))
  for (const buffer of [x, y, staging]) buffer.destroy()
  return output
}

/** Opens once for all cases: an adapter may be consumed by the device made from it. */
let opened: Promise<OpenedGpu> | undefined
const open = () => (opened ??= requestGpu())

export function cases(): Case[] {
  return [
    {
      name: 'device: a program runs and its values are right',
      async run() {
        const { device } = await open()
        const input = Float32Array.from({ length: count }, (_, i) => i - 500)
        const expected = input.map((v) => v * v)
        same([...(await run(device, input))], [...expected], 'squares')
      },
    },
    {
      name: 'device: capabilities agree with the device',
      async run() {
        const { device, adapter, capabilities } = await open()
        same(capabilities.f16, device.features.has('shader-f16'), 'f16')
        same(capabilities.subgroups, device.features.has('subgroups' as GPUFeatureName), 'subgroups')
        same(capabilities.software, adapter.software, 'software')
        same(capabilities.maxStorageBuffers, device.limits.maxStorageBuffersPerShaderStage, 'storage buffers')
        if (capabilities.subgroups && !(capabilities.subgroupMinSize >= 4))
          throw new Error(`subgroups without a size: ${capabilities.subgroupMinSize}`)
        if (capabilities.maxWorkgroupBytes < 16384 || capabilities.maxInvocations < 256)
          throw new Error(`below WebGPU's guaranteed limits: ${JSON.stringify(capabilities)}`)
      },
    },
    {
      name: 'device: limits are those of the adapter',
      async run() {
        const { device } = await open()
        // WebGPU's default device has 128 MiB bindings and 256 MiB buffers; every adapter tested allows larger buffers.
        same(
          device.limits.maxBufferSize > 268435456,
          true,
          `maxBufferSize ${device.limits.maxBufferSize} above default`,
        )
      },
    },
    {
      name: 'device: a second device opens beside the first',
      async run() {
        const first = await open()
        const second = await requestGpu()
        same(first.device === second.device, false, 'the same device twice')
        const output = await run(second.device, new Float32Array(count).fill(3))
        same(output[count - 1], 9, 'last value')
        second.device.destroy()
        same((await second.device.lost).reason, 'destroyed', 'reason of loss')
        same((await run(first.device, new Float32Array(count).fill(2)))[0], 4, 'the first device still works')
      },
    },
  ]
}
