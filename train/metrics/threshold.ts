/** Metrics at a threshold: a video is called fake when its score is at or above it. */
import { checkScores, type Metric, measured, undefinedMetric } from './ranking.ts'

export interface Confusion {
  threshold: number
  /** Fake, called fake. */
  truePositives: number
  /** Real, called fake. */
  falsePositives: number
  /** Real, called real. */
  trueNegatives: number
  /** Fake, called real. */
  falseNegatives: number
}

export function confusion(labels: ArrayLike<number>, scores: ArrayLike<number>, threshold = 0.5): Confusion {
  checkScores('confusion', labels, scores)
  const count = { threshold, truePositives: 0, falsePositives: 0, trueNegatives: 0, falseNegatives: 0 }
  for (let i = 0; i < labels.length; i++) {
    const called = scores[i] >= threshold
    if (labels[i]) called ? count.truePositives++ : count.falseNegatives++
    else called ? count.falsePositives++ : count.trueNegatives++
  }
  return count
}

/** Share of right calls. Defined for one class alone; its value then says little, but says what it says. */
export function accuracy(labels: ArrayLike<number>, scores: ArrayLike<number>, threshold = 0.5): Metric {
  const { truePositives, trueNegatives } = confusion(labels, scores, threshold)
  if (labels.length === 0) return undefinedMetric('accuracy of no video')
  return measured((truePositives + trueNegatives) / labels.length)
}

/**
 * The threshold of highest accuracy, to be found on validation and used on test. Candidates lie midway between neighbouring
 * distinct scores, and just outside all of them; of equally good ones the nearest to 0.5 is taken.
 */
export function bestThreshold(labels: ArrayLike<number>, scores: ArrayLike<number>): Metric {
  checkScores('bestThreshold', labels, scores)
  const order = Array.from({ length: labels.length }, (_, i) => i).sort((a, b) => scores[a] - scores[b])
  const fakes = order.filter((i) => labels[i]).length
  if (fakes === 0 || fakes === order.length)
    return undefinedMetric(`a threshold needs both classes: no ${fakes === 0 ? 'fake' : 'real'} video`)
  // Below all scores every video is called fake: right for the fakes. Each step up calls one more video real.
  let right = fakes
  let best = right
  let threshold = Math.min(0.5, scores[order[0]])
  order.forEach((i, k) => {
    right += labels[i] ? -1 : 1
    const next = order[k + 1]
    if (next !== undefined && scores[next] === scores[i]) return
    const candidate =
      next === undefined ? scores[i] + Math.max(1e-9, Math.abs(scores[i]) * 1e-9) : between(scores[i], scores[next])
    if (right > best || (right === best && Math.abs(candidate - 0.5) < Math.abs(threshold - 0.5))) {
      best = right
      threshold = candidate
    }
  })
  return measured(threshold)
}

/** 0.5 if it lies between the two, otherwise their middle; always above `low` and at most `high`, however close they are. */
function between(low: number, high: number): number {
  if (low < 0.5 && 0.5 <= high) return 0.5
  const middle = low + (high - low) / 2
  return middle > low ? middle : high
}
