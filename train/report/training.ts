/** The report of a training run. A section whose data are absent is left out. */

import { formatDuration } from '../cli/progress.ts'
import type { EvaluationRow, LevelMetrics, MeasuredMetric } from '../metrics/evaluate.ts'
import { lineChart, lossChart, rocChart, scoreChart } from './charts.ts'
import { renderReport } from './html.ts'
import { strip } from './strip.ts'
import type { Block, NamedEvaluation, Section, TrainingRun, ValidationPoint } from './types.ts'

export const REHEARSAL = 'rehearsal: no number here is evidence about real deepfakes'

/** @returns the HTML of the report. */
export async function trainingReport(run: TrainingRun): Promise<string> {
  const sections: Section[] = [
    { title: '', blocks: headline(run) },
    { title: 'Data', blocks: run.dataSummary ? [{ kind: 'verbatim', text: run.dataSummary }] : [] },
    { title: 'Training', blocks: await training(run) },
    { title: 'Validation', blocks: await validation(run) },
    ...(await Promise.all((run.evaluations ?? []).map(evaluationSection))),
    { title: 'Directional saliency', blocks: (run.strips ?? []).map(strip) },
    { title: 'Beside the paper', blocks: paper(run) },
    { title: 'Calibration', blocks: calibration(run) },
    { title: 'Configuration', blocks: configuration(run) },
    { title: 'Provenance', blocks: run.provenance ? [{ kind: 'facts', facts: Object.entries(run.provenance) }] : [] },
  ]
  return renderReport({ title: run.title, subtitle: 'Training report', sections })
}

function headline(run: TrainingRun): Block[] {
  const blocks: Block[] = []
  if (run.synthetic) blocks.push({ kind: 'notice', tone: 'warning', text: REHEARSAL })
  if (run.shuffledLabels)
    blocks.push({
      kind: 'notice',
      tone: 'warning',
      text: 'Control experiment: the labels were shuffled. An AUC well above 0.5 here means that something leaks.',
    })
  const tiles = (run.evaluations ?? []).map(({ name, evaluation }) => {
    const { auc } = evaluation.rows[0].video
    return auc.value === undefined
      ? { label: `video AUC, ${name}`, value: 'undefined', detail: auc.reason }
      : { label: `video AUC, ${name}`, value: auc.value.toFixed(4), detail: intervalText(auc) }
  })
  if (run.steps !== undefined) tiles.push({ label: 'steps', value: String(run.steps), detail: '' })
  if (run.durationSeconds !== undefined)
    tiles.push({
      label: 'time',
      value: formatDuration(run.durationSeconds),
      detail: run.clipsPerSecond === undefined ? '' : `${run.clipsPerSecond.toFixed(1)} clips/s`,
    })
  if (tiles.length > 0) blocks.push({ kind: 'tiles', tiles })
  for (const note of run.notes ?? []) blocks.push({ kind: 'text', text: note })
  return blocks
}

async function training({ history = [] }: TrainingRun): Promise<Block[]> {
  if (history.length === 0) return []
  const names = [...new Set(history.flatMap((point) => Object.keys(point.values)))]
  const description = `Losses over ${history.length} steps: ${names.join(', ')}`
  const last = history.at(-1)!
  return [
    { kind: 'chart', svg: await lossChart(history), description },
    {
      kind: 'table',
      columns: ['loss', { title: 'first', digits: 4 }, { title: 'last', digits: 4 }],
      rows: names.map((name) => [name, history[0].values[name], last.values[name]]),
    },
  ]
}

async function validation({ validation = [], bestEpoch }: TrainingRun): Promise<Block[]> {
  if (validation.length === 0) return []
  const series = (name: 'student' | 'teacher') =>
    validation.filter((p) => p[name] !== undefined).map((p) => ({ x: p.epoch, y: p[name]!, series: name }))
  const points = [...series('teacher'), ...series('student')]
  const mark = bestEpoch === undefined ? undefined : { x: bestEpoch, label: `picked: epoch ${bestEpoch}` }
  const blocks: Block[] = []
  if (points.length > 0) {
    const svg = await lineChart(points, { x: 'epoch', y: 'video AUC on validation', mark, points: true, height: 180 })
    blocks.push({ kind: 'chart', svg, description: `Video AUC on validation over ${validation.length} epochs` })
  }
  const best = validation.find((p: ValidationPoint) => p.epoch === bestEpoch)
  if (best)
    blocks.push({
      kind: 'text',
      text: `Epoch ${best.epoch} was picked on the validation split, never on a test set: teacher ${number(best.teacher)}, student ${number(best.student)}.`,
    })
  return blocks
}

const number = (value: number | undefined) => (value === undefined ? 'not measured' : value.toFixed(4))

