/**
 * `npm start`: the whole path on a data set it makes itself: synth, scan, faces, training, test, report, and the verdict on one
 * test video. A rehearsal: it shows that everything works, and says nothing about real forgeries.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { AdapterKind } from '../../../engine/index.ts'
import { UserError } from '../errors.ts'
import { type Action, adapterOption, interruptible, wholeNumber, withDevice } from '../options.ts'
import { createProgress, formatDuration } from '../progress.ts'

interface DemoFlags {
  seed: number
  out: string
  epochs: number
  shuffleLabels?: boolean
  adapter: AdapterKind
}

/** People and the forgeries of them that the demo renders. Traces are drawn strongly: the model is small, the time short. */
const data = { identities: 56, framesPerVideo: 32, size: 128, strength: 2.5, methods: 4 }

export const demoCommand: Action = (program) => {
  program
    .command('demo', { isDefault: false })
    .description('make a small data set, train and test on it, score a video (what `npm start` runs)')
    .option('--seed <n>', 'everything follows from it', wholeNumber(0), 1)
    .option('--out <folder>', 'where all of it goes', 'out/demo')
    .option('--epochs <n>', 'epochs of training', wholeNumber(1), 11)
    .option('--shuffle-labels', 'control experiment: train and test on shuffled labels; nothing may be learnt')
    .addOption(adapterOption())
    .action(async (flags: DemoFlags) => {
      await interruptible('run `npm start` again; what is done is kept', (signal) =>
        withDevice(flags.adapter, async (device) => {
          const { runDemo } = await import('../../demo.ts')
          const { describeAdapter } = await import('../../../engine/index.ts')
          const began = performance.now()
          const say = (line: string) => process.stdout.write(`${line}\n`)
          const shown = (path: string) => relative(process.cwd(), path) || path
          await mkdir(flags.out, { recursive: true }).catch((cause: unknown) => {
            throw new UserError(`${flags.out} cannot be made`, { fix: 'give another --out', cause })
          })
          const result = await runDemo({
            ...data,
            seed: flags.seed,
            out: flags.out,
            epochs: flags.epochs,
            shuffleLabels: !!flags.shuffleLabels,
            adapter: describeAdapter(device.adapter),
            signal,
            say,
            progress: (label, total, unit) => createProgress({ label, total, unit }),
          })
          const report = join(flags.out, 'report.html')
          await writeFile(report, result.report)
          say('')
          say(result.verdict)
          say('')
          say(
            `test video AUC ${result.auc.toFixed(3)}${flags.shuffleLabels ? ' (labels shuffled: 0.5 is what chance gives)' : ''}`,
          )
          say(`report:  ${shown(report)}`)
          say(`weights: ${shown(result.detector)}`)
          say(`done in ${formatDuration((performance.now() - began) / 1000)}`)
        }),
      )
    })
}
