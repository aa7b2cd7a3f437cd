/**
 * Memory of intermediates by liveness: a slot is one whole buffer (WebGPU forbids one buffer bound both readable and
 * writable in a dispatch), reused once the value in it has had its last reader.
 */
export interface Lifetime {
  readonly bytes: number
  /** Step that writes the value first, and the last step that touches it. */
  readonly from: number
  readonly to: number
}

export interface SlotPlan {
  /** Bytes of each slot. */
  readonly sizes: number[]
  /** Slot of each lifetime, in the order given. */
  readonly slotOf: number[]
}

/** The better of two orders in which values choose their slots. */
export function assignSlots(lifetimes: readonly Lifetime[]): SlotPlan {
  const plans = [assignByTime(lifetimes), assignBySize(lifetimes)]
  const total = ({ sizes }: SlotPlan) => sizes.reduce((a, b) => a + b, 0)
  return plans.reduce((best, plan) => (total(plan) < total(best) ? plan : best))
}

/** As they come: the smallest free slot that is large enough, else the largest free one grown, else a new one. */
function assignByTime(lifetimes: readonly Lifetime[]): SlotPlan {
  const sizes: number[] = []
  const slotOf = new Array<number>(lifetimes.length).fill(-1)
  const order = lifetimes.map((_, i) => i).sort((a, b) => lifetimes[a]!.from - lifetimes[b]!.from || a - b)
  const busyUntil: number[] = []
  for (const i of order) {
    const { bytes, from, to } = lifetimes[i]!
    let best = -1
    for (let s = 0; s < sizes.length; s++) {
      if (busyUntil[s]! >= from) continue
      if (best < 0) best = s
      else if (sizes[best]! >= bytes ? sizes[s]! >= bytes && sizes[s]! < sizes[best]! : sizes[s]! > sizes[best]!)
        best = s
    }
    if (best < 0) {
      best = sizes.length
      sizes.push(bytes)
    } else sizes[best] = Math.max(sizes[best]!, bytes)
    busyUntil[best] = to
    slotOf[i] = best
  }
  return { sizes, slotOf }
}

/** The largest first, each into the smallest slot that is free all its life: no slot ever grows (Pisarchyk & Lee 2020). */
function assignBySize(lifetimes: readonly Lifetime[]): SlotPlan {
  const slots: { bytes: number; lives: Lifetime[] }[] = []
  const slotOf = new Array<number>(lifetimes.length).fill(-1)
  const order = lifetimes.map((_, i) => i).sort((a, b) => lifetimes[b]!.bytes - lifetimes[a]!.bytes || a - b)
  for (const i of order) {
    const life = lifetimes[i]!
    // Slots stand in order of their size, largest first.
    let slot = slots.findLastIndex(({ lives }) => lives.every(({ from, to }) => to < life.from || from > life.to))
    if (slot < 0) slot = slots.push({ bytes: life.bytes, lives: [] }) - 1
    slots[slot]!.lives.push(life)
    slotOf[i] = slot
  }
  return { sizes: slots.map(({ bytes }) => bytes), slotOf }
}
