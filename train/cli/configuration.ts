/** The configuration of a command: a preset, a file over it, single settings over both. */
import { readFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type DipConfig, makeConfig, type PartialConfig, type PresetName, presetNames } from '../../dip/index.ts'
import { UserError } from './errors.ts'

export interface ConfigFlags {
  preset?: PresetName
  config?: string
  set?: Record<string, unknown>
}

/** `key=value`; the value as JSON where it is JSON, else as text. */
function collect(text: string, before: Record<string, unknown> = {}): Record<string, unknown> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('A setting is written key=value.')
  const value = text.slice(at + 1)
  let parsed: unknown = value
  try {
    parsed = JSON.parse(value)
  } catch {}
  return { ...before, [text.slice(0, at)]: parsed }
}

export const withConfigOptions = (command: Command): Command =>
  command
    .addOption(
      new Option('--preset <name>', 'what is not set comes from it (base unless the file names one)').choices(
        presetNames,
      ),
    )
    .option('--config <file>', 'settings as JSON, nested or by path')
    .option('--set <key=value>', 'a setting over the file, by path; may be repeated', collect)

/**
 * The whole configuration.
 * @throws UserError where the file cannot be read or is not JSON; ConfigError names the key, what was wanted and what was given
 */
export async function resolveConfig({ preset, config, set = {} }: ConfigFlags): Promise<DipConfig> {
  const file = config === undefined ? {} : await readConfig(config)
  return makeConfig({ ...layered(file, set), ...(preset && { preset }) })
}

/** One object whose later settings win, however either is written: both become paths. */
function layered(...layers: object[]): PartialConfig {
  const paths = (value: object, prefix = ''): [string, unknown][] =>
    Object.entries(value).flatMap(([key, x]): [string, unknown][] =>
      typeof x === 'object' && x !== null && !Array.isArray(x) && Object.keys(x).length
        ? paths(x, `${prefix}${key}.`)
        : [[prefix + key, x]],
    )
  return Object.fromEntries(layers.flatMap((layer) => paths(layer))) as PartialConfig
}

async function readConfig(file: string): Promise<object> {
  const text = await readFile(file, 'utf8')
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed
    throw new Error('it is not an object')
  } catch (cause) {
    throw new UserError(`${file}: not a configuration: ${(cause as Error).message}`, {
      fix: 'write one with `diptych config > config.json`',
      cause,
    })
  }
}
