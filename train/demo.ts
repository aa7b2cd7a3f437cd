/** The main job on made-up data, from rendering videos to a verdict; `diptych demo` shows it. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { makeConfig } from '../dip/index.ts'
import { currentDevice } from '../engine/index.ts'
import type { Progress } from './cli/progress.ts'
import { verdictText } from './cli/verdict.ts'
import { scanDataset, shuffleLabels, type VideoEntry, videoKey, writeManifest } from './data/index.ts'
import { openDetector } from './detector.ts'
import { openFaces } from './faces/engine.ts'
import { prepareDataset, prepareEach } from './preprocess/index.ts'
import { trainingReport } from './report/index.ts'
import { scoreVideo } from './score/index.ts'
import { firstFake, saliencyStrips } from './strips.ts'
import { synthesize } from './synth/index.ts'
import { LoadedVideos } from './training/dataset.ts'
import { trainRun } from './training/run.ts'

export interface DemoOptions {
  readonly identities: number
  readonly framesPerVideo: number
  readonly size: number
  readonly strength: number
  /** Forgeries of each identity, for the progress bar. */
  readonly methods: number
  readonly seed: number
  readonly out: string
  readonly epochs: number
  readonly shuffleLabels: boolean
  readonly adapter: string
  readonly signal: AbortSignal
  say(line: string): void
  progress(label: string, total: number, unit: string): Progress
}

export interface DemoResult {
  readonly auc: number
  readonly report: string
  readonly verdict: string
  readonly detector: string
}

/** Some of the rendered faces are under 64 pixels; the crops are 32, so nothing is lost. */
const minFace = 32

/** Frames between two looks of the face detector: the first and the last of 32, for the heads move slowly. */
const every = 31

/** Narrow, so it starts from wider weights and learns faster than the base model; see README. */
export const demoConfig = (epochs: number) =>
  makeConfig({
    preset: 'tiny',
    init_std: 0.08,
    alpha: 0.98,
    optim: { lr: 1.5e-3, weight_decay: 0.05, warmup: 0.05, epochs, batch: 8 },
  })

export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { out, seed, signal, say } = options
  const config = demoConfig(options.epochs)
  const videosFolder = join(out, 'videos')

  say('1. rendering talking heads and forging them')
  let bar = options.progress('synth', options.identities * (1 + options.methods), 'video')
  const { identities, framesPerVideo, size, strength } = options
  await synthesize({
    out: videosFolder,
    identities,
    framesPerVideo,
    size,
    strength,
    seed,
    signal,
    onProgress: ({ done }) => bar.update(done),
  }).finally(() => bar.stop())
  const scan = await scanDataset('ff++', videosFolder, {})
  await writeManifest(join(out, 'manifest.jsonl'), scan.entries)
  say(scan.summary)

  say('2. finding faces and cropping clips')
  bar = options.progress('faces', scan.entries.length, 'video')
  const settings = { size: config.M, every, minFace }
  const cacheDir = join(out, 'cache')
  const prepared = await prepareDataset(scan.entries, settings, {
    cacheDir,
    network: openFaces,
    signal,
    onProgress: ({ done }) => bar.update(done),
  }).finally(() => bar.stop())
  for (const { path, message } of prepared.failures) say(`   left out: ${path}: ${message}`)
  const videos = new LoadedVideos(prepared.videos, config.T)

  say('3. training')
  const entries = options.shuffleLabels ? shuffleLabels(scan.entries, seed) : scan.entries
  let training: Progress | undefined
  const run = await trainRun(entries, videos, {
    config,
    seed,
    out,
    rehearsal: true,
    signal,
    onStep: (done, total, note) => {
      training ??= options.progress('train', total, 'step')
      training.update(done, note)
    },
    onEpoch: (line) => training?.log(`   ${line}`),
  }).finally(() => training?.stop())
  const auc = run.test.rows[0]!.video.auc.value ?? Number.NaN

  say('4. scoring one test video')
  const { entry, text } = await scoreOne(entries, run.detector, settings, cacheDir, signal)
  const report = await trainingReport({
    title: options.shuffleLabels ? 'Rehearsal with shuffled labels' : 'Rehearsal on rendered faces',
    synthetic: true,
    shuffledLabels: options.shuffleLabels,
    config: config as unknown as Record<string, unknown>,
    dataSummary: scan.summary,
    history: run.history,
    validation: run.validation,
    bestEpoch: run.bestEpoch,
    evaluations: [{ name: 'test', evaluation: run.test }],
    calibration: run.calibration,
    durationSeconds: run.seconds,
    steps: run.steps,
    clipsPerSecond: (run.steps * config.optim.batch * 3) / run.seconds,
    strips: await saliencyStrips(entries, videos, run.detector, config),
    provenance: {
      adapter: options.adapter,
      seed,
      node: process.version,
      'configuration sha256': createHash('sha256').update(JSON.stringify(config)).digest('hex'),
      data: `diptych synth, ${identities} identities, strength ${strength}`,
    },
    notes: [`Verdict on ${videoKey(entry)}:`, text],
  })
  await currentDevice().settled()
  return { auc, report, verdict: text, detector: run.detector }
}

async function scoreOne(
  entries: readonly VideoEntry[],
  weights: string,
  settings: object,
  cacheDir: string,
  signal: AbortSignal,
) {
  const entry = firstFake(entries)
  if (!entry) throw new Error('no test video')
  const detector = await openDetector(weights)
  for await (const { video, error } of prepareEach([entry], settings, { cacheDir, network: openFaces, signal })) {
    if (error) throw error
    return { entry, text: verdictText(await scoreVideo(video, detector), weights) }
  }
  throw new Error(`${entry.path}: nothing was prepared`)
}
