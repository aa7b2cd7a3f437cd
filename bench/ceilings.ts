/**
 * The two ceilings of an adapter, measured: multiply-adds that never leave registers, and copies. Every share in the benchmark is
 * a share of these, so they are taken in the same process and waited for in the same way as the rows.
 */
import type { Ceilings } from './roofline.ts'
import { waitQuietly } from './wait.ts'

interface Effort {
  /** Dispatches of a sample are doubled until it takes this many ms. */
  readonly enough: number
  readonly samples: number
}

const thorough: Effort = { enough: 12, samples: 10 }
const hasty: Effort = { enough: 2, samples: 2 }
const mebibyte = 2 ** 20

interface Work {
  readonly pipeline: GPUComputePipeline
  readonly group: GPUBindGroup
  readonly workgroups: number
}

/** `chains` independent vec4 chains of x ← x·a + b a thread, `loops` steps of each. */
const multiplyAdd = (chains: number, loops: number): string => {
  const each = (f: (i: number) => string) => Array.from({ length: chains }, (_, i) => f(i)).join('\n')
  return `@group(0) @binding(0) var<storage, read> factors: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = factors[0];
  let b = factors[1];
  let start = vec4f(f32(id.x));
${each((i) => `  var x${i} = start + ${i}.0;`)}
  for (var step = 0u; step < ${loops}u; step++) {
${each((i) => `    x${i} = x${i} * a + b;`)}
  }
  result[id.x] = ${Array.from({ length: chains }, (_, i) => `x${i}`).join(' + ')};
}
`
}

const copy = `@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lid: u32) {
  let base = wid.x * 256u + lid;
  for (var i = 0u; i < 4u; i++) { y[base + 64u * i] = x[base + 64u * i]; }
}
`

async function prepare(device: GPUDevice, code: string, buffers: GPUBuffer[], workgroups: number): Promise<Work> {
  const module = device.createShaderModule({ code, label: 'ceiling' })
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
  return { pipeline, group: device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }), workgroups }
}

/** Least ms a dispatch over several samples of as many dispatches as take `enough` together. */
async function fastest(
  device: GPUDevice,
  { pipeline, group, workgroups }: Work,
  { enough, samples }: Effort,
): Promise<number> {
  let expected = 0
  const sample = async (dispatches: number): Promise<number> => {
    const started = performance.now()
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    for (let i = 0; i < dispatches; i++) pass.dispatchWorkgroups(workgroups)
    pass.end()
    device.queue.submit([encoder.finish()])
    await waitQuietly(device.queue, started, expected)
    return performance.now() - started
  }
  await sample(1)
  let dispatches = 1
  let best = Number.POSITIVE_INFINITY
  for (;;) {
    // Twice, and not slept through: one stall must not pass for the kernel's own time.
    expected = 0
    best = Math.min(await sample(dispatches), await sample(dispatches))
    if (best >= enough || dispatches >= 2 ** 14) break
    dispatches *= 2
  }
  for (let i = 0; i < samples; i++) {
    expected = best
    best = Math.min(best, await sample(dispatches))
  }
  return best / dispatches
}

/** Measures both ceilings on a device: under a second on a GPU, a few on a CPU. A quick measurement is a rough one. */
export async function measureCeilings(device: GPUDevice, software: boolean, quick = false): Promise<Ceilings> {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST
  const buffer = (size: number) => device.createBuffer({ size, usage, label: 'ceiling' })
  const effort = quick ? hasty : thorough
  const threads = software ? 4096 : 2 ** 19
  const loops = software ? 2048 : 1024
  const factors = buffer(32)
  device.queue.writeBuffer(factors, 0, Float32Array.of(0.5, 0.25, 0.125, 0.75, 0.5, 1, 1.5, 2))
  const result = buffer(threads * 16)
  let gflops = 0
  for (const chains of quick ? [4] : [4, 8, 16]) {
    const work = await prepare(device, multiplyAdd(chains, loops), [factors, result], threads / 64)
    gflops = Math.max(gflops, (threads * loops * chains * 8) / (await fastest(device, work, effort)) / 1e6)
  }
  const copies: { bytes: number; gbs: number }[] = []
  for (const size of [2 * mebibyte, (software ? 32 : 128) * mebibyte]) {
    const [x, y] = [buffer(size), buffer(size)]
    const work = await prepare(device, copy, [x, y], size / 4096)
    copies.push({ bytes: 2 * size, gbs: (2 * size) / (await fastest(device, work, effort)) / 1e6 })
    x.destroy()
    y.destroy()
  }
  factors.destroy()
  result.destroy()
  return { gflops, copies }
}
