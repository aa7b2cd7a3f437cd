/** `diptych ablate`: the settings of an ablation table, trained and tested one after the other, and the table. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Argument } from 'commander'
import type { AdapterKind } from '../../../engine/index.ts'
import { type AblationName, ablationNames, ablations } from '../../ablations.ts'
import { type ConfigFlags, resolveConfig, withConfigOptions } from '../configuration.ts'
import { type Action, adapterOption, interruptible, wholeNumber, withDevice } from '../options.ts'
import { createProgress } from '../progress.ts'

interface AblateFlags extends ConfigFlags {
  out: string
  cache: string
  resume?: boolean
  seed: number
  every: number
  minFace: number
  adapter: AdapterKind
}

export const ablateCommand: Action = (program) => {
  withConfigOptions(
    program
      .command('ablate')
      .description("train and test the settings of one of the paper's Tables IV to VIII, and write the table")
      .addArgument(new Argument('<table>', 'IV to VIII, in this order').choices(ablationNames))
      .argument('<manifest>', 'as `diptych scan` writes it')
      .requiredOption('--out <folder>', 'a folder a setting goes there, and table.csv')
      .option('--cache <folder>', 'where the crops are kept', join('out', 'cache'))
      .option('--resume', 'go on with an interrupted table')
      .option('--seed <n>', 'everything drawn follows from it, in every row', wholeNumber(0), 1)
      .option('--every <n>', 'frames between two looks of the detector; 0: by the length', wholeNumber(0), 0)
      .option('--min-face <pixels>', 'smaller faces are not used', wholeNumber(0), 64),
  )
    .addOption(adapterOption())
    .action(async (table: AblationName, manifest: string, flags: AblateFlags) => {
      const rows = ablations(table, await resolveConfig(flags))
      const { csvCell, readManifest } = await import('../../data/index.ts')
      const entries = (await readManifest(manifest)).filter(({ split }) => split !== null)
      const { isRehearsal, prepareVideos } = await import('../../train.ts')
      const { trainRun } = await import('../../training/run.ts')
      const say = (line: string) => void process.stdout.write(`${line}\n`)
      await mkdir(flags.out, { recursive: true })
      const lines = [['setting', 'video AUC', 'clip AUC', 'video ACC at 0.5', 'best epoch', 'seconds']]
      const file = join(flags.out, 'table.csv')
      await interruptible('go on with --resume', (signal) =>
        withDevice(flags.adapter, async () => {
          const progress = (label: string, total: number, unit: string) => createProgress({ label, total, unit })
          const rehearsal = await isRehearsal(entries)
          if (rehearsal) say('a rehearsal on rendered videos: no number here is evidence about real deepfakes')
          const { cache, seed, every, minFace } = flags
          const settings = { every, minFace }
          const { videos } = await prepareVideos(entries, rows[0]!.config, { cache, settings, signal, say, progress })
          for (const [i, { label, config }] of rows.entries()) {
            const bar = { current: undefined as ReturnType<typeof progress> | undefined }
            const run = await trainRun(entries, videos, {
              ...{ config, seed, rehearsal, signal, resume: !!flags.resume },
              out: join(flags.out, `${i + 1} ${label.replace(/[^\w. -]+/g, '-')}`),
              onStep: (done, total, note) => {
                bar.current ??= progress(label, total, 'step')
                bar.current.update(done, note)
              },
            }).finally(() => bar.current?.stop())
            const { video, clip } = run.test.rows[0]!
            const shown = ({ value }: { value?: number }) => value?.toFixed(4) ?? ''
            lines.push([
              ...[label, shown(video.auc), shown(clip.auc), shown(video.accuracy)],
              ...[String(run.bestEpoch), run.seconds.toFixed(0)],
            ])
            // After every row: an interrupted table is a table of what is done.
            await writeFile(file, lines.map((cells) => `${cells.map(csvCell).join(',')}\n`).join(''))
            say(lines.at(-1)!.join('  '))
          }
        }),
      )
      say(`table: ${file}`)
    })
}
