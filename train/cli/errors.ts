/**
 * Errors for the person at the terminal, and the one place that prints them.
 *
 * Exit codes: 0 done; 1 a fault of the program; 2 a fault of the input or the arguments; 3 done, but some files failed.
 */
import pc from 'picocolors'

export const EXIT = { ok: 0, internal: 1, input: 2, partial: 3 } as const

export interface UserErrorOptions {
  /** What to do about it: a sentence or a command. */
  fix?: string
  exitCode?: number
  cause?: unknown
}

/** Something the user can mend. Printed without a stack: the message says what is wrong, `fix` what to do. */
export class UserError extends Error {
  override name = 'UserError'
  readonly fix: string | undefined
  readonly exitCode: number

  constructor(message: string, options: UserErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.fix = options.fix
    this.exitCode = options.exitCode ?? EXIT.input
  }
}

/** Where `runMain` writes and what it reads; a test passes its own. */
export interface MainHost {
  write(text: string): void
  env: Record<string, string | undefined>
  setExitCode(code: number): void
}

const processHost: MainHost = {
  write: (text) => void process.stderr.write(text),
  env: process.env,
  setExitCode: (code) => {
    process.exitCode = code
  },
}

/**
 * Runs a command. A returned number is the exit code; a UserError prints as message and fix, anything else says that it
 * is a bug. Stacks are printed with DIPTYCH_DEBUG=1 only. Never rejects, never calls process.exit: pending output is
 * written and the event loop drains.
 */
export async function runMain(fn: () => unknown, host: MainHost = processHost): Promise<void> {
  try {
    const code = await fn()
    if (typeof code === 'number') host.setExitCode(code)
  } catch (error) {
    host.write(formatError(error, host.env.DIPTYCH_DEBUG === '1'))
    host.setExitCode(error instanceof UserError ? error.exitCode : EXIT.internal)
  }
}

/** The text `runMain` prints for an error, ending with a newline. */
export function formatError(error: unknown, debug = false): string {
  const message = error instanceof Error ? error.message : String(error)
  const lines = [`${pc.red('error:')} ${message}`]
  if (error instanceof UserError) {
    if (error.fix) lines.push(`${pc.cyan('  fix:')} ${error.fix}`)
  } else if (!debug) lines.push('  This is unexpected. Run again with DIPTYCH_DEBUG=1 to see where it happened.')
  for (let e = error; debug && e instanceof Error; e = e.cause) {
    lines.push(pc.dim(e === error ? (e.stack ?? '') : `caused by ${e.stack ?? e.message}`))
  }
  return `${lines.join('\n')}\n`
}
