/** What commands share: numbers on the command line, the device, and stopping on Ctrl-C. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AdapterKind, Device } from '../../engine/index.ts'
import { UserError } from './errors.ts'

/** Parser of an option that takes a whole number of at least `least`. */
export const wholeNumber =
  (least = 0) =>
  (text: string): number => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isInteger(value) || value < least)
      throw new InvalidArgumentError(`A whole number of at least ${least} is needed.`)
    return value
  }

/** Parser of an option that takes a number of at least `least`. */
export const decimal =
  (least = 0) =>
  (text: string): number => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isFinite(value) || value < least)
      throw new InvalidArgumentError(`A number of at least ${least} is needed.`)
    return value
  }

const KINDS: AdapterKind[] = ['auto', 'discrete', 'integrated', 'software']

export const adapterOption = (): Option =>
  new Option('--adapter <kind>', 'what to compute on').choices(KINDS).default('auto')

export const jsonOption = (): Option => new Option('--json', 'write the result to stdout as JSON')

export type Action = (program: Command, setExit: (code: number) => void) => void

/** Opens the default device for `use`, and closes it so that the process can end. */
export async function withDevice<T>(kind: AdapterKind, use: (device: Device) => Promise<T>): Promise<T> {
  const { openDevice } = await import('../../engine/index.ts')
  const device = await openDevice({ adapter: kind })
  try {
    return await use(device)
  } finally {
    device.destroy()
  }
}

/** Exit code of a program that Ctrl-C ended, by custom of the shells. */
const INTERRUPTED = 130

/** Runs `use` with a signal that Ctrl-C aborts; a second Ctrl-C ends the process at once. `onward` says how to go on. */
export async function interruptible<T>(onward: string, use: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED)
    controller.abort(new UserError('stopped', { fix: onward, exitCode: INTERRUPTED }))
  }
  process.on('SIGINT', stop)
  try {
    return await use(controller.signal)
  } finally {
    process.off('SIGINT', stop)
  }
}
