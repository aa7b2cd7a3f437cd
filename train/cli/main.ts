/** The `diptych` command line: the commands, and what their errors mean to the shell. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { ablateCommand } from './commands/ablate.ts'
import { augmentCommand } from './commands/augment.ts'
import { configCommand } from './commands/config.ts'
import { demoCommand } from './commands/demo.ts'
import { devicesCommand } from './commands/devices.ts'
import { evalCommand } from './commands/eval.ts'
import { goldenCommand } from './commands/golden.ts'
import { measureCommand } from './commands/measure.ts'
import { prepareCommand } from './commands/prepare.ts'
import { scanCommand } from './commands/scan.ts'
import { scoreCommand } from './commands/score.ts'
import { synthCommand } from './commands/synth.ts'
import { trainCommand } from './commands/train.ts'
import { tuneCommand } from './commands/tune.ts'
import { EXIT, runMain, UserError } from './errors.ts'

const COMMANDS = [
  demoCommand,
  goldenCommand,
  scoreCommand,
  synthCommand,
  scanCommand,
  prepareCommand,
  trainCommand,
  evalCommand,
  ablateCommand,
  configCommand,
  augmentCommand,
  measureCommand,
  tuneCommand,
  devicesCommand,
]

/** The whole command line; a command's action sets the exit code that `setExit` gets, or throws. */
export function buildProgram(setExit: (code: number) => void): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const program = new Command('diptych')
    .description('Detects face forgeries in videos by the inconsistency that diffuses through them (DIP).')
    .version(version)
    .exitOverride()
    .showHelpAfterError('Run with --help for the options.')
    .addHelpText(
      'after',
      '\nExit codes: 0 done; 1 a fault of the program; 2 a fault of the input; 3 done, but some files failed.',
    )
  for (const add of COMMANDS) add(program, setExit)
  return program
}

export async function main(args: string[]): Promise<void> {
  // `diptych … | head` closes the pipe: nobody reads on, so there is nothing left to do.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit()
    throw error
  })
  await runMain(async () => {
    let exit: number = EXIT.ok
    const program = buildProgram((code) => {
      exit = code
    })
    try {
      await program.parseAsync(args, { from: 'user' })
    } catch (error) {
      // Commander has printed what is wrong, or the help that was asked for.
      if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.input
      throw forUser(error)
    }
    return exit
  })
}

/** Errors whose messages say what is wrong with the input or the machine and what to do about it. */
const USER_FAULTS = new Set([
  'VideoError',
  'DeviceError',
  'SafetensorsError',
  'CheckpointError',
  'ConfigError',
  'VitError',
  'LimitError',
  'OutOfMemoryError',
])

/** An error that the user can mend becomes a UserError; any other stays what it is. */
export function forUser(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof UserError) return error
  if (USER_FAULTS.has(error.name)) return new UserError(error.message, { cause: error })
  const { code, syscall, path } = error as NodeJS.ErrnoException
  if (code && syscall && path && /^(ENOENT|EACCES|EPERM|EROFS|ENOSPC|ENOTDIR|EISDIR|EEXIST)$/.test(code))
    return new UserError(`${path}: ${error.message}`, {
      fix: 'check the path, its permissions and the free space',
      cause: error,
    })
  return error
}
