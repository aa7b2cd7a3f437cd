/** `diptych scan`: a data set as its owners publish it → a manifest and a table of counts. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { EXIT, UserError } from '../errors.ts'
import { type Action, interruptible, jsonOption, wholeNumber } from '../options.ts'
import { createProgress, type Progress } from '../progress.ts'

interface ScanFlags {
  out: string
  compression?: string[]
  method?: string[]
  splits?: string
  realRoot?: string
  subset?: string
  seed: number
  holdOut?: boolean
  hash?: boolean
  json?: boolean
}

export const scanCommand: Action = (program, setExit) => {
  program
    .command('scan')
    .description('read a data set and write its manifest')
    .argument('<data set>', 'ff++, cdf, dfdc, dfdc-p, wdf, dfr or folder')
    .argument('<root>', 'its folder')
    .option('--out <file>', 'the manifest', 'manifest.jsonl')
    .option('--compression <names...>', 'ff++: only these')
    .option('--method <names...>', 'only these forgeries; reals are kept')
    .option('--splits <folder>', 'split files, where they do not lie with the data')
    .option('--real-root <folder>', 'dfr: root of FaceForensics++, whose c23 targets are its reals')
    .option('--subset <file>', 'dfdc: a list of file names, one a line; the report names the file')
    .option('--seed <n>', 'of the split, where the owners publish none', wholeNumber(0), 0)
    .option('--hold-out', 'move a tenth of the training identities to validation (cdf, dfdc, wdf publish none)')
    .option('--hash', 'read every file and note its sha256')
    .addOption(jsonOption())
    .action(async (name: string, root: string, flags: ScanFlags) => {
      const { holdOutValidation, scanDataset, summarise, dataset, writeManifest } = await import('../../data/index.ts')
      let progress: Progress | undefined
      const scan = await interruptible('run the same command again', async (signal) => {
        const { hashVideo } = await import('../../preprocess/source.ts')
        return scanDataset(name, root, {
          compressions: flags.compression,
          methods: flags.method,
          splitsFolder: flags.splits,
          realRoot: flags.realRoot,
          seed: flags.seed,
          ...(flags.subset && { subset: await readSubset(flags.subset) }),
          ...(flags.hash && {
            probe: async (path) => {
              signal.throwIfAborted()
              return path.includes('#') ? {} : { sha256: await hashVideo(path, signal) }
            },
          }),
          onProgress: (done, total) => {
            progress ??= createProgress({ label: 'scan', total, unit: 'video' })
            progress.update(done)
          },
        }).finally(() => {
          progress?.stop()
          signal.throwIfAborted()
        })
      })
      const entries = flags.holdOut ? holdOutValidation(scan.entries, flags.seed) : scan.entries
      if (entries.length === 0)
        throw new UserError(`${root}: no video of ${name} was found`, {
          fix: `expected layout: ${dataset(name).layout}`,
        })
      await writeManifest(flags.out, entries)
      const { unreadable, notes } = scan
      const summary = summarise(dataset(name).title, { entries, unreadable, notes })
      if (flags.json)
        process.stdout.write(
          `${JSON.stringify({ manifest: flags.out, entries: entries.length, unreadable, notes }, null, 2)}\n`,
        )
      else process.stdout.write(`${summary}\n\n${entries.length} videos listed in ${flags.out}\n`)
      setExit(unreadable.length > 0 ? EXIT.partial : EXIT.ok)
    })
}

async function readSubset(file: string): Promise<{ name: string; files: string[] }> {
  const files = (await readFile(file, 'utf8')).split(/\r?\n/).map((line) => line.trim())
  return { name: basename(file), files: files.filter((line) => line !== '' && !line.startsWith('#')) }
}
