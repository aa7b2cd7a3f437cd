/** Runs a module in a process of its own, with a time limit: for what must end, or must be measured from a fresh start. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

export interface Ended {
  /** Exit code; null when the limit ended it. */
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** `body` is the text of a module; imports are relative to the repository. `flags` are Node's. */
export function inChild(body: string, seconds = 60, flags: readonly string[] = []): Promise<Ended> {
  const child = spawn(process.execPath, [...flags, '--import', 'tsx', '--input-type=module', '--eval', body], {
    cwd: root,
    env: { ...process.env, DIPTYCH_QUIET: '1' },
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (text) => {
    out += text
  })
  child.stderr.on('data', (text) => {
    err += text
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out: out.trim(), err })))
}
