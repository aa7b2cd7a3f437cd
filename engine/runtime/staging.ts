/**
 * Small results, copied where the host can map them by the very submit that computes them: reading a loss takes no submit of its own.
 * A copy waits until it is read, or until a few later runs have made theirs; then the result is read like any other.
 */
import type { Faults } from './faults.ts'
import type { Memory, Storage } from './storage.ts'

/** Bytes of a staging buffer, and of a result that goes along. */
const stagingBytes = 8192
const smallBytes = 4096
/** Runs whose copies wait to be read. */
const keptRuns = 4

const MAP_READ = 0x01
const COPY_DST = 0x08

/** The copies of one run. */
export interface Staged {
  readonly buffer: GPUBuffer
  readonly parts: readonly { readonly storage: Storage; readonly offset: number; readonly bytes: number }[]
}

interface Waiting {
  readonly buffer: GPUBuffer
  /** Copies not read yet. */
  left: number
  mapped: boolean
  gone: boolean
}

export class Staging {
  private readonly idle: GPUBuffer[] = []
  /** Oldest first. */
  private readonly waiting: Waiting[] = []
  private readonly copies = new WeakMap<Storage, { of: Waiting; offset: number; version: number }>()

  constructor(
    private readonly memory: Memory,
    private readonly faults: Faults,
  ) {}

  /** Room for the small ones among a run's results; undefined when there are none. */
  room(results: readonly Storage[]): Staged | undefined {
    const parts: { storage: Storage; offset: number; bytes: number }[] = []
    let offset = 0
    for (const storage of results) {
      const bytes = Math.ceil(storage.byteLength / 4) * 4
      if (bytes > smallBytes || offset + bytes > stagingBytes) continue
      parts.push({ storage, offset, bytes })
      offset += Math.ceil(bytes / 8) * 8
    }
    if (!parts.length) return undefined
    if (!this.idle.length && this.waiting.length >= keptRuns) this.drop(this.waiting[0]!)
    const buffer = this.idle.pop() ?? this.memory.create(stagingBytes, MAP_READ | COPY_DST, 'small results')
    return { buffer, parts }
  }

  /** Adds the copies to the run's commands; from its submit on they can be read. */
  encode(encoder: GPUCommandEncoder, { buffer, parts }: Staged): void {
    const of: Waiting = { buffer, left: parts.length, mapped: false, gone: false }
    for (const { storage, offset, bytes } of parts) {
      encoder.copyBufferToBuffer(storage.buffer, 0, buffer, offset, bytes)
      this.copies.set(storage, { of, offset, version: storage.version })
    }
    this.waiting.push(of)
  }

  /** Gives back room that was not used. */
  cancel({ buffer }: Staged): void {
    this.idle.push(buffer)
  }

  /** The first `bytes` of a result, if its copy is still there; waits for the run that made it. */
  async read(storage: Storage, bytes: number): Promise<ArrayBuffer | undefined> {
    const copy = this.copies.get(storage)
    if (!copy || copy.of.gone || copy.version !== storage.version) return undefined
    const { of, offset } = copy
    this.copies.delete(storage)
    try {
      if (!of.mapped) await this.faults.guard(of.buffer.mapAsync(1))
      of.mapped = true
      this.faults.check()
    } catch (error) {
      this.forget(of)
      of.buffer.destroy()
      // What the device reported says more than that the buffer could not be mapped.
      this.faults.check()
      throw error
    }
    const data = of.buffer.getMappedRange(offset, bytes).slice(0)
    if (--of.left === 0) this.drop(of)
    return data
  }

  private drop(of: Waiting): void {
    this.forget(of)
    if (of.mapped) of.buffer.unmap()
    this.idle.push(of.buffer)
  }

  private forget(of: Waiting): void {
    of.gone = true
    this.waiting.splice(this.waiting.indexOf(of), 1)
  }

  /** Frees everything. */
  trim(): void {
    for (const of of [...this.waiting]) this.drop(of)
    for (const buffer of this.idle.splice(0)) buffer.destroy()
  }
}
