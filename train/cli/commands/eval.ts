/** `diptych eval`: every metric of given weights on a split of a manifest. */
import { join } from 'node:path'
import { Option } from 'commander'
import type { AdapterKind } from '../../../engine/index.ts'
import type { Split } from '../../data/index.ts'
import { findCheckpoint } from '../checkpoint.ts'
import { EXIT, UserError } from '../errors.ts'
import { type Action, adapterOption, interruptible, jsonOption, wholeNumber, withDevice } from '../options.ts'
import { createProgress } from '../progress.ts'

interface EvalFlags {
  checkpoint?: string
  split: Split
  cache: string
  every: number
  minFace: number
  seed: number
  adapter: AdapterKind
  json?: boolean
}

export const evalCommand: Action = (program, setExit) => {
  program
    .command('eval')
    .description(
      'measure weights on a manifest: AUC, accuracy, EER, AP of videos and clips, per method, with 95 % intervals',
    )
    .argument('<manifest>', 'as `diptych scan` writes it')
    .option('--checkpoint <file>', 'weights; default: the newest that `npm start` made')
    .addOption(new Option('--split <name>', 'what to measure on').choices(['train', 'val', 'test']).default('test'))
    .option('--cache <folder>', 'where the crops are kept', join('out', 'cache'))
    .option('--every <n>', 'frames between two looks of the detector; 0: by the length of the video', wholeNumber(0), 0)
    .option('--min-face <pixels>', 'smaller faces are not judged', wholeNumber(0), 64)
    .option('--seed <n>', 'of the bootstrap', wholeNumber(0), 1)
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async (manifest: string, flags: EvalFlags) => {
      const { readManifest } = await import('../../data/index.ts')
      const entries = (await readManifest(manifest)).filter(({ split }) => split === flags.split)
      if (entries.length === 0) throw new UserError(`${manifest}: it lists no video of the split ${flags.split}`)
      const note = (line: string) => void process.stderr.write(`${line}\n`)
      const checkpoint = await findCheckpoint(flags.checkpoint, note)
      const { evaluateOnManifest } = await import('../../evaluate.ts')
      const { evaluationTable } = await import('../../metrics/index.ts')
      const { evaluation, failures } = await interruptible('run the same command again', (signal) =>
        withDevice(flags.adapter, () =>
          evaluateOnManifest(entries, checkpoint, {
            ...{ cache: flags.cache, seed: flags.seed, signal, say: note },
            settings: { every: flags.every, minFace: flags.minFace },
            progress: (label, total, unit) => createProgress({ label, total, unit }),
          }),
        ),
      )
      const { rows, byAggregation, threshold } = evaluation
      if (flags.json)
        process.stdout.write(
          `${JSON.stringify({ manifest, checkpoint, split: flags.split, rows, byAggregation, threshold, failures }, null, 2)}\n`,
        )
      else {
        process.stdout.write(`${evaluationTable(evaluation)}\n`)
        if (failures.length)
          process.stdout.write(`${failures.length} videos could not be judged and are in no number\n`)
      }
      setExit(failures.length > 0 ? EXIT.partial : EXIT.ok)
    })
}
