/** `diptych measure`: time, arithmetic and memory of a configuration on this device. */
import type { AdapterKind } from '../../../engine/index.ts'
import type { Measured, Planned } from '../../measure.ts'
import { type ConfigFlags, resolveConfig, withConfigOptions } from '../configuration.ts'
import { type Action, adapterOption, jsonOption, wholeNumber, withDevice } from '../options.ts'
import { formatDuration } from '../progress.ts'

interface MeasureFlags extends ConfigFlags {
  train?: boolean
  plan?: boolean
  clips: number
  adapter: AdapterKind
  json?: boolean
}

export const measureCommand: Action = (program) => {
  withConfigOptions(program.command('measure').description('time, arithmetic and memory of clips through a model'))
    .option('--train', 'a training step rather than a forward pass')
    .option('--clips <n>', 'clips at once', wholeNumber(1), 1)
    .option('--plan', 'only plan: arithmetic and memory, without running')
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async ({ train = false, plan = false, clips, adapter, json, ...given }: MeasureFlags) => {
      const config = await resolveConfig(given)
      const { measure, planned } = await import('../../measure.ts')
      const run: typeof planned | typeof measure = plan ? planned : measure
      const result = await withDevice(adapter, (device) => run(device, config, { train, clips }))
      const { T, M } = config
      const what = train ? 'training step' : 'forward pass'
      const again = train && config.encoder.checkpoint ? ', blocks computed again in the backward pass' : ''
      process.stdout.write(
        json
          ? `${JSON.stringify({ what, clips, config, ...result }, null, 2)}\n`
          : `${what} of ${clips === 1 ? 'one clip' : `${clips} clips`}, ${T}×${M}×${M}${again}\n${described(result)}\n`,
      )
    })
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`

function described(m: Planned | Measured): string {
  const ran = 'seconds' in m ? m : undefined
  const rate = ran ? `, ${(m.flops / 1e9 / ran.seconds).toFixed(1)} GFLOP/s` : ''
  return [
    ['parameters', `${(m.parameters / 1e6).toFixed(1)} million`],
    ...(ran
      ? [
          [
            'time',
            `${formatDuration(ran.seconds)} (${formatDuration(ran.firstSeconds)} the first time, with compiling)`,
          ],
        ]
      : []),
    ['arithmetic', `${(m.flops / 1e9).toFixed(1)} GFLOP in ${m.launches} launches${rate}`],
    ['activations', `${mebibytes(m.activationBytes)} alive at once, gradients among them`],
    ['state', `${mebibytes(m.stateBytes)} of parameters and optimiser`],
    ...(ran ? [['peak', `${mebibytes(ran.peakBytes)} on the device`]] : []),
  ]
    .map(([name, value]) => `  ${name!.padEnd(12)}${value}`)
    .join('\n')
}
