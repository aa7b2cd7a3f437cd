import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  accuracy,
  aggregateClips,
  auc,
  averagePrecision,
  bestThreshold,
  bootstrap,
  type ClipScore,
  calibrate,
  clipInterval,
  confusion,
  eer,
  evaluate,
  fakeLogit,
  fitTemperature,
  negativeLogLikelihood,
  quantile,
  rocPoints,
  sigmoid,
} from '../../train/metrics/index.ts'

const test = suite('metrics')
const close = (got: number | undefined, want: number, tolerance = 1e-12) =>
  assert.ok(got !== undefined && Math.abs(got - want) <= tolerance, `${got} is not ${want}`)

// Computed by hand: of the four (fake, real) pairs, .8 beats both reals, .35 beats .1 only.
const LABELS = [0, 0, 1, 1]
const SCORES = [0.1, 0.4, 0.35, 0.8]

/** Labels with both classes, and scores on a coarse grid so that ties are common. */
const scored = fc
  .array(fc.tuple(fc.constantFrom(0 as const, 1 as const), fc.nat(10)), { minLength: 2, maxLength: 40 })
  .filter((list) => new Set(list.map(([label]) => label)).size === 2)
  .map((list) => ({ labels: list.map(([label]) => label), scores: list.map(([, score]) => score / 10) }))

test('AUC by hand, ties half', () => {
  close(auc(LABELS, SCORES).value, 0.75)
  close(auc([0, 1], [0.5, 0.5]).value, 0.5)
  close(auc([0, 1, 1, 0], [0.2, 0.2, 0.9, 0.1]).value, (0.5 + 1 + 1 + 1) / 4)
  close(auc([1, 0], [0, 1]).value, 0)
})

test('ROC, average precision and EER by hand', () => {
  assert.equal(rocPoints(LABELS, SCORES), [
    { threshold: Number.POSITIVE_INFINITY, falsePositiveRate: 0, truePositiveRate: 0 },
    { threshold: 0.8, falsePositiveRate: 0, truePositiveRate: 0.5 },
    { threshold: 0.4, falsePositiveRate: 0.5, truePositiveRate: 0.5 },
    { threshold: 0.35, falsePositiveRate: 0.5, truePositiveRate: 1 },
    { threshold: 0.1, falsePositiveRate: 1, truePositiveRate: 1 },
  ])
  close(averagePrecision(LABELS, SCORES).value, 0.5 * 1 + 0.5 * (2 / 3))
  close(averagePrecision([1, 0, 1], [0.5, 0.5, 0.5]).value, 2 / 3)
  close(eer(LABELS, SCORES).value, 0.5)
  close(eer([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]).value, 0)
  // Three reals, one above the lower fake: at 0.5 FNR 1/2 and FPR 1/3 (gap 1/6), at 0.4 0 and 1/3, at 0.9 1/2 and 0.
  close(eer([0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.4, 0.9]).value, (1 / 2 + 1 / 3) / 2)
})

test('one class missing: undefined with the reason, never a number', () => {
  for (const metric of [auc, eer, averagePrecision, bestThreshold]) {
    const result = metric([1, 1], [0.2, 0.3])
    assert.is(result.value, undefined)
    assert.match(result.reason!, 'no real video')
    assert.match(metric([0], [0.2]).reason!, 'no fake video')
    assert.is(metric([], []).value, undefined)
  }
  assert.equal(rocPoints([0, 0], [1, 2]), [])
  assert.is(fitTemperature([1, 1], [1, 2]).temperature, undefined)
  assert.is(accuracy([], []).value, undefined)
})

test('a score that is no number is refused', () => {
  assert.throws(() => auc([0, 1], [0.1, Number.NaN]), /score 1 is NaN/)
  assert.throws(() => auc([0, 2], [0.1, 0.2]), /label 1 is 2/)
  assert.throws(() => auc([0], [0.1, 0.2]), /1 labels and 2 scores/)
})

test('property: AUC is the share of ordered pairs and the area under the ROC', () => {
  fc.assert(
    fc.property(scored, ({ labels, scores }) => {
      let sum = 0
      let pairs = 0
      labels.forEach((a, i) => {
        labels.forEach((b, j) => {
          if (a !== 1 || b !== 0) return
          pairs++
          sum += scores[i] > scores[j] ? 1 : scores[i] === scores[j] ? 0.5 : 0
        })
      })
      const value = auc(labels, scores).value
      close(value, sum / pairs, 1e-12)
      const points = rocPoints(labels, scores)
      const area = points.slice(1).reduce((total, p, i) => {
        const q = points[i]
        return total + ((p.falsePositiveRate - q.falsePositiveRate) * (p.truePositiveRate + q.truePositiveRate)) / 2
      }, 0)
      close(value, area, 1e-12)
    }),
  )
})

