/**
 * Waiting for a device, the same way for every contestant. While a promise of Dawn is pending its Node binding spins a core,
 * which on a software adapter is taken from the kernels: so sleep through most of the time that the work is known to take, and
 * only then ask the queue.
 */

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Share of the known duration that is slept through: little enough that a run which turns out faster is seen to be. */
const asleep = 0.7
/** Below this many ms a timer is too coarse. */
const shortest = 4

/** Resolves when the queue is done; `started` by performance.now(), `expected` the duration in ms, 0 when unknown. */
export async function waitQuietly(queue: GPUQueue, started: number, expected: number): Promise<void> {
  const rest = expected * asleep - (performance.now() - started)
  if (rest >= shortest) await sleep(rest)
  await queue.onSubmittedWorkDone()
}
