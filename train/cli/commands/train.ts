/** `diptych train`: a manifest → a trained detector and a report. */
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { AdapterKind } from '../../../engine/index.ts'
import { type ConfigFlags, resolveConfig, withConfigOptions } from '../configuration.ts'
import { UserError } from '../errors.ts'
import { type Action, adapterOption, interruptible, wholeNumber, withDevice } from '../options.ts'
import { createProgress, formatDuration } from '../progress.ts'

interface TrainFlags extends ConfigFlags {
  out: string
  cache: string
  init?: string
  keepTemporal?: boolean
  resume?: boolean
  seed: number
  every: number
  minFace: number
  adapter: AdapterKind
}

export const trainCommand: Action = (program) => {
  withConfigOptions(
    program
      .command('train')
      .description('train a detector on a manifest: train, pick the epoch on val, measure on test')
      .argument('<manifest>', 'as `diptych scan` writes it')
      .requiredOption('--out <folder>', 'weights, state, configuration and report go there')
      .option('--cache <folder>', 'where the crops are kept', join('out', 'cache'))
      .option('--init <weights>', "a ViT's weights in timm's names: safetensors, an index of pieces, or their folder")
      .option('--keep-temporal', "with --init: keep the temporal blocks' projections instead of zeroing them")
      .option('--resume', 'go on from the state in --out')
      .option('--seed <n>', 'everything drawn follows from it', wholeNumber(0), 1)
      .option(
        '--every <n>',
        'frames between two looks of the detector; 0: by the length of the video',
        wholeNumber(0),
        0,
      )
      .option('--min-face <pixels>', 'smaller faces are not used', wholeNumber(0), 64),
  )
    .addOption(adapterOption())
    .action(async (manifest: string, flags: TrainFlags) => {
      const config = await resolveConfig(flags)
      const { readManifest } = await import('../../data/index.ts')
      const entries = await readManifest(manifest)
      for (const split of ['train', 'val', 'test'] as const)
        if (!entries.some((entry) => entry.split === split))
          throw new UserError(`${manifest}: it lists no video of the split ${split}`, {
            fix:
              split === 'val'
                ? 'scan with --hold-out, which moves a tenth of the training identities there'
                : 'scan a data set that has one',
          })
      if (flags.init !== undefined && !(await stat(flags.init).catch(() => undefined)))
        throw new UserError(`${flags.init}: there are no weights of that name`, { fix: 'check --init' })
      if (!flags.resume && (await stat(join(flags.out, 'state.safetensors')).catch(() => undefined)))
        throw new UserError(`${flags.out}: there is a run already`, {
          fix: 'go on with --resume, or give another --out',
        })
      const { trainOnManifest } = await import('../../train.ts')
      const { describeAdapter } = await import('../../../engine/index.ts')
      const say = (line: string) => void process.stdout.write(`${line}\n`)
      await mkdir(flags.out, { recursive: true })
      await writeFile(join(flags.out, 'config.json'), `${JSON.stringify(config, null, 2)}\n`)
      const began = performance.now()
      const { run, report } = await interruptible('go on with --resume', (signal) =>
        withDevice(flags.adapter, (device) =>
          trainOnManifest(entries, {
            ...{ config, signal, say, seed: flags.seed, out: flags.out, cache: flags.cache },
            settings: { every: flags.every, minFace: flags.minFace },
            resume: !!flags.resume,
            ...(flags.init !== undefined && { init: flags.init }),
            keepTemporalProjections: !!flags.keepTemporal,
            adapter: describeAdapter(device.adapter),
            title: `Training on ${basename(manifest)}`,
            progress: (label, total, unit) => createProgress({ label, total, unit }),
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
