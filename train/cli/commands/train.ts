/** `diptych train`: a manifest → a trained detector and a report. */
import { mkdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { resolveConfig } from '../configuration.ts'
import { type Action, interruptible, withDevice } from '../options.ts'
import { formatDuration } from '../progress.ts'
import {
  readTrainingManifest,
  refuseOldRun,
  type TrainingFlags,
  trainOptions,
  withTrainingOptions,
} from '../training.ts'

export const trainCommand: Action = (program) => {
  withTrainingOptions(
    program
      .command('train')
      .description('train a detector on a manifest: train, pick the epoch on val, measure on test')
      .argument('<manifest>', 'as `diptych scan` writes it')
      .requiredOption('--out <folder>', 'weights, state, configuration and report go there'),
  ).action(async (manifest: string, flags: TrainingFlags) => {
    const config = await resolveConfig(flags)
    const entries = await readTrainingManifest(manifest, flags)
    await refuseOldRun(join(flags.out, 'state.safetensors'), flags)
    const { trainOnManifest } = await import('../../train.ts')
    const say = (line: string) => void process.stdout.write(`${line}\n`)
    await mkdir(flags.out, { recursive: true })
    await writeFile(join(flags.out, 'config.json'), `${JSON.stringify(config, null, 2)}\n`)
    const began = performance.now()
    const { run, report } = await interruptible('go on with --resume', (signal) =>
      withDevice(flags.adapter, (device) =>
        trainOnManifest(entries, {
          ...trainOptions(flags, device, signal, `Training on ${basename(manifest)}`),
          config,
        }),
      ),
    )
    await writeFile(join(flags.out, 'report.html'), report)
    const { evaluationTable } = await import('../../metrics/index.ts')
    say(`test, epoch ${run.bestEpoch}\n${evaluationTable(run.test)}`)
    say(`weights: ${run.detector}\nreport:  ${join(flags.out, 'report.html')}`)
    say(`done in ${formatDuration((performance.now() - began) / 1000)}`)
  })
}
