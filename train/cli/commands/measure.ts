/** `diptych measure`: time, arithmetic and memory of a configuration on this device. */
import type { AdapterKind } from '../../../engine/index.ts'
import type { Measured } from '../../measure.ts'
import { type ConfigFlags, resolveConfig, withConfigOptions } from '../configuration.ts'
import { type Action, adapterOption, jsonOption, withDevice } from '../options.ts'
import { formatDuration } from '../progress.ts'

interface MeasureFlags extends ConfigFlags {
  train?: boolean
  adapter: AdapterKind
  json?: boolean
}

export const measureCommand: Action = (program) => {
  withConfigOptions(program.command('measure').description('time, arithmetic and memory of one clip through a model'))
    .option('--train', 'a training step of the clip rather than a forward pass')
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async (flags: MeasureFlags) => {
      const config = await resolveConfig(flags)
      const { measure } = await import('../../measure.ts')
      const measured = await withDevice(flags.adapter, (device) => measure(device, config, !!flags.train))
      const { T, M } = config
      const what = flags.train ? 'training step' : 'forward pass'
      process.stdout.write(
        flags.json
          ? `${JSON.stringify({ what, config, ...measured }, null, 2)}\n`
          : `${what} of one clip, ${T}×${M}×${M}\n${described(measured)}\n`,
      )
    })
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`

function described(m: Measured): string {
  return [
    ['parameters', `${(m.parameters / 1e6).toFixed(1)} million`],
    ['time', `${formatDuration(m.seconds)} (${formatDuration(m.firstSeconds)} the first time, with compiling)`],
    [
      'arithmetic',
      `${(m.flops / 1e9).toFixed(1)} GFLOP in ${m.launches} launches, ${(m.flops / 1e9 / m.seconds).toFixed(1)} GFLOP/s`,
    ],
    ['activations', `${mebibytes(m.activationBytes)} alive at once`],
    ['state', `${mebibytes(m.stateBytes)} of parameters and optimiser`],
    ['peak', `${mebibytes(m.peakBytes)} on the device`],
  ]
    .map(([name, value]) => `  ${name!.padEnd(12)}${value}`)
    .join('\n')
}
