/** An evaluation as text for a terminal. */
import type { Evaluation, LevelMetrics, MeasuredMetric } from './evaluate.ts'

const columns = [
  ['AUC', 'auc'],
  ['ACC at 0.5', 'accuracy'],
  ['ACC at threshold', 'accuracyAtThreshold'],
  ['EER', 'eer'],
  ['AP', 'averagePrecision'],
] as const

const shown = ({ value, interval }: MeasuredMetric): string =>
  value === undefined
    ? '–'
    : `${value.toFixed(4)}${interval ? ` (${interval.low.toFixed(3)}–${interval.high.toFixed(3)})` : ''}`

/** A row per method and level; what is undefined is a dash, explained below the table. */
export function evaluationTable({ rows, threshold }: Evaluation): string {
  const reasons = new Set<string>()
  const line = (method: string, level: string, metrics: LevelMetrics) => {
    for (const [, key] of columns) if (metrics[key].reason) reasons.add(metrics[key].reason)
    return [method, level, `${metrics.reals}/${metrics.fakes}`, ...columns.map(([, key]) => shown(metrics[key]))]
  }
  const table = [
    ['method', 'level', 'real/fake', ...columns.map(([title]) => title)],
    ...rows.flatMap(({ method, video, clip }) => [line(method, 'video', video), line('', 'clip', clip)]),
  ]
  const widths = table[0]!.map((_, i) => Math.max(...table.map((cells) => cells[i]!.length)))
  const lines = table.map((cells) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  )
  return [
    ...lines,
    ...(threshold === undefined ? [] : [`threshold, picked on validation: ${threshold.toFixed(4)}`]),
    ...[...reasons].map((reason) => `–: ${reason}`),
  ].join('\n')
}