async function evaluationSection({ name, evaluation }: NamedEvaluation): Promise<Section> {
  const { auc } = evaluation.rows[0].video
  const blocks: Block[] = [metricTable(evaluation.rows, 'video'), metricTable(evaluation.rows, 'clip')]
  if (evaluation.threshold === undefined)
    blocks.push({ kind: 'text', text: 'No threshold was picked on a validation set: accuracy is at 0.5 only.' })
  if (evaluation.videos.length > 0) {
    const label = evaluation.threshold === undefined ? 'threshold' : 'threshold from validation'
    const svg = await scoreChart(evaluation.videos, evaluation.threshold ?? 0.5, label)
    blocks.push({ kind: 'chart', svg, description: `Scores of ${evaluation.videos.length} videos by method` })
  }
  if (evaluation.roc.length > 0) {
    const value = auc.value?.toFixed(4) ?? 'undefined'
    blocks.push({
      kind: 'chart',
      svg: await rocChart(evaluation.roc, auc),
      description: `ROC curve, video AUC ${value}`,
    })
  }
  const { truePositives, falsePositives, trueNegatives, falseNegatives, threshold } = evaluation.confusion
  blocks.push({
    kind: 'table',
    caption: `Videos at threshold ${threshold.toFixed(3)}`,
    columns: ['', 'called real', 'called fake'],
    rows: [
      ['real', trueNegatives, falsePositives],
      ['fake', falseNegatives, truePositives],
    ],
  })
  const { mean, meanLogit, max } = evaluation.byAggregation
  if (mean.value !== undefined)
    blocks.push({
      kind: 'facts',
      facts: [
        ['AUC, mean probability', number(mean.value)],
        ['AUC, mean logit', number(meanLogit.value)],
        ['AUC, highest clip', number(max.value)],
      ],
    })
  return { title: `Evaluation: ${name}`, blocks }
}

function metricTable(rows: EvaluationRow[], level: 'video' | 'clip'): Block {
  const cells = (m: LevelMetrics) =>
    [m.auc, m.accuracy, m.accuracyAtThreshold, m.eer, m.averagePrecision].map(metricText)
  const reasons = new Set(rows.flatMap((row) => row[level].auc.reason ?? []))
  const interval = rows.map((row) => row[level].auc.interval ?? row[level].accuracy.interval).find((x) => x)
  const what = `By ${level}, in percent${interval ? `, with ${Math.round(100 * interval.level)} % bootstrap intervals over videos` : ''}`
  return {
    kind: 'table',
    caption: reasons.size > 0 ? `${what}. ${[...reasons].join('; ')}` : what,
    columns: ['method', 'real', 'fake', 'AUC', 'ACC at 0.5', 'ACC at val.', 'EER', 'AP'],
    rows: rows.map((row) => [row.method, row[level].reals, row[level].fakes, ...cells(row[level])]),
  }
}

function metricText(metric: MeasuredMetric): string {
  if (metric.value === undefined) return '–'
  const percent = (x: number) => (100 * x).toFixed(1)
  const { interval } = metric
  return interval
    ? `${percent(metric.value)}\n${percent(interval.low)} – ${percent(interval.high)}`
    : percent(metric.value)
}

function intervalText({ interval }: MeasuredMetric): string {
  if (!interval) return 'too few videos for an interval'
  return `${Math.round(100 * interval.level)} % interval ${interval.low.toFixed(3)} – ${interval.high.toFixed(3)}`
}

function paper({ paper: list = [], synthetic }: TrainingRun): Block[] {
  if (list.length === 0) return []
  const rows = list.map(({ name, measured, paperPercent }) => {
    const percent = measured.value === undefined ? undefined : 100 * measured.value
    const difference = percent === undefined ? undefined : percent - paperPercent
    return [
      name,
      percent?.toFixed(2) ?? '–',
      paperPercent.toFixed(2),
      difference === undefined ? '–' : signed(difference),
    ]
  })
  const blocks: Block[] = [{ kind: 'table', columns: ['', 'measured', 'paper', 'difference'], rows }]
  if (synthetic)
    blocks.push({ kind: 'notice', tone: 'info', text: 'Measured on other data than the paper’s: not comparable.' })
  return blocks
}

const signed = (x: number) => `${x < 0 ? '-' : '+'}${Math.abs(x).toFixed(2)}`

function calibration({ calibration: fit }: TrainingRun): Block[] {
  if (!fit) return []
  if (fit.temperature === undefined) return [{ kind: 'text', text: `Not calibrated: ${fit.reason}.` }]
  const blocks: Block[] = [
    {
      kind: 'facts',
      facts: [
        ['temperature', fit.temperature],
        ['NLL before', fit.nllBefore],
        ['NLL after', fit.nllAfter],
      ],
    },
  ]
  if (fit.clamped)
    blocks.push({
      kind: 'notice',
      tone: 'info',
      text: 'The temperature is at the end of its range: the validation set has too few errors, or too many, to fit one.',
    })
  return blocks
}

function configuration({ config }: TrainingRun): Block[] {
  return config ? [{ kind: 'verbatim', text: JSON.stringify(config, null, 2) }] : []
}
