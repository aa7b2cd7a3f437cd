/** What the commands that train have in common: their options, and what they refuse. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type AdapterKind, type Device, describeAdapter } from '../../engine/index.ts'
import type { VideoEntry } from '../data/types.ts'
import type { TrainOptions } from '../train.ts'
import { type ConfigFlags, withConfigOptions } from './configuration.ts'
import { UserError } from './errors.ts'
import { adapterOption, wholeNumber } from './options.ts'
import { createProgress } from './progress.ts'

export interface TrainingFlags extends ConfigFlags {
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

export const withTrainingOptions = (command: Command): Command =>
  withConfigOptions(command)
    .option('--cache <folder>', 'where the crops are kept', join('out', 'cache'))
    .option('--init <weights>', "a ViT's weights in timm's names: safetensors, an index of pieces, or their folder")
    .option('--keep-temporal', "with --init: keep the temporal blocks' projections instead of zeroing them")
    .option('--resume', 'go on from the state in --out')
    .option('--seed <n>', 'everything drawn follows from it', wholeNumber(0), 1)
    .option('--every <n>', 'frames between two looks of the detector; 0: by the length of the video', wholeNumber(0), 0)
    .option('--min-face <pixels>', 'smaller faces are not used', wholeNumber(0), 64)
    .addOption(adapterOption())

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

/** Videos of a manifest that has every split. @throws UserError where it lacks one, or --init names nothing */
export async function readTrainingManifest(manifest: string, { init }: TrainingFlags): Promise<VideoEntry[]> {
  const { readManifest } = await import('../data/index.ts')
  const entries = await readManifest(manifest)
  for (const split of ['train', 'val', 'test'] as const)
    if (!entries.some((entry) => entry.split === split))
      throw new UserError(`${manifest}: it lists no video of the split ${split}`, {
        fix:
          split === 'val'
            ? 'scan with --hold-out, which moves a tenth of the training identities there'
            : 'scan a data set that has one',
      })
  if (init !== undefined && !(await exists(init)))
    throw new UserError(`${init}: there are no weights of that name`, { fix: 'check --init' })
  return entries
}

/** @throws UserError where `path` is there and the run is not to go on */
export async function refuseOldRun(path: string, { out, resume }: TrainingFlags): Promise<void> {
  if (!resume && (await exists(path)))
    throw new UserError(`${out}: there is a run already`, { fix: 'go on with --resume, or give another --out' })
}

/** The flags as options of `trainOnManifest`, without the configuration. */
export const trainOptions = (
  flags: TrainingFlags,
  device: Device,
  signal: AbortSignal,
  title: string,
): Omit<TrainOptions, 'config'> => ({
  ...{ signal, title, seed: flags.seed, out: flags.out, cache: flags.cache },
  say: (line) => void process.stdout.write(`${line}\n`),
  settings: { every: flags.every, minFace: flags.minFace },
  resume: !!flags.resume,
  ...(flags.init !== undefined && { init: flags.init }),
  keepTemporalProjections: !!flags.keepTemporal,
  adapter: describeAdapter(device.adapter),
  progress: (label, total, unit) => createProgress({ label, total, unit }),
})
