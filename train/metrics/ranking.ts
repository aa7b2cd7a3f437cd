/**
 * Metrics of a ranking: AUC, ROC, EER, average precision. Scores are fake probabilities (or any number that grows with them);
 * label 1 is fake, the positive class.
 *
 * The data are sorted once; weights (how often a bootstrap drew each item) then give every metric in one pass.
 * A metric that needs both classes and sees one is undefined with a reason, never a number.
 */

export type Metric = { value: number; reason?: undefined } | { value: undefined; reason: string }

export const measured = (value: number): Metric => ({ value })
export const undefinedMetric = (reason: string): Metric => ({ value: undefined, reason })

/** Items by descending score, cut into groups of equal score. */
export interface Ranking {
  /** Item indices by descending score. */
  order: Uint32Array
  /** Where each group of ties begins in `order`, and at the end its length. */
  groups: Uint32Array
  labels: Uint8Array
  scores: Float64Array
}

/** @throws RangeError on lengths that differ, labels other than 0 and 1, scores that are not numbers. */
export function rank(labels: ArrayLike<number>, scores: ArrayLike<number>): Ranking {
  checkScores('rank', labels, scores)
  const values = Float64Array.from(scores)
  const order = Uint32Array.from(values, (_, i) => i).sort((a, b) => values[b] - values[a])
  const groups: number[] = []
  for (let k = 0; k < order.length; k++) if (k === 0 || values[order[k]] !== values[order[k - 1]]) groups.push(k)
  groups.push(order.length)
  return { order, groups: Uint32Array.from(groups), labels: Uint8Array.from(labels), scores: values }
}

/** A failed video has no score: one that is not finite is a mistake of the caller, not something to average over. */
export function checkScores(what: string, labels: ArrayLike<number>, scores: ArrayLike<number>): void {
  if (labels.length !== scores.length)
    throw new RangeError(`${what}: ${labels.length} labels and ${scores.length} scores`)
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] !== 0 && labels[i] !== 1) throw new RangeError(`${what}: label ${i} is ${labels[i]}, not 0 or 1`)
    if (!Number.isFinite(scores[i])) throw new RangeError(`${what}: score ${i} is ${scores[i]}`)
  }
}

type Weights = ArrayLike<number> | undefined

interface Totals {
  fakes: number
  reals: number
  missing: string | undefined
}

function totals({ labels }: Ranking, weights: Weights): Totals {
  let fakes = 0
  let reals = 0
  for (let i = 0; i < labels.length; i++) {
    const weight = weights ? weights[i] : 1
    if (labels[i]) fakes += weight
    else reals += weight
  }
  const missing = fakes > 0 ? (reals > 0 ? undefined : 'no real video') : reals > 0 ? 'no fake video' : 'no video'
  return { fakes, reals, missing }
}

/** Walks the groups of equal score from the highest down, giving the weight of fakes and reals in each. */
function walk(ranking: Ranking, weights: Weights, visit: (fakes: number, reals: number, score: number) => void): void {
  const { order, groups, labels, scores } = ranking
  for (let g = 0; g + 1 < groups.length; g++) {
    let fakes = 0
    let reals = 0
    for (let k = groups[g]; k < groups[g + 1]; k++) {
      const weight = weights ? weights[order[k]] : 1
      if (labels[order[k]]) fakes += weight
      else reals += weight
    }
    if (fakes + reals > 0) visit(fakes, reals, scores[order[groups[g]]])
  }
}

/** Area under the ROC curve: the share of (fake, real) pairs in the right order, ties counted half. */
export function aucOf(ranking: Ranking, weights?: Weights): Metric {
  const { fakes, reals, missing } = totals(ranking, weights)
  if (missing) return undefinedMetric(`AUC needs both classes: ${missing}`)
  let above = 0
  let pairs = 0
  walk(ranking, weights, (f, r) => {
    pairs += r * (above + f / 2)
    above += f
  })
  return measured(pairs / (fakes * reals))
}

export const auc = (labels: ArrayLike<number>, scores: ArrayLike<number>): Metric => aucOf(rank(labels, scores))

export interface RocPoint {
  /** Called fake are the scores at or above it; Infinity for the first point. */
  threshold: number
  falsePositiveRate: number
  truePositiveRate: number
}

/** The curve from (0, 0) to (1, 1), one point per distinct score; empty if a class is missing. */
export function rocOf(ranking: Ranking, weights?: Weights): RocPoint[] {
  const { fakes, reals, missing } = totals(ranking, weights)
  if (missing) return []
  const points: RocPoint[] = [{ threshold: Number.POSITIVE_INFINITY, falsePositiveRate: 0, truePositiveRate: 0 }]
  let hits = 0
  let alarms = 0
  walk(ranking, weights, (f, r, threshold) => {
    hits += f
    alarms += r
    points.push({ threshold, falsePositiveRate: alarms / reals, truePositiveRate: hits / fakes })
  })
  return points
}

export const rocPoints = (labels: ArrayLike<number>, scores: ArrayLike<number>): RocPoint[] =>
  rocOf(rank(labels, scores))

/** Equal error rate: (FNR + FPR) / 2 at the point of the curve where |FNR − FPR| is least (the lower rate if two tie). */
export function eerOf(ranking: Ranking, weights?: Weights): Metric {
  const points = rocOf(ranking, weights)
  if (points.length === 0) return undefinedMetric(`EER needs both classes: ${totals(ranking, weights).missing}`)
  let least = Number.POSITIVE_INFINITY
  let rate = 1
  for (const { falsePositiveRate, truePositiveRate } of points) {
    const gap = Math.abs(1 - truePositiveRate - falsePositiveRate)
    const mean = (1 - truePositiveRate + falsePositiveRate) / 2
    if (gap < least - 1e-12 || (gap < least + 1e-12 && mean < rate)) {
      least = gap
      rate = mean
    }
  }
  return measured(rate)
}

export const eer = (labels: ArrayLike<number>, scores: ArrayLike<number>): Metric => eerOf(rank(labels, scores))

/** Average precision: Σ (R_n − R_{n−1}) P_n over the distinct scores, fake being the positive class. */
export function averagePrecisionOf(ranking: Ranking, weights?: Weights): Metric {
  const { fakes, missing } = totals(ranking, weights)
  if (missing) return undefinedMetric(`average precision needs both classes: ${missing}`)
  let hits = 0
  let called = 0
  let area = 0
  walk(ranking, weights, (f, r) => {
    hits += f
    called += f + r
    area += (f / fakes) * (hits / called)
  })
  return measured(area)
}

export const averagePrecision = (labels: ArrayLike<number>, scores: ArrayLike<number>): Metric =>
  averagePrecisionOf(rank(labels, scores))
