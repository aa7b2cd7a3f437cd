/**
 * Libraries in child processes, one each: their Dawn devices then neither share a heap nor a thread with another's. They are
 * measured in alternating rounds from here, one at a time.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { DeviceInfo, LibraryName } from './contract.ts'
import type { MemoryRequest } from './memory.ts'
import type { MemoryResult } from './results.ts'
import type { Ceilings } from './roofline.ts'
import type { PreparedInfo, RowAddress, Runner, Usage } from './session.ts'
import type { Answer, Call, Opening } from './worker.ts'

/** Lines that Dawn prints whatever one does. */
const noise = /^Warning: max\w+ artificially reduced|^diptych: no GPU found/

export class ProcessRunner implements Runner {
  private readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  private readonly complaints: string[] = []
  private next = 0
  private dead: Error | undefined
  version = ''
  device: DeviceInfo | undefined

  private constructor(
    readonly library: LibraryName,
    private readonly child: ChildProcess,
  ) {
    child.on('message', ({ id, value, error }: Answer) => {
      const call = this.waiting.get(id)
      this.waiting.delete(id)
      if (error === undefined) call?.resolve(value)
      else call?.reject(new Error(error))
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      const lines = text.split('\n').filter((line) => line.trim() && !noise.test(line))
      this.complaints.push(...lines)
      this.complaints.splice(0, this.complaints.length - 5)
    })
    child.on('exit', (code, signal) => {
      const last = this.complaints.length ? `: ${this.complaints.join(' | ')}` : ''
      this.dead = new Error(`the process of ${library} ended (${signal ?? `code ${code}`})${last}`)
      for (const { reject } of this.waiting.values()) reject(this.dead)
      this.waiting.clear()
    })
  }

  /** Starts a process and opens the library in it. Rejects with its complaint where it does not open. */
  static async open(opening: Opening): Promise<ProcessRunner> {
    const child = fork(fileURLToPath(new URL('./worker.ts', import.meta.url)), {
      execArgv: ['--import', 'tsx', '--expose-gc'],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, DIPTYCH_QUIET: '1' },
    })
    const runner = new ProcessRunner(opening.library, child)
    try {
      return Object.assign(runner, (await runner.call('open', opening)) as { version: string; device?: DeviceInfo })
    } catch (error) {
      child.kill()
      throw error
    }
  }

  private call(method: string, ...args: unknown[]): Promise<unknown> {
    if (this.dead) return Promise.reject(this.dead)
    const id = this.next++
    const answer = new Promise<unknown>((resolve, reject) => this.waiting.set(id, { resolve, reject }))
    this.child.send({ id, method, args } satisfies Call)
    return answer
  }

  ceilings(): Promise<Ceilings> {
    return this.call('ceilings') as Promise<Ceilings>
  }

  prepare(row: RowAddress, contestant: string): Promise<PreparedInfo> {
    return this.call('prepare', row, contestant) as Promise<PreparedInfo>
  }

  sample(contestant: string, repeats: number, expected: number): Promise<number> {
    return this.call('sample', contestant, repeats, expected) as Promise<number>
  }

  samples(contestant: string, runs: number): Promise<number[]> {
    return this.call('samples', contestant, runs) as Promise<number[]>
  }

  count(contestant: string, runs: number): Promise<Usage | undefined> {
    return this.call('count', contestant, runs) as Promise<Usage | undefined>
  }

  memory(request: MemoryRequest): Promise<Omit<MemoryResult, 'backend'>> {
    return this.call('memory', request) as Promise<Omit<MemoryResult, 'backend'>>
  }

  async release(): Promise<void> {
    // A library that has died has let everything go.
    if (!this.dead) await this.call('release')
  }

  async close(): Promise<void> {
    if (this.dead) return
    const gone = new Promise<void>((resolve) => this.child.once('exit', () => resolve()))
    this.child.kill()
    await gone
  }
}
