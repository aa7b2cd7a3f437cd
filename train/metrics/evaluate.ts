/**
 * The whole evaluation of a set of clip scores: every metric at clip and at video level, with intervals, and one row per forgery
 * method against all reals.
 */
import { aggregateClips, type ClipScore, sigmoid, type VideoScore } from './aggregate.ts'
import { type BootstrapOptions, bootstrap, type Interval } from './bootstrap.ts'
import {
  aucOf,
  averagePrecisionOf,
  eerOf,
  type Metric,
  type Ranking,
  type RocPoint,
  rank,
  rocOf,
  undefinedMetric,
} from './ranking.ts'
import { accuracy, type Confusion, confusion } from './threshold.ts'

export type MeasuredMetric = Metric & { interval?: Interval }

export interface LevelMetrics {
  reals: number
  fakes: number
  auc: MeasuredMetric
  eer: MeasuredMetric
  averagePrecision: MeasuredMetric
  /** At 0.5. */
  accuracy: MeasuredMetric
  /** At the threshold picked on validation; undefined where none was given. */
  accuracyAtThreshold: MeasuredMetric
}

export interface EvaluationRow {
  /** A forgery method against all reals, or `all`. */
  method: string
  video: LevelMetrics
  clip: LevelMetrics
}

export interface Evaluation {
  /** `all` first, then each method. */
  rows: EvaluationRow[]
  videos: VideoScore[]
  roc: RocPoint[]
  /** Videos at 0.5, or at the threshold where one is given. */
  confusion: Confusion
  /** Threshold picked on validation, if any. */
  threshold: number | undefined
  /** Other ways of joining a video's clips, on all videos. */
  byAggregation: { mean: Metric; meanLogit: Metric; max: Metric }
}

export interface EvaluateOptions extends BootstrapOptions {
  /** From `bestThreshold` on the validation videos. Never from the set evaluated here. */
  threshold?: number
}

export function evaluate(clips: readonly ClipScore[], options: EvaluateOptions): Evaluation {
  const videos = aggregateClips(clips)
  const methods = [...new Set(videos.filter((v) => v.label).map((v) => v.method))].sort()
  const row = (method: string, wanted: (item: { label: number; method: string }) => boolean): EvaluationRow => ({
    method,
    video: level(
      videos.filter(wanted).map((v) => ({ key: v.video, label: v.label, score: v.score })),
      options,
    ),
    clip: level(
      clips.filter(wanted).map((c) => ({ key: c.video, label: c.label, score: sigmoid(c.logit) })),
      options,
    ),
  })
  const labels = videos.map((v) => v.label)
  const all = rank(
    labels,
    videos.map((v) => v.score),
  )
  return {
    rows: [row('all', () => true), ...methods.map((name) => row(name, (x) => x.label === 0 || x.method === name))],
    videos,
    roc: rocOf(all),
    confusion: confusion(labels, all.scores, options.threshold ?? 0.5),
    threshold: options.threshold,
    byAggregation: {
      mean: aucOf(all),
      meanLogit: aucOf(
        rank(
          labels,
          videos.map((v) => v.meanLogitScore),
        ),
      ),
      max: aucOf(
        rank(
          labels,
          videos.map((v) => v.maxScore),
        ),
      ),
    },
  }
}

interface Item {
  key: string
  label: 0 | 1
  score: number
}

function level(items: Item[], options: EvaluateOptions): LevelMetrics {
  const labels = items.map((item) => item.label)
  const ranking = rank(
    labels,
    items.map((item) => item.score),
  )
  const { threshold } = options
  const metrics = (weights?: Float64Array) => ({
    auc: aucOf(ranking, weights),
    eer: eerOf(ranking, weights),
    averagePrecision: averagePrecisionOf(ranking, weights),
    accuracy: weights ? weightedAccuracy(ranking, 0.5, weights) : accuracy(labels, ranking.scores),
    accuracyAtThreshold:
      threshold === undefined
        ? undefinedMetric('no threshold was picked on a validation set')
        : weights
          ? weightedAccuracy(ranking, threshold, weights)
          : accuracy(labels, ranking.scores, threshold),
  })
  const values = metrics()
  const intervals =
    items.length === 0
      ? undefined
      : bootstrap(
          items.map((item) => item.key),
          metrics,
          options,
        )
  const withInterval = (name: keyof typeof values): MeasuredMetric =>
    values[name].value === undefined ? values[name] : { ...values[name], interval: intervals?.[name] }
  return {
    reals: labels.filter((label) => label === 0).length,
    fakes: labels.filter((label) => label === 1).length,
    auc: withInterval('auc'),
    eer: withInterval('eer'),
    averagePrecision: withInterval('averagePrecision'),
    accuracy: withInterval('accuracy'),
    accuracyAtThreshold: withInterval('accuracyAtThreshold'),
  }
}

function weightedAccuracy({ labels, scores }: Ranking, threshold: number, weights: Float64Array): Metric {
  let right = 0
  let total = 0
  for (let i = 0; i < labels.length; i++) {
    total += weights[i]
    if (scores[i] >= threshold === (labels[i] === 1)) right += weights[i]
  }
  return total > 0 ? { value: right / total } : undefinedMetric('accuracy of no video')
}
