/** The most that a device does: multiply-adds and copied bytes a second, measured once and kept. */
import { copyVariants, multiplyAddVariants } from '../../kernels/ceiling/ceiling.ts'
import type { Program } from '../../kernels/kernel.ts'
import type { Device } from '../runtime/device.ts'
import { prepareLaunch } from '../runtime/launch.ts'
import { Stopwatch } from './stopwatch.ts'

export interface Ceilings {
  /** 10⁹ floating-point operations a second of f32 multiply-adds, a multiply-add counting 2. */
  readonly gflops: number
  /** 10⁹ bytes a second, read and written, of a copy too large for the caches. */
  readonly gbps: number
  /** How the time was taken. */
  readonly method: Stopwatch['method']
}

const known = new WeakMap<Device, Promise<Ceilings>>()

/** The device's ceilings; the first call measures them, in about half a second. */
export function ceilings(device: Device): Promise<Ceilings> {
  let found = known.get(device)
  if (!found) {
    found = measure(device)
    known.set(device, found)
    found.catch(() => known.delete(device))
  }
  return found
}

async function measure(device: Device): Promise<Ceilings> {
  const { caps } = device
  const watch = new Stopwatch(device)
  // Enough workgroups to fill a large GPU; a CPU is full with a few.
  const workgroups = caps.software ? 256 : 16384
  const target = caps.software ? 15e6 : 4e6
  let gflops = 0
  const sums = buffer(device, workgroups * 64 * 16)
  const halves = buffer(device, 32, new Float32Array(8).fill(0.5))
  for (const i of multiplyAddVariants({ workgroups, iterations: 1, type: 'f32' }, caps).keys()) {
    const program = (iterations: number) =>
      multiplyAddVariants({ workgroups, iterations, type: 'f32' }, caps)[i]!.program()
    // Double the work until it takes long enough to be timed: the first run also compiles.
    let iterations = 2
    let time = await best(device, watch, program(iterations), [halves, sums], 2)
    while (time < target / 4 && iterations < 2 ** 16) {
      iterations *= 4
      time = await best(device, watch, program(iterations), [halves, sums], 1)
    }
    const timed = program(iterations)
    time = await best(device, watch, timed, [halves, sums], 4, time / 1e6)
    gflops = Math.max(gflops, timed.cost.flops / time)
  }
  for (const b of [sums, halves]) b.destroy()

  const bytes = Math.min(device.gpu.limits.maxStorageBufferBindingSize, (caps.software ? 64 : 128) * 2 ** 20)
  const [from, to] = [buffer(device, bytes), buffer(device, bytes)]
  let gbps = 0
  for (const variant of copyVariants({ vectors: Math.floor(bytes / 16) }, caps)) {
    const program = variant.program()
    const first = await best(device, watch, program, [from, to], 1)
    gbps = Math.max(gbps, program.cost.bytes / (await best(device, watch, program, [from, to], 4, first / 1e6)))
  }
  for (const b of [from, to]) b.destroy()
  return { gflops, gbps, method: watch.method }
}

function buffer(device: Device, bytes: number, data?: Float32Array<ArrayBuffer>): GPUBuffer {
  const made = device.memory.create(bytes, 0x80 | 0x08, 'ceiling')
  if (data) device.gpu.queue.writeBuffer(made, 0, data)
  return made
}

/** Fewest nanoseconds of `runs` runs. */
async function best(
  device: Device,
  watch: Stopwatch,
  program: Program,
  buffers: readonly GPUBuffer[],
  runs: number,
  expected = 0,
): Promise<number> {
  const launch = await prepareLaunch(device, program, buffers)
  const spans = await watch.measure(
    runs,
    (pass) => {
      launch.bind(pass)
      launch.dispatch(pass)
    },
    runs * expected,
  )
  launch.destroy()
  return Math.max(1, Math.min(...spans.map((s) => s.end - s.begin)))
}