test('property: order alone matters; turning the scores turns the AUC; EER lies in 0 … 1', () => {
  fc.assert(
    fc.property(scored, ({ labels, scores }) => {
      const value = auc(labels, scores).value!
      close(
        auc(
          labels,
          scores.map((s) => Math.exp(3 * s) - 7),
        ).value,
        value,
      )
      close(
        auc(
          labels,
          scores.map((s) => -s),
        ).value,
        1 - value,
      )
      const rate = eer(labels, scores).value!
      assert.ok(rate >= 0 && rate <= 1)
      const least = Math.min(
        ...rocPoints(labels, scores).map((p) => Math.abs(1 - p.truePositiveRate - p.falsePositiveRate)),
      )
      assert.ok(
        rocPoints(labels, scores).some(
          (p) =>
            Math.abs((1 - p.truePositiveRate + p.falsePositiveRate) / 2 - rate) < 1e-12 &&
            Math.abs(Math.abs(1 - p.truePositiveRate - p.falsePositiveRate) - least) < 1e-9,
        ),
      )
    }),
  )
})

test('confusion and accuracy', () => {
  const { truePositives, falsePositives, trueNegatives, falseNegatives } = confusion(LABELS, SCORES, 0.4)
  assert.equal([truePositives, falsePositives, trueNegatives, falseNegatives], [1, 1, 1, 1])
  close(accuracy(LABELS, SCORES).value, 0.75)
  close(accuracy([1], [0.5]).value, 1, 0)
})

test('property: no threshold is better than the best one', () => {
  assert.is(bestThreshold([0, 1], [0.2, 0.9]).value, 0.5)
  close(bestThreshold([0, 0, 1], [0.6, 0.7, 0.9]).value, 0.8)
  assert.ok(bestThreshold([1, 1, 0], [0.6, 0.7, 0.6]).value! <= 0.6)
  fc.assert(
    fc.property(scored, ({ labels, scores }) => {
      const threshold = bestThreshold(labels, scores).value!
      const best = accuracy(labels, scores, threshold).value!
      for (const t of [...scores, 2, 0.5]) assert.ok(accuracy(labels, scores, t).value! <= best + 1e-12)
    }),
  )
})

const clip = (video: string, label: 0 | 1, logit: number, method = label ? 'swap' : 'real'): ClipScore => ({
  video,
  label,
  method,
  logit,
})

test('clips to videos: mean probability, mean logit, maximum', () => {
  const [a, b] = aggregateClips([clip('a', 1, 0), clip('b', 0, -1), clip('a', 1, 2)])
  close(a.score, (0.5 + sigmoid(2)) / 2)
  close(a.meanLogitScore, sigmoid(1))
  close(a.maxScore, sigmoid(2))
  assert.equal([a.clips, b.clips, b.video], [2, 1, 'b'])
  assert.is(fakeLogit([1, 3]), 2)
  assert.throws(() => aggregateClips([clip('a', 1, 0), clip('a', 0, 0)]), /a disagree/)
  assert.throws(() => aggregateClips([clip('a', 1, 0, 'x'), clip('a', 1, 0, 'y')]), /disagree/)
  assert.throws(() => aggregateClips([clip('a', 1, Number.NaN)]), /logit NaN/)
})

test('video AUC is not clip AUC', () => {
  // One fake video with many clear clips, one with a single hidden clip: by clips 3 of 4 are found, by videos 1 of 2.
  const clips = [clip('r', 0, 0), clip('f', 1, 1), clip('f', 1, 1), clip('f', 1, 1), clip('g', 1, -1)]
  const [all] = evaluate(clips, { seed: 1, replicates: 10 }).rows
  close(all.video.auc.value, 0.5)
  close(all.clip.auc.value, 0.75)
})

test('evaluate: rows by method against all reals, intervals, thresholds from elsewhere', () => {
  const clips: ClipScore[] = []
  for (let i = 0; i < 20; i++) {
    clips.push(clip(`r${i}`, 0, -1 - (i % 3)), clip(`r${i}`, 0, -2))
    clips.push(clip(`a${i}`, 1, 1 + (i % 2), 'easy'), clip(`b${i}`, 1, i % 2 ? 1 : -3, 'hard'))
  }
  const result = evaluate(clips, { seed: 3, replicates: 200, threshold: 0.7 })
  assert.equal(
    result.rows.map((r) => [r.method, r.video.reals, r.video.fakes]),
    [
      ['all', 20, 40],
      ['easy', 20, 20],
      ['hard', 20, 20],
    ],
  )
  const [all, easy, hard] = result.rows
  close(easy.video.auc.value, 1)
  assert.ok(hard.video.auc.value! < 0.7)
  assert.equal([easy.video.auc.interval!.low, easy.video.auc.interval!.high], [1, 1])
  const { low, high, replicates } = all.video.auc.interval!
  assert.ok(low < all.video.auc.value! && all.video.auc.value! < high && replicates === 200)
  assert.is(result.threshold, 0.7)
  close(all.video.accuracyAtThreshold.value, 50 / 60)
  close(result.byAggregation.mean.value, all.video.auc.value!)
  assert.equal(
    evaluate(clips, { seed: 3, replicates: 200, threshold: 0.7 }),
    result,
    'the same seed gives the same bits',
  )
  const bare = evaluate(
    clips.filter((c) => c.label),
    { seed: 1, replicates: 20 },
  )
  assert.match(bare.rows[0].video.auc.reason!, 'no real video')
  assert.match(bare.rows[0].video.accuracyAtThreshold.reason!, 'no threshold')
  assert.is(bare.rows[0].video.accuracy.value, 0.75)
  assert.is(evaluate([], { seed: 1 }).rows[0].video.auc.value, undefined)
})

