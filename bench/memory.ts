/** Memory over many steps of a contestant: live buffer bytes by the same counter as everything else, and the JavaScript heap. */
import type { MemoryResult } from './results.ts'
import type { RowAddress, Session } from './session.ts'

export interface MemoryRequest {
  readonly address: RowAddress
  readonly contestant: string
  readonly steps: number
}

/** Steps that may still grow caches. */
const settling = 10

const collect = async (): Promise<void> => {
  const gc = (globalThis as { gc?: () => void }).gc
  if (!gc) throw new Error('bench: the heap is measured after collections, which needs node --expose-gc')
  // Finalizers run after the collection that finds them, in a turn of their own.
  for (let i = 0; i < 3; i++) {
    gc()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Runs `steps` steps after `settling` ones that are not counted, then lets everything go. */
export async function measureMemory(session: Session, request: MemoryRequest): Promise<Omit<MemoryResult, 'backend'>> {
  const { address, contestant, steps } = request
  const { counter } = session
  const heap = () => process.memoryUsage().heapUsed
  counter.install()
  try {
    await collect()
    const before = counter.liveBytes
    await session.prepare(address, contestant)
    for (let i = 0; i < settling; i++) await session.sample(contestant, 1, 0)
    await collect()
    const [gpuAtFirst, heapAtFirst] = [counter.liveBytes, heap()]
    counter.reset()
    for (let i = 0; i < steps; i++) await session.sample(contestant, 1, 0)
    const { buffers, bindGroups, pipelines } = counter.read(steps)
    const peak = counter.peakBytes
    await collect()
    const [after, heapAtLast] = [counter.liveBytes, heap()]
    await session.release()
    // What finalizers give back lands in the library's pool, which is emptied then.
    await collect()
    await session.release()
    return {
      name: `${address.row} ${contestant}`,
      library: session.library,
      status: 'ok',
      steps,
      before,
      peak,
      after,
      released: counter.liveBytes,
      gpuGrowth: after - gpuAtFirst,
      heapGrowth: heapAtLast - heapAtFirst,
      made: buffers + bindGroups + pipelines,
    }
  } finally {
    counter.uninstall()
  }
}
