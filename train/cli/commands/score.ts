/** `diptych score`: a video or a folder of videos → verdicts. */
import { stat, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { AdapterKind } from '../../../engine/index.ts'
import type { FaceNetwork } from '../../faces/index.ts'
import type { PrepareSettings } from '../../preprocess/index.ts'
import type { Detector } from '../../score/index.ts'
import { findCheckpoint } from '../checkpoint.ts'
import { EXIT, UserError } from '../errors.ts'
import { type Action, adapterOption, interruptible, jsonOption, wholeNumber, withDevice } from '../options.ts'
import { createProgress } from '../progress.ts'
import { rowText, verdictText } from '../verdict.ts'

export interface ScoreFlags {
  checkpoint?: string
  json?: boolean
  report?: string
  resume?: boolean
  out?: string
  cache?: string
  every: number
  minFace: number
  adapter: AdapterKind
}

/** What the command takes from outside; a test brings its own. */
export interface ScoreHost {
  openDetector(checkpoint: string): Promise<Detector>
  network(): Promise<FaceNetwork>
  write(text: string): void
  note(text: string): void
  signal: AbortSignal
  /** Stands in the report. */
  adapter?: string
}

export const scoreCommand: Action = (program, setExit) => {
  program
    .command('score')
    .description('score a video, or every video of a folder')
    .argument('<video|folder>', 'a video file, a folder of its frames as images, or a folder of videos')
    .option('--checkpoint <file>', 'weights; default: the newest that `npm start` made')
    .option('--report <file>', 'write an HTML report of the video')
    .option('--resume', 'folder: keep the rows of an earlier run')
    .option('--out <folder>', 'folder: where scores.csv and scores.jsonl go (default: out/scores/<name of the folder>)')
    .option('--cache <folder>', 'keep the face crops here, for the next time')
    .option('--every <n>', 'frames between two looks of the detector; 0: by the length of the video', wholeNumber(0), 0)
    .option('--min-face <pixels>', 'smaller faces are not judged', wholeNumber(0), 64)
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async (path: string, flags: ScoreFlags) => {
      await inputExists(path)
      const checkpoint = await findCheckpoint(flags.checkpoint, (line) => process.stderr.write(`${line}\n`))
      const { describeAdapter } = await import('../../../engine/index.ts')
      const code = await interruptible('for a folder, go on with --resume', (signal) =>
        withDevice(flags.adapter, async (device) =>
          runScore(path, checkpoint, flags, {
            openDetector: await detectorOpener(),
            network: async () => (await import('../../faces/engine.ts')).openFaces(),
            write: (text) => process.stdout.write(text),
            note: (text) => process.stderr.write(text),
            signal,
            adapter: describeAdapter(device.adapter),
          }),
        ),
      )
      setExit(code)
    })
}

async function detectorOpener(): Promise<ScoreHost['openDetector']> {
  return (await import('../../detector.ts')).openDetector
}

/** Scores `path` and writes the answer. @returns the exit code. @throws VideoError, UserError */
export async function runScore(path: string, checkpoint: string, flags: ScoreFlags, host: ScoreHost): Promise<number> {
  await inputExists(path)
  const detector = await host.openDetector(checkpoint)
  const settings = { size: detector.config.M, every: flags.every, minFace: flags.minFace }
  return (await holdsVideos(path))
    ? scoreMany(path, detector, settings, flags, host)
    : scoreOne(path, checkpoint, detector, settings, flags, host)
}

/** A first look, before weights are loaded and a device is opened. */
async function inputExists(path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined)
  if (!info) throw new UserError(`${path}: there is no such file or folder`, { fix: 'check the path' })
  if (info.isFile() && info.size === 0)
    throw new UserError(`${path}: the file is empty`, { fix: 'copy or download it again' })
}

/** Whether a folder is one of videos; a folder of images alone is one video. @throws UserError where it is neither */
async function holdsVideos(path: string): Promise<boolean> {
  if (!(await stat(path)).isDirectory()) return false
  const [{ listVideos }, { listImages }] = await Promise.all([
    import('../../score/index.ts'),
    import('../../video/index.ts'),
  ])
  if ((await listVideos(path)).videos.length > 0) return true
  if ((await listImages(path)).length > 0) return false
  throw new UserError(`${path}: the folder holds no video and no images`, {
    fix: 'give a folder of mp4, mov, avi, mkv or webm files',
  })
}

async function scoreOne(
  path: string,
  checkpoint: string,
  detector: Detector,
  settings: Partial<PrepareSettings>,
  { json, report, cache, resume, out }: ScoreFlags,
  { network, signal, write, note, adapter }: ScoreHost,
): Promise<number> {
  if (resume || out) throw new UserError('--resume and --out are for folders', { fix: 'leave them out for one video' })
  const { scoreVideo, verdictReport } = await import('../../score/index.ts')
  const { prepareEach } = await import('../../preprocess/index.ts')
  for await (const { video, error } of prepareEach([{ path }], settings, { cacheDir: cache, network, signal })) {
    if (error) throw new UserError(error.message, { cause: error })
    const verdict = await scoreVideo(video, detector)
    if (json) write(`${JSON.stringify({ ...verdict, checkpoint }, null, 2)}\n`)
    else write(verdictText(verdict, checkpoint))
    if (report) {
      const provenance = { weights: checkpoint, ...(adapter && { adapter }) }
      await writeFile(report, await verdictReport(verdict, video, detector, provenance))
      note(`report: ${report}\n`)
    }
  }
  return EXIT.ok
}

async function scoreMany(
  path: string,
  detector: Detector,
  settings: Partial<PrepareSettings>,
  { json, report, cache, resume, out }: ScoreFlags,
  { network, signal, write, note }: ScoreHost,
): Promise<number> {
  if (report) throw new UserError('--report is for one video', { fix: 'score the video on its own' })
  const { listVideos, scoreFolder } = await import('../../score/index.ts')
  const outDir = out ?? join('out', 'scores', basename(resolve(path)))
  const progress = createProgress({ label: 'score', total: (await listVideos(path)).videos.length, unit: 'video' })
  const scored = await scoreFolder(path, detector, {
    outDir,
    settings,
    resume,
    cacheDir: cache,
    network,
    signal,
    onRow(row, { done, resumed }) {
      if (json) write(`${JSON.stringify(row)}\n`)
      else if (!resumed) write(rowText(row))
      progress.update(done)
    },
  }).finally(() => progress.stop())
  const errors = scored.rows.filter(({ status }) => status === 'error').length
  const notes = [
    ...(scored.resumed > 0 ? [`${counted(scored.resumed, 'row')} kept from an earlier run`] : []),
    ...(errors > 0 ? [`${errors} of ${scored.rows.length} videos could not be scored; their rows say why`] : []),
    ...(scored.others > 0 ? [`${counted(scored.others, 'other file')} not looked at: no video by name`] : []),
    `rows: ${scored.csv} and ${scored.jsonLines}`,
  ]
  note(`${notes.join('\n')}\n`)
  return errors > 0 ? EXIT.partial : EXIT.ok
}

const counted = (n: number, unit: string) => `${n} ${unit}${n === 1 ? '' : 's'}`