test('bootstrap draws videos: copies of a clip do not narrow the interval', () => {
  const keys = ['a', 'b', 'c', 'd', 'e', 'f']
  const values = [0, 1, 0, 1, 1, 0]
  const meanOf = (list: number[]) => (weights: Float64Array) => {
    const total = weights.reduce((a, b) => a + b, 0)
    return { mean: { value: weights.reduce((sum, w, i) => sum + w * list[i], 0) / total } }
  }
  const single = bootstrap(keys, meanOf(values), { seed: 2 }).mean!
  const many = (list: readonly any[]) => list.flatMap((x) => Array(10).fill(x))
  const copied = bootstrap(many(keys), meanOf(many(values)), { seed: 2 }).mean!
  close(copied.low, single.low)
  close(copied.high, single.high)
  // The mean of six fair draws has a standard deviation of 0.204: 95 % lie within about ±0.4.
  assert.ok(single.low >= 0 && single.low <= 0.2 && single.high >= 0.8 && single.high <= 1)
})

test('bootstrap: covers the truth about as often as it says', () => {
  let covered = 0
  const runs = 60
  for (let run = 0; run < runs; run++) {
    const values = Array.from({ length: 40 }, (_, i) => (Math.sin(run * 77.7 + i * 12.9898) * 43758.5453) % 1).map(
      Math.abs,
    )
    const keys = values.map((_, i) => `${i}`)
    const mean = (w: Float64Array) => ({ m: { value: w.reduce((s, x, i) => s + x * values[i], 0) / 40 } })
    const { low, high } = bootstrap(keys, mean, { seed: run, replicates: 300 }).m!
    if (low <= 0.5 && 0.5 <= high) covered++
  }
  assert.ok(covered >= 50 && covered <= 60, `${covered} of ${runs}`)
})

test('bootstrap: replicates without a class do not count, and too few give no interval', () => {
  const result = evaluate([clip('r', 0, -1), clip('f', 1, 1)], { seed: 1, replicates: 400 }).rows[0].video.auc
  assert.is(result.value, 1)
  assert.ok(result.interval === undefined || result.interval.replicates < 280)
  assert.throws(() => bootstrap(['a'], () => ({ m: { value: 1 } }), { seed: 1, level: 1 }), /level/)
})

test('quantiles and the interval of one video', () => {
  assert.is(quantile([1, 2, 3, 4, 5], 0.5), 3)
  close(quantile([0, 10], 0.25), 2.5)
  assert.is(clipInterval([0.4], { seed: 1 }), undefined)
  const { low, high } = clipInterval([0.2, 0.4, 0.6, 0.8], { seed: 1 })!
  assert.ok(low > 0.2 && low < 0.5 && high > 0.5 && high < 0.8)
})

test('temperature: by hand', () => {
  // Logits ±2, three of four right: σ(2/T) = 3/4, so T = 2 / ln 3.
  const fit = fitTemperature([1, 1, 1, 0, 0, 0, 0, 1], [2, 2, 2, 2, -2, -2, -2, -2])
  close(fit.temperature, 2 / Math.log(3), 1e-9)
  close(calibrate(2, fit.temperature!), 0.75, 1e-9)
  assert.ok(fit.temperature !== undefined && !fit.clamped && fit.nllAfter < fit.nllBefore)
  const perfect = fitTemperature([0, 1], [-1, 1])
  assert.ok(perfect.temperature !== undefined && perfect.clamped)
  close(perfect.temperature, 0.05)
  const wrong = fitTemperature([1, 0], [-1, 1])
  assert.ok(wrong.temperature === 20 && wrong.clamped)
})

test('property: no temperature in range has a lower NLL', () => {
  const logits = fc.array(fc.tuple(fc.constantFrom(0, 1), fc.double({ min: -8, max: 8, noNaN: true })), {
    minLength: 4,
    maxLength: 30,
  })
  fc.assert(
    fc.property(logits, fc.double({ min: 0.05, max: 20, noNaN: true }), (list, temperature) => {
      const [labels, values] = [list.map((x) => x[0]), list.map((x) => x[1])]
      const fit = fitTemperature(labels, values)
      if (fit.temperature === undefined) return
      assert.ok(fit.nllAfter <= negativeLogLikelihood(labels, values, temperature) + 1e-9)
    }),
  )
})

test.run()
