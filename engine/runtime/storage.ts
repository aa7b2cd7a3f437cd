/** Buffers that outlive a plan: parameters, optimiser state, results. Freed by `dispose` or when nothing refers to them. */
import { formatBytes, type GpuError, LimitError, OutOfMemoryError } from '../device/errors.ts'
import type { StorageHandle } from '../graph.ts'
import { Arena, type Slot } from './arena.ts'
import type { Faults } from './faults.ts'

// Spelt out here and elsewhere: the platform's constants exist only once a platform is loaded.
const STORAGE = 0x80 | 0x04 | 0x08 // STORAGE | COPY_SRC | COPY_DST

/** Freed buffers kept for reuse: at most this many bytes in all, and this many of one size. */
const pooledBytes = 256 * 2 ** 20
const pooledOfOneSize = 16

/** Buffers are rounded up, so that near sizes share: to 256 B, above 64 KiB to an eighth of the power of two below. */
function sizeClass(bytes: number): number {
  const step = bytes <= 65536 ? 256 : 2 ** (Math.floor(Math.log2(bytes)) - 3)
  return Math.max(256, Math.ceil(bytes / step) * step)
}

export class Storage implements StorageHandle {
  private static nextId = 1
  readonly id = Storage.nextId++
  version = 0
  /** Number of the run that made the value; 0 for what the host wrote. */
  run = 0
  /** Why there is no value: the device refused the buffer. */
  failure: GpuError | undefined
  private live = true

  constructor(
    readonly buffer: GPUBuffer,
    readonly byteLength: number,
    /** Of the device that the buffer belongs to. */
    readonly memory: Memory,
  ) {}

  get disposed(): boolean {
    return !this.live
  }

  dispose(): void {
    if (!this.live) return
    this.live = false
    this.memory.release(this)
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
  private readonly arena = new Arena(this)
  private readonly pool = new Map<number, GPUBuffer[]>()
  private readonly finalizer = new FinalizationRegistry<GPUBuffer>((buffer) => this.recycle(buffer))
  private readonly counts = { ownedBytes: 0, pooledBytes: 0, peakBytes: 0, buffersCreated: 0 }
  /** Whether the device granted the buffers made lately. */
  private checks: Promise<OutOfMemoryError | undefined>[] = []

  constructor(
    private readonly device: GPUDevice,
    private readonly faults: Faults,
  ) {}

  get stats(): MemoryStats {
    return { ...this.counts, planBytes: this.arena.bytes }
  }

  /**
   * A raw buffer. The device says later whether it could allocate it: `granted` and `checked` wait for that, `refused` is called when
   * it could not. @throws LimitError for more than a buffer may have, DeviceLostError
   */
  create(bytes: number, usage: number, what: string, refused?: (error: OutOfMemoryError) => void): GPUBuffer {
    if (this.faults.lost) throw this.faults.lost
    const { maxBufferSize } = this.device.limits
    if (bytes > maxBufferSize)
      throw new LimitError({ limit: 'maxBufferSize', needed: bytes, available: maxBufferSize }, what)
    this.counts.buffersCreated++
    this.device.pushErrorScope('out-of-memory')
    const buffer = this.device.createBuffer({ size: bytes, usage, label: what })
    const check = this.device.popErrorScope().then(
      (problem) => {
        if (!problem) return undefined
        const error = new OutOfMemoryError({ bytes, message: problem.message }, what)
        refused?.(error)
        return error
      },
      // A lost device cannot answer; the loss is reported by itself.
      () => undefined,
    )
    this.checks.push(check)
    return buffer
  }

  /** Does `make`, and waits until the device has granted every buffer made in it. @throws OutOfMemoryError */
  async granted<T>(make: () => T): Promise<T> {
    const earlier = this.checks
    this.checks = []
    let mine: typeof earlier
    let made: T
    try {
      made = make()
    } finally {
      mine = this.checks
      this.checks = earlier
    }
    if (mine.length) {
      const refusal = (await this.faults.guard(Promise.all(mine))).find((error) => error)
      if (refusal) throw refusal
    }
    return made
  }

  /** Waits until it is known of every buffer whether the device granted it. */
  async checked(): Promise<void> {
    if (this.checks.length) await this.faults.guard(Promise.all(this.checks.splice(0)))
  }

  /** Bytes that a buffer for so many gets. */
  roundUp(bytes: number): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.device.limits
    const limit = bytes > maxStorageBufferBindingSize ? maxBufferSize : maxStorageBufferBindingSize
    return Math.max(bytes, Math.min(sizeClass(bytes), limit))
  }

  allocate(byteLength: number, what: string): Storage {
    const bytes = this.roundUp(byteLength)
    const reused = this.pool.get(bytes)?.pop()
    if (reused) this.counts.pooledBytes -= bytes
    let storage: Storage | undefined
    const buffer =
      reused ??
      this.create(bytes, STORAGE, what, (error) => {
        if (storage) this.refuse(storage, error)
      })
    storage = new Storage(buffer, byteLength, this)
    this.finalizer.register(storage, buffer, storage)
    this.counts.ownedBytes += bytes
    this.track()
    return storage
  }

  private refuse(storage: Storage, error: OutOfMemoryError): void {
    storage.failure = error
    if (storage.disposed) {
      // Freed before the answer came: it must not be handed out again.
      const list = this.pool.get(storage.buffer.size)
      if (list?.includes(storage.buffer)) {
        list.splice(list.indexOf(storage.buffer), 1)
        this.counts.pooledBytes -= storage.buffer.size
      }
      return
    }
    this.finalizer.unregister(storage)
    this.counts.ownedBytes -= storage.buffer.size
  }

  release(storage: Storage): void {
    if (storage.failure) return
    this.finalizer.unregister(storage)
    this.recycle(storage.buffer)
  }

  private recycle(buffer: GPUBuffer): void {
    this.counts.ownedBytes -= buffer.size
    if (this.faults.lost) return
    let list = this.pool.get(buffer.size)
    if (!list) this.pool.set(buffer.size, (list = []))
    if (list.length >= pooledOfOneSize || buffer.size > pooledBytes) return buffer.destroy()
    list.push(buffer)
    this.counts.pooledBytes += buffer.size
    // Sizes that came up first give way: programs move from one set of shapes to another.
    for (const [size, old] of this.pool) {
      while (this.counts.pooledBytes > pooledBytes && old.length) {
        old.pop()!.destroy()
        this.counts.pooledBytes -= size
      }
      if (this.counts.pooledBytes <= pooledBytes) break
      this.pool.delete(size)
    }
  }

  /** Buffers for a plan's intermediates, shared with all other plans. */
  slots(sizes: readonly number[], what: string): Slot[] {
    return this.arena.slots(sizes, what)
  }

  /** Frees what is kept only for speed: pooled buffers, and the arena (plans bind it anew). */
  trim(): void {
    for (const list of this.pool.values()) for (const buffer of list) buffer.destroy()
    this.pool.clear()
    this.counts.pooledBytes = 0
    this.arena.clear()
  }

  track(): void {
    this.counts.peakBytes = Math.max(this.counts.peakBytes, this.counts.ownedBytes + this.arena.bytes)
  }

  toString(): string {
    return `${formatBytes(this.counts.ownedBytes)} owned, ${formatBytes(this.arena.bytes)} in plans`
  }
}
