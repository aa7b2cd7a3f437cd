/** A child process that holds one library: answers the calls of `processes.ts`, one at a time. */
import type { AdapterKind } from '../engine/index.ts'
import type { LibraryName } from './contract.ts'
import { loadGroups } from './groups.ts'
import { type MemoryRequest, measureMemory } from './memory.ts'
import { openLibrary } from './open.ts'
import { Session } from './session.ts'

export interface Opening {
  readonly library: LibraryName
  readonly adapter: AdapterKind
  readonly groupFiles: readonly string[]
}

export interface Call {
  readonly id: number
  readonly method: string
  readonly args: readonly unknown[]
}

export interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

let session: Session | undefined

async function open({ library, adapter, groupFiles }: Opening) {
  session = new Session(await openLibrary(library, adapter), await loadGroups(groupFiles))
  return { version: session.version, device: session.device }
}

async function answer({ method, args }: Call): Promise<unknown> {
  if (method === 'open') return open(args[0] as Opening)
  if (!session) throw new Error('bench: the library is not open')
  if (method === 'memory') return measureMemory(session, args[0] as MemoryRequest)
  return (session[method as keyof Session] as (...args: unknown[]) => unknown).apply(session, args as unknown[])
}

let line: Promise<void> = Promise.resolve()
process.on('message', (call: Call) => {
  line = line.then(async () => {
    let reply: Answer
    try {
      reply = { id: call.id, value: await answer(call) }
    } catch (error) {
      reply = { id: call.id, error: error instanceof Error ? error.message : String(error) }
    }
    process.send?.(reply)
  })
})
process.on('disconnect', () => process.exit(0))
