/** Copies buffers of the device into host memory, through a few mappable buffers that are kept. */
import type { Faults } from './faults.ts'
import type { Memory } from './storage.ts'

/** Bytes of mappable buffers that are kept for the next read. */
const keptBytes = 32 * 2 ** 20

const MAP_READ = 0x01
const COPY_DST = 0x08

export class Readback {
  /** Idle buffers, the one used last at the end. */
  private readonly idle: GPUBuffer[] = []
  private bytes = 0

  constructor(
    private readonly device: GPUDevice,
    private readonly memory: Memory,
    private readonly faults: Faults,
  ) {}

  /** The first `bytes` (a multiple of 4) of `source`, once all work submitted before is done. */
  async read(source: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    // Powers of two, so that results of many sizes share few buffers.
    const size = bytes <= keptBytes ? Math.max(256, 2 ** Math.ceil(Math.log2(bytes))) : bytes
    const buffer =
      this.take(size) ?? (await this.memory.granted(() => this.memory.create(size, MAP_READ | COPY_DST, 'readback')))
    this.faults.begin()
    const encoder = this.device.createCommandEncoder()
    encoder.copyBufferToBuffer(source, 0, buffer, 0, bytes)
    this.device.queue.submit([encoder.finish()])
    this.faults.submits++
    try {
      await this.faults.guard(buffer.mapAsync(1, 0, bytes))
      this.faults.check()
    } catch (error) {
      buffer.destroy()
      // What the device reported says more than that the buffer could not be mapped.
      this.faults.check()
      throw error
    }
    this.faults.confirm()
    const data = buffer.getMappedRange(0, bytes).slice(0)
    buffer.unmap()
    this.keep(buffer)
    return data
  }

  private take(size: number): GPUBuffer | undefined {
    const at = this.idle.findLastIndex((b) => b.size === size)
    if (at < 0) return undefined
    this.bytes -= size
    return this.idle.splice(at, 1)[0]
  }

  private keep(buffer: GPUBuffer): void {
    this.idle.push(buffer)
    this.bytes += buffer.size
    while (this.bytes > keptBytes) {
      const oldest = this.idle.shift()!
      this.bytes -= oldest.size
      oldest.destroy()
    }
  }

  trim(): void {
    for (const buffer of this.idle.splice(0)) buffer.destroy()
    this.bytes = 0
  }
}
