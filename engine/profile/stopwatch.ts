/** GPU time of passes: by timestamp queries where the device has them, else by the wall clock around a submit of its own. */
import type { Device } from '../runtime/device.ts'

/** Query pairs that one query set may hold (WebGPU allows 4096 queries). */
const pairsPerSet = 2048

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Begin and end of a pass in nanoseconds. The zero is the device's own; only differences within one call mean anything. */
export interface Span {
  readonly begin: number
  readonly end: number
}

export class Stopwatch {
  readonly method: 'timestamps' | 'wall clock'
  private readonly gpu: GPUDevice

  /** `useTimestamps: false` asks for the wall clock even where there are timestamps. */
  constructor(
    private readonly device: Device,
    useTimestamps = true,
  ) {
    this.gpu = device.gpu
    this.method = useTimestamps && this.gpu.features.has('timestamp-query') ? 'timestamps' : 'wall clock'
  }

  /**
   * Runs passes one after another, `encode(pass, i)` filling the i-th, and says when each ran. With timestamps they are one submit;
   * else one each, waited for, and a span then holds the cost of a submit as well. `expected` ms are slept through first on
   * software adapters, whose kernels need the core that a pending promise would spin (see `Device.waitQuietly`).
   */
  async measure(
    count: number,
    encode: (pass: GPUComputePassEncoder, i: number) => void,
    expected = 0,
  ): Promise<Span[]> {
    if (this.method === 'wall clock') return this.waited(count, encode)
    const stamps: bigint[] = []
    for (let first = 0; first < count; first += pairsPerSet)
      stamps.push(
        ...(await this.stamped(Math.min(pairsPerSet, count - first), (pass, i) => encode(pass, first + i), expected)),
      )
    return Array.from({ length: count }, (_, i) => {
      const begin = Number(stamps[2 * i]! - stamps[0]!)
      // A driver that resets its clock between passes would give a negative time.
      return { begin, end: Math.max(begin, Number(stamps[2 * i + 1]! - stamps[0]!)) }
    })
  }

  private async stamped(
    count: number,
    encode: (pass: GPUComputePassEncoder, i: number) => void,
    expected: number,
  ): Promise<BigUint64Array> {
    const querySet = this.gpu.createQuerySet({ type: 'timestamp', count: 2 * count })
    const resolved = this.device.memory.create(16 * count, 0x200 | 0x04, 'timestamps')
    const readback = this.device.memory.create(16 * count, 0x01 | 0x08, 'timestamps')
    try {
      const encoder = this.gpu.createCommandEncoder()
      for (let i = 0; i < count; i++) {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        })
        encode(pass, i)
        pass.end()
      }
      encoder.resolveQuerySet(querySet, 0, 2 * count, resolved, 0)
      encoder.copyBufferToBuffer(resolved, 0, readback, 0, 16 * count)
      this.gpu.queue.submit([encoder.finish()])
      if (this.device.caps.software && expected > 4) await pause(0.8 * expected)
      await readback.mapAsync(1)
      return new BigUint64Array(readback.getMappedRange().slice(0))
    } finally {
      for (const buffer of [resolved, readback]) buffer.destroy()
      querySet.destroy()
    }
  }

  private async waited(count: number, encode: (pass: GPUComputePassEncoder, i: number) => void): Promise<Span[]> {
    const spans: Span[] = []
    await this.gpu.queue.onSubmittedWorkDone()
    const zero = performance.now()
    for (let i = 0; i < count; i++) {
      const encoder = this.gpu.createCommandEncoder()
      const pass = encoder.beginComputePass()
      encode(pass, i)
      pass.end()
      const begin = performance.now() - zero
      this.gpu.queue.submit([encoder.finish()])
      await this.gpu.queue.onSubmittedWorkDone()
      spans.push({ begin: begin * 1e6, end: (performance.now() - zero) * 1e6 })
    }
    return spans
  }
}
