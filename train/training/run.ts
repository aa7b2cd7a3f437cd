/** One visible loop: train, validate after every epoch, keep the best epoch, test it. */
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { DipConfig } from '../../dip/index.ts'
import { DeviceLostError, reopenDevice } from '../../engine/index.ts'
import { TripletSampler, type VideoEntry } from '../data/index.ts'
import type { VideoScore } from '../metrics/aggregate.ts'
import { bestThreshold, type Calibration, type Evaluation, evaluate, fitTemperature } from '../metrics/index.ts'
import type { HistoryPoint, ValidationPoint } from '../report/types.ts'
import { makeBatch } from './batch.ts'
import { loadState, saveDetector, saveState } from './checkpoint.ts'
import { type LoadedVideos, scoreVideos } from './dataset.ts'
import { type Role, Trainer } from './trainer.ts'

export interface RunOptions {
  readonly config: DipConfig
  readonly seed: number
  /** Where detector.safetensors and state.safetensors go. */
  readonly out: string
  /** Made by `diptych synth`: said in the weights' file and in the report. */
  readonly rehearsal: boolean
  /** Go on from state.safetensors in `out`. */
  readonly resume?: boolean
  /** Gives a fresh trainer other weights than random ones. */
  readonly initialise?: (trainer: Trainer) => Promise<void>
  /** Steps after which the state is saved within an epoch too. Default: whenever ten minutes have passed. */
  readonly saveEvery?: number
  /** Times that a lost device is opened again before the run gives up. Default 5. */
  readonly reopenings?: number
  readonly onStep?: (done: number, total: number, note: string) => void
  readonly onEpoch?: (line: string) => void
  readonly signal?: AbortSignal
}

export interface RunResult {
  readonly history: HistoryPoint[]
  readonly validation: ValidationPoint[]
  readonly bestEpoch: number
  readonly test: Evaluation
  readonly calibration: Calibration
  readonly threshold: number | undefined
  readonly steps: number
  readonly seconds: number
  readonly detector: string
}

interface Progress {
  /** Epochs done, and steps done of the one under way. */
  epoch: number
  step: number
  history: HistoryPoint[]
  validation: ValidationPoint[]
  bestEpoch: number
  bestAuc: number
  /** Log loss of the best epoch's videos: decides among epochs of one AUC, which a small validation split soon reaches. */
  bestLogLoss: number
}

/** Longest time that a lost device may cost, where nothing else is said. */
const minutesBetweenStates = 10

/** What outlives the loss of a device. */
interface Watch {
  readonly began: number
  /** The state file is of this run. */
  saved: boolean
}

/**
 * Trains on the split 'train' of the entries, picks the epoch on 'val', measures on 'test'. When the device is lost, opens it again
 * and goes on from the state saved last, so that the result is that of a run without the loss.
 * @throws DeviceLostError when that keeps happening
 */
export async function trainRun(
  entries: readonly VideoEntry[],
  videos: LoadedVideos,
  options: RunOptions,
): Promise<RunResult> {
  const { reopenings = 5 } = options
  const watch: Watch = { began: performance.now(), saved: options.resume ?? false }
  for (let lost = 1; ; lost++) {
    try {
      return await train(entries, videos, options, watch)
    } catch (error) {
      if (!(error instanceof DeviceLostError) || lost > reopenings) throw error
      const from = watch.saved ? 'the state saved last' : 'the start'
      options.onEpoch?.(
        `${error.message}\nOpening it again (${lost} of at most ${reopenings} times), going on from ${from}`,
      )
      await reopenDevice()
    }
  }
}

