/** `diptych prepare`: the face clips of every video of a manifest, cached. */
import { join } from 'node:path'
import { Option } from 'commander'
import type { AdapterKind } from '../../../engine/index.ts'
import type { PrepareFailure } from '../../preprocess/index.ts'
import { EXIT, UserError } from '../errors.ts'
import { type Action, adapterOption, interruptible, jsonOption, wholeNumber, withDevice } from '../options.ts'
import { createProgress } from '../progress.ts'

interface PrepareFlags {
  cache: string
  size: number
  every: number
  minFace: number
  split?: string[]
  adapter: AdapterKind
  json?: boolean
}

export const prepareCommand: Action = (program, setExit) => {
  program
    .command('prepare')
    .description('detect, follow and crop the faces of every video of a manifest; goes on where it was')
    .argument('<manifest>', 'as `diptych scan` writes it')
    .option('--cache <folder>', 'where the crops are kept', join('out', 'cache'))
    .option('--size <pixels>', 'side of the crops: M of the model (base 224, micro 64, tiny 32)', wholeNumber(8), 224)
    .option('--every <n>', 'frames between two looks of the detector; 0: by the length of the video', wholeNumber(0), 0)
    .option('--min-face <pixels>', 'smaller faces are not judged', wholeNumber(0), 64)
    .addOption(new Option('--split <names...>', 'only these').choices(['train', 'val', 'test']))
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async (manifest: string, flags: PrepareFlags) => {
      const { readManifest } = await import('../../data/index.ts')
      const { prepareDataset } = await import('../../preprocess/index.ts')
      const all = await readManifest(manifest)
      const entries = flags.split ? all.filter(({ split }) => split && flags.split!.includes(split)) : all
      if (entries.length === 0) throw new UserError(`${manifest}: it lists no video of the splits asked for`)
      const progress = createProgress({ label: 'prepare', total: entries.length, unit: 'video' })
      const { size, every, minFace, cache: cacheDir } = flags
      const prepared = await interruptible('run the same command again: it goes on where it was', (signal) =>
        withDevice(flags.adapter, async () =>
          prepareDataset(
            entries,
            { size, every, minFace },
            {
              cacheDir,
              signal,
              network: async () => (await import('../../faces/engine.ts')).openFaces(),
              onProgress: ({ done, failure }) => {
                if (failure) progress.log(describe(failure))
                progress.update(done)
              },
            },
          ),
        ),
      ).finally(() => progress.stop())
      const { videos, failures, cached } = prepared
      const clips = videos.reduce((sum, video) => sum + video.clips, 0)
      if (flags.json)
        process.stdout.write(
          `${JSON.stringify({ cache: cacheDir, videos: videos.length, clips, cached, failures }, null, 2)}\n`,
        )
      else {
        const before = cached > 0 ? ` (${cached} of them before)` : ''
        process.stdout.write(`${videos.length} videos, ${clips} clips in ${cacheDir}${before}\n`)
        for (const [reason, count] of countReasons(failures)) process.stdout.write(`not usable: ${count} × ${reason}\n`)
      }
      setExit(failures.length > 0 ? EXIT.partial : EXIT.ok)
    })
}

/** A video that cannot be read has its path in the message already. */
const describe = ({ path, reason, message, inconclusive }: PrepareFailure): string =>
  inconclusive ? `${path}: ${reason}: ${message}` : message

function countReasons(failures: PrepareFailure[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { reason } of failures) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return counts
}
