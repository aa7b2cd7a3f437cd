/** The host's report as cells and as text. */
import colours from 'picocolors'
import { byteCount, count, digits, duration, percent } from '../format.ts'
import type { HostReport, HostResult, MemoryResult, Target } from '../results.ts'
import { aligned } from './table.ts'

export const hostColumns = [
  'contestant',
  'median',
  'best',
  'spread',
  'against diptych',
  'dispatches',
  'submits',
  'bind groups',
  'buffers',
  'written',
  'peak live',
] as const

export function hostCells(result: HostResult, report: HostReport): string[] {
  const { timing, counts, peakBytes } = result
  if (!timing) return [result.name, result.reason ?? 'not timed']
  const own = report.rows.find(({ name }) => name === 'diptych')?.timing?.median
  const optional = (value: number | undefined, show: (value: number) => string) =>
    value === undefined ? '–' : show(value)
  return [
    result.name,
    duration(timing.median),
    duration(timing.best),
    `±${percent(timing.spread)}`,
    own ? `${digits(timing.median / own)}×` : '–',
    optional(counts?.dispatches, count),
    optional(counts?.submits, count),
    optional(counts?.bindGroups, count),
    optional(counts?.buffers, count),
    optional(counts?.writtenBytes, byteCount),
    optional(peakBytes, byteCount),
  ]
}

export const memoryColumns = [
  'memory',
  'steps',
  'on',
  'before',
  'peak live',
  'after',
  'let go',
  'GPU growth',
  'heap growth',
  'objects made a step',
] as const

export function memoryCells(result: MemoryResult): string[] {
  const name = `${result.library}, ${result.name.replace(/:.*/, '')}`
  if (result.status !== 'ok') return [name, result.reason ?? 'not measured']
  return [
    name,
    String(result.steps),
    result.backend,
    byteCount(result.before),
    byteCount(result.peak),
    byteCount(result.after),
    byteCount(result.released),
    byteCount(result.gpuGrowth),
    byteCount(result.heapGrowth),
    count(result.made),
  ]
}

export const targetLine = ({ what, value, limit, met }: Target): string =>
  `${met ? 'met' : 'missed'}: ${what}: ${digits(value)}, at most ${digits(limit)}`

export function hostText(report: HostReport): string {
  const bold = (line: string, i: number, rows: readonly { library: string; status: string }[]) => {
    const { library, status } = rows[i]!
    if (status !== 'ok') return library === 'diptych' ? colours.red(line) : colours.yellow(line)
    return library === 'diptych' ? colours.bold(line) : line
  }
  const [head, ...rows] = aligned([hostColumns, ...report.rows.map((r) => hostCells(r, report))])
  const [memoryHead, ...memory] = aligned([memoryColumns, ...report.memory.map(memoryCells)])
  return [
    `\n${colours.bold('host')}  ${report.about}`,
    colours.dim(head!),
    ...rows.map((line, i) => bold(line, i, report.rows)),
    '',
    colours.dim(memoryHead!),
    ...memory.map((line, i) => bold(line, i, report.memory)),
    '',
    ...report.targets.map((t) => `    ${t.met ? targetLine(t) : colours.yellow(targetLine(t))}`),
  ].join('\n')
}
