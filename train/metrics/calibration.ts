/**
 * Temperature scaling (Guo et al. 2017): p = σ(logit / T), with T fitted on validation by least negative log-likelihood.
 * In β = 1/T the NLL Σ softplus(−s β z) is convex (s = ±1 the label), so bisection on its slope finds the one minimum.
 * Order is kept: AUC does not change.
 */
import { sigmoid } from './aggregate.ts'
import { checkScores, undefinedMetric } from './ranking.ts'

/** T is held to this range: a validation set without a single error would send it to 0. */
export const TEMPERATURE_RANGE = [0.05, 20] as const

export type Calibration =
  | {
      temperature: number
      /** Mean NLL before (T = 1) and after. */
      nllBefore: number
      nllAfter: number
      /** The minimum lies beyond TEMPERATURE_RANGE: the fit says little. */
      clamped: boolean
      reason?: undefined
    }
  | { temperature: undefined; reason: string }

export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

/** Mean negative log-likelihood of σ(logit / T), in nats. */
export function negativeLogLikelihood(labels: ArrayLike<number>, logits: ArrayLike<number>, temperature = 1): number {
  let sum = 0
  for (let i = 0; i < labels.length; i++) sum += softplus((labels[i] ? -1 : 1) * (logits[i] / temperature))
  return sum / labels.length
}

/** Fits T on validation logits (of videos or clips). */
export function fitTemperature(labels: ArrayLike<number>, logits: ArrayLike<number>): Calibration {
  checkScores('fitTemperature', labels, logits)
  const fakes = Array.from(labels).filter((label) => label === 1).length
  if (fakes === 0 || fakes === labels.length) {
    const { reason } = undefinedMetric(`calibration needs both classes: no ${fakes === 0 ? 'fake' : 'real'} video`)
    return { temperature: undefined, reason: reason! }
  }
  const slope = (beta: number) => {
    let sum = 0
    for (let i = 0; i < labels.length; i++) sum += logits[i] * (sigmoid(beta * logits[i]) - labels[i])
    return sum
  }
  let [low, high] = [1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0]]
  let beta: number
  const clamped = slope(low) >= 0 || slope(high) <= 0
  if (slope(low) >= 0) beta = low
  else if (slope(high) <= 0) beta = high
  else {
    for (let k = 0; k < 80; k++) {
      const middle = (low + high) / 2
      if (slope(middle) > 0) high = middle
      else low = middle
    }
    beta = (low + high) / 2
  }
  return {
    temperature: 1 / beta,
    nllBefore: negativeLogLikelihood(labels, logits),
    nllAfter: negativeLogLikelihood(labels, logits, 1 / beta),
    clamped,
  }
}

export const calibrate = (logit: number, temperature: number): number => sigmoid(logit / temperature)
