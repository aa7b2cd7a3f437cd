/** `diptych config`: the configuration that a command would use, as JSON that `--config` takes, or explained. */
import { configKeys, type DipConfig } from '../../../dip/index.ts'
import { type ConfigFlags, resolveConfig, withConfigOptions } from '../configuration.ts'
import type { Action } from '../options.ts'

export const configCommand: Action = (program) => {
  withConfigOptions(program.command('config').description('print a configuration: JSON for --config'))
    .option('--describe', 'a line a setting, with its meaning')
    .action(async (flags: ConfigFlags & { describe?: boolean }) => {
      const config = await resolveConfig(flags)
      const text = flags.describe ? described(config) : JSON.stringify(config, null, 2)
      process.stdout.write(`${text}\n`)
    })
}

function described(config: DipConfig): string {
  const valueAt = (path: string) =>
    path.split('.').reduce<unknown>((x, key) => (x as Record<string, unknown>)[key], config)
  const rows = [...configKeys].map(([path, meaning]) => [path, JSON.stringify(valueAt(path)), meaning] as const)
  const [names, values] = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]!.length))) as [number, number]
  return rows
    .map(([path, value, meaning]) => `${path.padEnd(names)}  ${value.padEnd(values)}  ${meaning}`.trimEnd())
    .join('\n')
}
