/** Buffers that outlive a plan: parameters, optimiser state, results. Freed by `dispose` or when nothing refers to them. */
import { type DeviceLostError, formatBytes, LimitError } from '../device/errors.ts'
import type { StorageHandle } from '../graph.ts'

const USAGE = 0x80 | 0x04 | 0x08 // STORAGE | COPY_SRC | COPY_DST, spelt out: the constants exist only once a platform is loaded

/** Buffers are rounded up, so that near sizes share: to 256 B, above 64 KiB to an eighth of the power of two below. */
function sizeClass(bytes: number): number {
  const step = bytes <= 65536 ? 256 : 2 ** (Math.floor(Math.log2(bytes)) - 3)
  return Math.max(256, Math.ceil(bytes / step) * step)
}

export class Storage implements StorageHandle {
  private static nextId = 1
  readonly id = Storage.nextId++
  version = 0
  private live = true

  constructor(
    readonly buffer: GPUBuffer,
    readonly byteLength: number,
    private readonly memory: Memory,
  ) {}

  get disposed(): boolean {
    return !this.live
  }

  dispose(): void {
    if (!this.live) return
    this.live = false
    this.memory.release(this, this.buffer)
  }
}

export interface MemoryStats {
  /** Bytes of buffers that tensors, parameters and results own now. */
  ownedBytes: number
  /** Bytes of buffers that plans share for their intermediates. */
  planBytes: number
  /** Freed buffers kept for reuse. */
  pooledBytes: number
  /** Largest sum of owned and plan bytes so far. */
  peakBytes: number
  buffersCreated: number
}

/** Allocates, recycles and counts buffers of one device. */
export class Memory {
  readonly stats: MemoryStats = { ownedBytes: 0, planBytes: 0, pooledBytes: 0, peakBytes: 0, buffersCreated: 0 }
  private readonly pool = new Map<number, GPUBuffer[]>()
  private readonly finalizer: FinalizationRegistry<GPUBuffer>
  private readonly arena: { buffer: GPUBuffer; bytes: number; id: number }[] = []
  private nextArenaId = 1

  constructor(
    private readonly device: GPUDevice,
    private readonly lost: () => DeviceLostError | undefined,
  ) {
    this.finalizer = new FinalizationRegistry((buffer) => this.recycle(buffer))
  }

  /** A raw buffer; throws LimitError before the device would refuse it. */
  create(bytes: number, usage: number, what: string): GPUBuffer {
    const lost = this.lost()
    if (lost) throw lost
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits
    if (bytes > maxBufferSize)
      throw new LimitError({ limit: 'maxBufferSize', needed: bytes, available: maxBufferSize }, what)
    if (usage & 0x80 && bytes > maxStorageBufferBindingSize)
      throw new LimitError(
        { limit: 'maxStorageBufferBindingSize', needed: bytes, available: maxStorageBufferBindingSize },
        what,
      )
    this.stats.buffersCreated++
    return this.device.createBuffer({ size: bytes, usage, label: what })
  }

  allocate(byteLength: number, what: string): Storage {
    const bytes = Math.min(sizeClass(byteLength), Math.max(byteLength, this.device.limits.maxStorageBufferBindingSize))
    const reused = this.pool.get(bytes)?.pop()
    if (reused) this.stats.pooledBytes -= bytes
    const buffer = reused ?? this.create(bytes, USAGE, what)
    const storage = new Storage(buffer, byteLength, this)
    this.finalizer.register(storage, buffer, storage)
    this.stats.ownedBytes += bytes
    this.track()
    return storage
  }

  release(storage: Storage, buffer: GPUBuffer): void {
    this.finalizer.unregister(storage)
    this.recycle(buffer)
  }

  private recycle(buffer: GPUBuffer): void {
    this.stats.ownedBytes -= buffer.size
    if (this.lost()) return
    const list = this.pool.get(buffer.size) ?? []
    this.pool.set(buffer.size, list)
    if (list.length >= 16 || this.stats.pooledBytes + buffer.size > 256 * 2 ** 20) return buffer.destroy()
    list.push(buffer)
    this.stats.pooledBytes += buffer.size
  }

  /**
   * Buffers for a plan's slots. Plans run one after another, so all share one arena: slot k of every plan is the same buffer,
   * as large as the largest. `id` changes when a buffer had to grow.
   */
  slots(sizes: readonly number[], what: string): { buffer: GPUBuffer; id: number }[] {
    const order = sizes.map((_, i) => i).sort((a, b) => sizes[b]! - sizes[a]!)
    const out = new Array<{ buffer: GPUBuffer; id: number }>(sizes.length)
    order.forEach((slot, rank) => {
      const bytes = sizeClass(sizes[slot]!)
      let entry = this.arena[rank]
      if (!entry || entry.bytes < bytes) {
        const fits = Math.min(bytes, Math.max(sizes[slot]!, this.device.limits.maxStorageBufferBindingSize))
        const buffer = this.create(fits, USAGE, what)
        if (entry) {
          entry.buffer.destroy()
          this.stats.planBytes -= entry.bytes
        }
        entry = { buffer, bytes: fits, id: this.nextArenaId++ }
        this.arena[rank] = entry
        this.stats.planBytes += fits
        this.track()
      }
      out[slot] = entry
    })
    return out
  }

  /** Frees what is kept only for speed: pooled buffers, and the arena (plans bind it anew). */
  trim(): void {
    for (const list of this.pool.values()) for (const buffer of list) buffer.destroy()
    this.pool.clear()
    this.stats.pooledBytes = 0
    for (const entry of this.arena) entry.buffer.destroy()
    this.arena.length = 0
    this.stats.planBytes = 0
  }

  private track(): void {
    this.stats.peakBytes = Math.max(this.stats.peakBytes, this.stats.ownedBytes + this.stats.planBytes)
  }

  toString(): string {
    return `${formatBytes(this.stats.ownedBytes)} owned, ${formatBytes(this.stats.planBytes)} in plans`
  }
}
