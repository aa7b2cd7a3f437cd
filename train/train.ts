/** Training on a manifest: prepare what is not prepared, train, test, report; `diptych train` shows it. */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type DipConfig, formatVitReport, loadVit } from '../dip/index.ts'
import { currentDevice } from '../engine/index.ts'
import type { Progress } from './cli/progress.ts'
import { summarise, type VideoEntry } from './data/index.ts'
import { openFaces } from './faces/engine.ts'
import { type PrepareFailure, type PrepareSettings, prepareDataset } from './preprocess/index.ts'
import { trainingReport } from './report/index.ts'
import { saliencyStrips } from './strips.ts'
import { LoadedVideos } from './training/dataset.ts'
import { type RunResult, trainRun } from './training/run.ts'
import { readWeights } from './weights.ts'

/** How long work tells of itself. */
export interface Shown {
  readonly signal: AbortSignal
  say(line: string): void
  progress(label: string, total: number, unit: string): Progress
}

export interface TrainOptions extends Shown {
  readonly config: DipConfig
  readonly seed: number
  readonly out: string
  readonly cache: string
  readonly settings: Partial<PrepareSettings>
  readonly resume: boolean
  /** A ViT's weights: a file, an index of pieces, or a folder. */
  readonly init?: string
  readonly keepTemporalProjections: boolean
  /** Stands in the report. */
  readonly adapter: string
  readonly title: string
}

/** The face clips of these videos; what cannot be used is said and listed. */
export async function prepareVideos(
  entries: readonly VideoEntry[],
  config: Pick<DipConfig, 'T' | 'M'>,
  { cache, settings, signal, say, progress }: Shown & Pick<TrainOptions, 'cache' | 'settings'>,
): Promise<{ videos: LoadedVideos; failures: PrepareFailure[] }> {
  const bar = progress('faces', entries.length, 'video')
  const prepared = await prepareDataset(
    [...entries],
    { ...settings, size: config.M },
    {
      cacheDir: cache,
      network: openFaces,
      signal,
      onProgress: ({ done }) => bar.update(done),
    },
  ).finally(() => bar.stop())
  for (const { path, message } of prepared.failures) say(`left out: ${path}: ${message}`)
  return { videos: new LoadedVideos(prepared.videos, config.T), failures: prepared.failures }
}

/** Whether any of the videos lies in a data set that `diptych synth` made. */
export async function isRehearsal(entries: readonly VideoEntry[]): Promise<boolean> {
  const folders = new Set<string>()
  for (const { path } of entries)
    for (let at = dirname(path), up = 0; up < 6 && at !== dirname(at); at = dirname(at), up++) folders.add(at)
  const found = await Promise.all(
    [...folders].map((folder) =>
      stat(join(folder, 'synth.json')).then(
        () => true,
        () => false,
      ),
    ),
  )
  return found.includes(true)
}

/** Trains on the split train, picks the epoch on val, measures on test. @returns the run, and the HTML of its report */
export async function trainOnManifest(
  entries: readonly VideoEntry[],
  options: TrainOptions,
): Promise<{ run: RunResult; report: string }> {
  const { config, seed, out, init, say, signal } = options
  const used = entries.filter(({ split }) => split !== null)
  const { videos, failures } = await prepareVideos(used, config, options)
  const rehearsal = await isRehearsal(used)
  const notes: string[] = []
  let bar: Progress | undefined
  const run = await trainRun(used, videos, {
    ...{ config, seed, out, rehearsal, signal, resume: options.resume },
    initialise: async (trainer) => {
      if (init === undefined) return
      const { keepTemporalProjections } = options
      const loaded = await loadVit(trainer.student, await readWeights(init), { file: init, keepTemporalProjections })
      trainer.copyToTeacher()
      const { used: taken, missing, leftOver } = loaded
      notes.push(
        `Initial weights of ${init}: ${taken.length} tensors used, ${missing.length} missing, ${leftOver.length} left over.`,
      )
      say(`weights of ${init}\n${formatVitReport(loaded)}`)
    },
    onStep: (done, total, note) => {
      bar ??= options.progress('train', total, 'step')
      bar.update(done, note)
    },
    onEpoch: (line) => (bar ? bar.log(line) : say(line)),
  }).finally(() => bar?.stop())
  if (failures.length) notes.push(`${failures.length} videos could not be used.`)
  const report = await trainingReport({
    title: options.title,
    synthetic: rehearsal,
    config: config as unknown as Record<string, unknown>,
    dataSummary: summarise('videos', {
      entries: used,
      unreadable: failures.map(({ path, message }) => ({ path, reason: message })),
      notes: [],
    }),
    history: run.history,
    validation: run.validation,
    bestEpoch: run.bestEpoch,
    evaluations: [{ name: 'test', evaluation: run.test }],
    calibration: run.calibration,
    durationSeconds: run.seconds,
    steps: run.steps,
    strips: await saliencyStrips(used, videos, run.detector, config),
    provenance: {
      ...{ adapter: options.adapter, seed, node: process.version },
      'configuration sha256': createHash('sha256').update(JSON.stringify(config)).digest('hex'),
    },
    notes,
  })
  await currentDevice().settled()
  return { run, report }
}
