/** Sentences and cells about results, shared by the terminal, the HTML report and the page. */
import type { Check } from '../contract.ts'
import { byteCount, count, digits, duration, flopCount, percent } from '../format.ts'
import type { ContestantResult, Environment, LaunchResult, RowResult } from '../results.ts'
import type { Ceilings } from '../roofline.ts'

export const columns = [
  'contestant',
  'median',
  'best',
  'spread',
  'speed',
  'of ceiling',
  'against diptych',
  'dispatches',
  'moved',
  'peak',
  'error',
] as const

/** Error of the worst check, by its limit. */
export function worst(checks: readonly Check[]): Check | undefined {
  return [...checks].sort((a, b) => b.error / b.limit - a.error / a.limit)[0]
}

/** Cells of one contestant, in the order of `columns`; one cell says why when it was not timed. */
export function cells(result: ContestantResult, row: RowResult): string[] {
  const { timing } = result
  if (!timing) return [result.name, result.reason ?? 'not timed']
  const own = Math.min(
    ...row.contestants.filter((c) => c.library === 'diptych').map((c) => c.timing?.median ?? Infinity),
  )
  const optional = <T>(value: T | undefined, show: (value: T) => string) => (value === undefined ? '–' : show(value))
  return [
    result.name,
    duration(timing.median),
    duration(timing.best),
    `±${percent(timing.spread)}`,
    `${digits(result.speed!)}\u00a0${row.unit}`,
    percent(result.share!),
    Number.isFinite(own) ? `${digits(timing.median / own)}×` : '–',
    optional(result.counts, (c) => count(c.dispatches)),
    optional(result.bytesMoved, byteCount),
    optional(result.peakBytes, byteCount),
    optional(worst(result.checks), (c) => c.error.toExponential(1)),
  ]
}

/** The problem: its size, and what bounds it here and on a discrete GPU. */
export function problemLine(row: RowResult): string {
  return [
    `${flopCount(row.flops)}, ${byteCount(row.bytes)} at least, ${digits(row.intensity)} flop/B`,
    `${row.bound}-bound here (least ${duration(row.least)})`,
    `${row.discreteBound}-bound on an RTX 3090 (least ${duration(row.discreteLeast)})`,
  ].join('; ')
}

/** Label, ops, flop/B, workgroup memory, accumulators a thread, bound and least time of a launch. */
export const launchCells = (launch: LaunchResult): string[] => [
  launch.label,
  launch.ops,
  digits(launch.intensity),
  byteCount(launch.workgroupBytes),
  launch.accumulators ? String(launch.accumulators) : '–',
  launch.bound,
  duration(launch.least),
]

/** Launches by their least time, the longest first, equal programs counted together. */
export function heaviest(launches: readonly LaunchResult[]): { launch: LaunchResult; times: number }[] {
  const found = new Map<string, { launch: LaunchResult; times: number }>()
  for (const launch of launches) {
    const key = JSON.stringify([launch.label, launch.flops, launch.bytes])
    const known = found.get(key)
    if (known) known.times++
    else found.set(key, { launch, times: 1 })
  }
  return [...found.values()].sort((a, b) => b.times * b.launch.least - a.times * a.launch.least)
}

export function launchLine({ launch, times }: { launch: LaunchResult; times: number }): string {
  const registers = launch.accumulators ? `, ${launch.accumulators} accumulators a thread` : ''
  return `${times > 1 ? `${times} × ` : ''}${launch.label}: ${digits(launch.intensity)} flop/B, ${byteCount(
    launch.workgroupBytes,
  )} workgroup memory${registers}, ${launch.bound}-bound (least ${duration(launch.least)})`
}

export const ceilingLine = ({ gflops, copies }: Ceilings): string =>
  `measured ceilings: ${digits(gflops)} GFLOP/s multiply-add; ${copies
    .map(
      ({ gbs, bytes }, i) => `${digits(gbs)} GB/s copying${i < copies.length - 1 ? ` within ${byteCount(bytes)}` : ''}`,
    )
    .join(', ')}`

export const environmentFacts = (e: Environment): (readonly [string, string])[] => [
  ['adapter', e.adapter],
  ['driver', e.driver || 'not told'],
  ['platform', e.platform],
  [
    'versions',
    Object.entries(e.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  ],
  ['date', e.date],
]
