/** `diptych tune`: measures which kernel variants are fastest on this machine for the shapes of a preset, and keeps the winners. */
import { writeFile } from 'node:fs/promises'
import { Option } from 'commander'
import type { PresetName } from '../../../dip/index.ts'
import type { AdapterKind } from '../../../engine/index.ts'
import type { TuningPart } from '../../tune.ts'
import { type Action, adapterOption, decimal, interruptible, jsonOption, wholeNumber, withDevice } from '../options.ts'
import { createProgress, type Progress } from '../progress.ts'

interface TuneFlags {
  preset: PresetName
  clips?: number
  only?: TuningPart
  seconds: number
  force?: boolean
  export?: string
  json?: boolean
  adapter: AdapterKind
}

const presets: PresetName[] = ['tiny', 'micro', 'small', 'base']

export const tuneCommand: Action = (program) => {
  program
    .command('tune')
    .description('measure which kernels are fastest here for the shapes of a preset; later runs use the winners')
    .addOption(new Option('--preset <name>', 'whose shapes').choices(presets).default('tiny'))
    .option('--clips <n>', "triplets in a training batch; default: the preset's", wholeNumber(1))
    .addOption(new Option('--only <part>', 'one part of the work').choices(['score', 'train']))
    .option('--seconds <n>', 'begin no new measurement after so many', decimal(1), 300)
    .option('--force', 'measure again what is known')
    .option('--export <file>', 'write all that is known as JSON, to be imported elsewhere')
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async (flags: TuneFlags) => {
      const { formatTuning, tunePreset } = await import('../../tune.ts')
      const { describeAdapter } = await import('../../../engine/index.ts')
      await interruptible('run it again: what was measured is kept', (signal) =>
        withDevice(flags.adapter, async (device) => {
          let bar: Progress | undefined
          let label = ''
          const reports = await tunePreset(device, {
            preset: flags.preset,
            ...(flags.clips ? { clips: flags.clips } : {}),
            ...(flags.only ? { parts: [flags.only] } : {}),
            seconds: flags.seconds,
            force: !!flags.force,
            signal,
            onPart: (part) => {
              bar?.stop()
              bar = undefined
              label = part
            },
            onProgress: (done, total, problem) => {
              bar ??= createProgress({ label, total, unit: 'problem' })
              bar.update(done, problem)
            },
          }).finally(() => bar?.stop())
          if (flags.export) await writeFile(flags.export, device.tuner.export())
          if (flags.json) return void process.stdout.write(`${JSON.stringify(reports, null, 2)}\n`)
          process.stdout.write(`\n${formatTuning(reports)}`)
          process.stdout.write(`Kept for ${describeAdapter(device.adapter)} in ${device.tuner.where}\n`)
          if (flags.export) process.stdout.write(`Exported to ${flags.export}\n`)
        }),
      )
    })
}
