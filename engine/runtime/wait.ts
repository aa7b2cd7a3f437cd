/** Waiting for a plan without taking the processor from it. */
import type { Executable } from './executable.ts'
import type { Faults } from './faults.ts'

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/**
 * A pending promise makes Dawn's Node binding spin a core, which a software adapter needs for the kernels: sleep through
 * most of the time that this plan took before, and only then wait for the queue.
 * @throws GpuError what the device reported meanwhile
 */
export async function waitQuietly(executable: Executable, gpu: GPUDevice, faults: Faults): Promise<void> {
  const start = performance.now()
  const { duration } = executable
  if (duration > 4) await faults.guard(pause(duration * 0.8))
  const awake = performance.now()
  await faults.guard(gpu.queue.onSubmittedWorkDone())
  faults.check()
  faults.confirm()
  const end = performance.now()
  // The first run compiles: it says nothing about the next.
  if (executable.runs++ === 0) return
  const took = end - start
  // Done before the sleep was over: how long it took is not known, only that it was less.
  if (awake > start + 1 && end - awake < 0.5) executable.duration = duration * 0.7
  else executable.duration = duration ? Math.min(took, duration * 0.7 + took * 0.3) : took
}
