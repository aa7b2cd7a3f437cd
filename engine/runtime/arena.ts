/**
 * Buffers for the intermediates of plans. Plans run one after another, so all share one arena: the largest slot of every plan is
 * the same buffer, the second largest is, and so on, each as large as the largest so far.
 */
import type { Memory } from './storage.ts'

export interface Slot {
  readonly buffer: GPUBuffer
  /** Changes when the buffer does. */
  readonly id: number
}

interface Entry extends Slot {
  readonly bytes: number
}

/** Plans after which buffers that were larger than any of them needed are freed. */
const patience = 256

export class Arena {
  private readonly entries: (Entry | undefined)[] = []
  /** Largest bytes that plans asked of each entry since the last sweep. */
  private wanted: number[] = []
  private asked = 0
  private nextId = 1
  /** Slots of a plan by falling size, for plans seen before. */
  private readonly orders = new WeakMap<readonly number[], readonly number[]>()
  /** Bytes of all buffers now. */
  bytes = 0

  constructor(private readonly memory: Memory) {}

  /** Buffers of at least these bytes, for one run. */
  slots(sizes: readonly number[], what: string): Slot[] {
    if (++this.asked % patience === 0) this.sweep()
    let order = this.orders.get(sizes)
    if (!order) {
      order = sizes.map((_, i) => i).sort((a, b) => sizes[b]! - sizes[a]!)
      this.orders.set(sizes, order)
    }
    const out = new Array<Slot>(sizes.length)
    order.forEach((slot, rank) => {
      const bytes = this.memory.roundUp(sizes[slot]!)
      this.wanted[rank] = Math.max(this.wanted[rank] ?? 0, bytes)
      const entry = this.entries[rank]
      out[slot] = entry && entry.bytes >= bytes ? entry : this.grow(rank, bytes, what)
    })
    return out
  }

  private grow(rank: number, bytes: number, what: string): Entry {
    // The smaller one goes first: both at once may be more than there is.
    this.free(rank)
    const entry: Entry = {
      buffer: this.memory.create(bytes, 0x80 | 0x04 | 0x08, `intermediates of ${what}`, () => {
        if (this.entries[rank] === entry) this.free(rank)
      }),
      bytes,
      id: this.nextId++,
    }
    this.entries[rank] = entry
    this.bytes += bytes
    this.memory.track()
    return entry
  }

  /** One huge plan must not hold its memory for ever: frees what lately no plan needed. */
  private sweep(): void {
    this.entries.forEach((entry, rank) => {
      if (entry && entry.bytes > 2 * (this.wanted[rank] ?? 0)) this.free(rank)
    })
    this.wanted = []
  }

  private free(rank: number): void {
    const entry = this.entries[rank]
    if (!entry) return
    entry.buffer.destroy()
    this.bytes -= entry.bytes
    this.entries[rank] = undefined
  }

  clear(): void {
    for (const rank of this.entries.keys()) this.free(rank)
    this.entries.length = 0
  }
}
