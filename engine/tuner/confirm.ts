/** Whether winners win in the work itself: alone, a kernel finds its data in caches that the whole leaves cold. */
import { runSubject, type Subject } from '../debug/subject.ts'
import type { Device } from '../runtime/device.ts'
import type { Tuned } from './tuner.ts'

export interface Confirmation {
  /** Milliseconds of the whole work with first variants everywhere, and with the winners: the fastest of interleaved runs. */
  readonly heuristic: number
  readonly tuned: number
  /** Kernels whose winners made the whole slower and are not used. */
  readonly dropped: readonly string[]
}

/** The whole may be this much slower before it counts: less is noise. */
const noise = 1.02

/**
 * Times `subject` with and without what was found, and gives up the winners of those kernels that make the whole slower. The time may
 * run out: then winners stay as they are. `subject` is run a dozen times or more.
 */
export async function confirmWinners(
  device: Device,
  subject: Subject,
  tuned: readonly Tuned[],
  deadline: number,
  rounds = 4,
): Promise<Confirmation> {
  const { tuner } = device
  const kernels = [...new Set(tuned.filter((t) => t.choice.winner !== t.heuristic).map((t) => t.kernel))]
  /** Times of the work with the winners of one set of kernels switched off, and of another. */
  const compare = async (disabled: readonly string[], enabled: readonly string[]): Promise<[number, number]> => {
    const times: [number[], number[]] = [[], []]
    // The first run of each plans, compiles and warms up.
    for (let round = -1; round < rounds; round++)
      for (const [i, off] of [disabled, enabled].entries()) {
        tuner.disabled = new Set(off)
        const time = await milliseconds(device, subject)
        if (round >= 0) times[i]!.push(time)
      }
    return [Math.min(...times[0]), Math.min(...times[1])]
  }
  try {
    if (kernels.length === 0) {
      const [heuristic] = await compare([], [])
      return { heuristic, tuned: heuristic, dropped: [] }
    }
    const [heuristic, all] = await compare(kernels, [])
    if (all <= noise * heuristic) return { heuristic, tuned: all, dropped: [] }
    const dropped: string[] = []
    for (const kernel of kernels) {
      if (performance.now() > deadline) break
      const [without, with_] = await compare([...dropped, kernel], dropped)
      if (without < with_) dropped.push(kernel)
    }
    const [, rest] = await compare(kernels, dropped)
    const kept = rest <= noise * heuristic
    return { heuristic, tuned: kept ? rest : heuristic, dropped: kept ? dropped : kernels }
  } finally {
    tuner.disabled = new Set()
  }
}

async function milliseconds(device: Device, subject: Subject): Promise<number> {
  const began = performance.now()
  await runSubject(device, subject)
  await device.settled()
  return performance.now() - began
}
