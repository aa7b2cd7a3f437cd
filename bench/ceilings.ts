/**
 * The ceilings of an adapter, measured: the engine's own (multiply-adds that never leave registers, a copy too large for caches),
 * and a copy that stays in them. Every share in the benchmark is a share of these.
 */
import { type Device, ceilings as engineCeilings } from '../engine/index.ts'
import { prepareLaunch } from '../engine/runtime/launch.ts'
import { copyVariants } from '../kernels/ceiling/ceiling.ts'
import type { Ceilings } from './roofline.ts'
import { waitQuietly } from './wait.ts'

/** Bytes of each of the two buffers of the small copy. */
const small = 2 * 2 ** 20
/** Dispatches of a sample are doubled until it takes this many ms. */
const enough = 10
const samples = 8

/** GB/s of the small copy, read and written. */
async function cachedCopy(device: Device): Promise<number> {
  const { gpu, caps } = device
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST
  const buffers = [0, 1].map(() => gpu.createBuffer({ size: small, usage, label: 'ceiling' }))
  let best = Number.POSITIVE_INFINITY
  for (const variant of copyVariants({ vectors: small / 16 }, caps)) {
    const launch = await prepareLaunch(device, variant.program(), buffers)
    const sample = async (dispatches: number, expected: number): Promise<number> => {
      const started = performance.now()
      const encoder = gpu.createCommandEncoder()
      const pass = encoder.beginComputePass()
      launch.bind(pass)
      for (let i = 0; i < dispatches; i++) launch.dispatch(pass)
      pass.end()
      gpu.queue.submit([encoder.finish()])
      await waitQuietly(gpu.queue, started, expected)
      return performance.now() - started
    }
    await sample(1, 0)
    let dispatches = 1
    let least = 0
    for (;;) {
      // Twice, and not slept through: one stall must not pass for the kernel's own time.
      least = Math.min(await sample(dispatches, 0), await sample(dispatches, 0))
      if (least >= enough || dispatches >= 2 ** 14) break
      dispatches *= 2
    }
    for (let i = 0; i < samples; i++) least = Math.min(least, await sample(dispatches, least))
    best = Math.min(best, least / dispatches)
    launch.destroy()
  }
  for (const buffer of buffers) buffer.destroy()
  return (2 * small) / best / 1e6
}

/** Measures what is not known yet: a second or two. */
export async function measureCeilings(device: Device): Promise<Ceilings> {
  const { gflops, gbps } = await engineCeilings(device)
  const cached = await cachedCopy(device)
  // What fits in a cache is not slower than what does not: on adapters without a cache to speak of the two are one.
  return {
    gflops,
    copies: [
      { bytes: 2 * small, gbs: Math.max(cached, gbps) },
      { bytes: Number.MAX_SAFE_INTEGER, gbs: gbps },
    ],
  }
}