async function train(
  entries: readonly VideoEntry[],
  videos: LoadedVideos,
  options: RunOptions,
  watch: Watch,
): Promise<RunResult> {
  const { config, seed, out } = options
  const part = (split: string) => entries.filter((e) => e.split === split)
  const sampler = new TripletSampler(part('train'), { seed, clips: (video) => videos.clipCount(video) })
  const stepsPerEpoch = Math.max(1, Math.floor(sampler.length / config.optim.batch))
  const total = stepsPerEpoch * config.optim.epochs
  const trainer = new Trainer(config, seed, { peak: config.optim.lr, steps: total, warmup: config.optim.warmup })
  await mkdir(out, { recursive: true })
  const stateFile = join(out, 'state.safetensors')
  const detector = join(out, 'detector.safetensors')

  let progress: Progress = { epoch: 0, step: 0, history: [], validation: [], bestEpoch: 0, bestAuc: -1, bestLogLoss: 0 }
  if (watch.saved && (await exists(stateFile))) progress = (await loadState(stateFile, trainer)) as Progress
  else await options.initialise?.(trainer)
  let lastSave = performance.now()
  const save = async () => {
    await saveState(stateFile, trainer, progress)
    watch.saved = true
    lastSave = performance.now()
  }
  const due = (step: number) =>
    options.saveEvery ? step % options.saveEvery === 0 : performance.now() - lastSave > 60_000 * minutesBetweenStates
  const shape = { frames: config.T, side: config.M }

  for (let epoch = progress.epoch; epoch < config.optim.epochs; epoch++) {
    for (let i = progress.step ?? 0; i < stepsPerEpoch; i++) {
      options.signal?.throwIfAborted()
      const triplets = Array.from({ length: config.optim.batch }, (_, j) =>
        sampler.at(epoch, i * config.optim.batch + j),
      )
      const batch = await makeBatch(triplets, videos, shape, config.augment, seed, trainer.steps)
      const losses = await trainer.step(batch)
      progress.history.push({
        step: trainer.steps,
        values: { loss: losses.loss, cce: losses.cce, sti: losses.sti, da: losses.da },
      })
      progress.step = i + 1
      options.onStep?.(trainer.steps, total, `loss ${losses.loss.toFixed(3)}`)
      if (progress.step < stepsPerEpoch && due(progress.step)) await save()
    }
    const scored = await validate(trainer, videos, part('val'))
    const student = scored.student.auc ?? 0
    const teacher = scored.teacher.auc ?? 0
    progress.validation.push({ epoch: epoch + 1, student: scored.student.auc, teacher: scored.teacher.auc })
    const { logLoss } = scored.teacher
    if (teacher > progress.bestAuc || (teacher === progress.bestAuc && logLoss < progress.bestLogLoss)) {
      progress.bestAuc = teacher
      progress.bestLogLoss = logLoss
      progress.bestEpoch = epoch + 1
      await saveDetector(detector, await trainer.teacherStorage.read(), { config, rehearsal: options.rehearsal })
    }
    progress.epoch = epoch + 1
    progress.step = 0
    await save()
    options.onEpoch?.(
      `epoch ${epoch + 1}: validation AUC ${teacher.toFixed(3)} (teacher), ${student.toFixed(3)} (student)`,
    )
  }

  const best = await scorerOf(detector)
  const valScores = await scoreVideos(videos.of(part('val')), best.logits)
  const valVideos = evaluate(valScores, { seed, replicates: 1 }).videos
  const labels = valVideos.map((v) => v.label)
  const calibration = fitTemperature(
    labels,
    valVideos.map((v) => v.logit),
  )
  const threshold = bestThreshold(
    labels,
    valVideos.map((v) => v.score),
  ).value
  await saveDetector(detector, best.state, {
    config,
    rehearsal: options.rehearsal,
    ...(calibration.temperature === undefined ? {} : { temperature: calibration.temperature }),
    ...(threshold === undefined ? {} : { threshold }),
  })
  const test = evaluate(await scoreVideos(videos.of(part('test')), best.logits), {
    seed,
    ...(threshold === undefined ? {} : { threshold }),
  })
  return {
    history: progress.history,
    validation: progress.validation,
    bestEpoch: progress.bestEpoch,
    test,
    calibration,
    threshold,
    steps: trainer.steps,
    seconds: (performance.now() - watch.began) / 1000,
    detector,
  }
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

async function validate(trainer: Trainer, videos: LoadedVideos, entries: readonly VideoEntry[]) {
  const of = async (role: Role) => {
    const scores = await scoreVideos(videos.of(entries), (clips) => trainer.logits(role, clips))
    const { rows, videos: judged } = evaluate(scores, { seed: 0, replicates: 1 })
    return { auc: rows[0]!.video.auc.value, logLoss: logLoss(judged) }
  }
  return { student: await of('student'), teacher: await of('teacher') }
}

/** Mean of −ln p(label) over videos, p kept 1e-6 away from 0 and 1. */
const logLoss = (videos: readonly VideoScore[]): number =>
  videos.reduce((sum, { label, score }) => sum - Math.log(Math.min(Math.max(label ? score : 1 - score, 1e-6), 1)), 0) /
  Math.max(1, videos.length)

/** The weights that were kept, and their logits. */
async function scorerOf(path: string) {
  const { openDetector } = await import('../detector.ts')
  const { readDetector } = await import('./checkpoint.ts')
  const detector = await openDetector(path)
  const { state } = await readDetector(path)
  return {
    state: state as ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>,
    logits: async (clips: readonly Uint8Array[]) => (await detector.probabilities([...clips])).map((p) => p.logit),
  }
}
