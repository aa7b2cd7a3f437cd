/** Sentences and cells about results, shared by the terminal, the HTML report and the page. */
import type { Check } from '../contract.ts'
import { byteCount, count, digits, duration, flopCount, percent } from '../format.ts'
import type { ContestantResult, Environment, LaunchResult, RowResult } from '../results.ts'
import type { Bound, Ceilings } from '../roofline.ts'

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

/** Launches of one program in a run, together. */
export interface ProgramUse {
  readonly label: string
  /** What it computes, each once. */
  readonly ops: readonly string[]
  readonly times: number
  readonly intensity: number
  readonly workgroupBytes: number | undefined
  readonly accumulators: number | undefined
  readonly bound: Bound
  /** Least ms of all its launches. */
  readonly least: number
}

/** Launches by program, the longest by the ceilings first; what bounds a program bounds most of its least time. */
export function programsOf(launches: readonly LaunchResult[]): ProgramUse[] {
  const uses = new Map<string, LaunchResult[]>()
  for (const launch of launches) {
    const key = JSON.stringify([launch.label, launch.workgroupBytes, launch.accumulators])
    uses.set(key, [...(uses.get(key) ?? []), launch])
  }
  const sum = (all: readonly LaunchResult[], of: (l: LaunchResult) => number) => all.reduce((s, l) => s + of(l), 0)
  return [...uses.values()]
    .map((all) => {
      const { label, workgroupBytes, accumulators } = all[0]!
      const least = sum(all, (l) => l.least)
      const computing = sum(
        all.filter((l) => l.bound === 'compute'),
        (l) => l.least,
      )
      return {
        label,
        ops: [...new Set(all.map((l) => l.ops))],
        times: all.length,
        intensity:
          sum(all, (l) => l.flops) /
          Math.max(
            1,
            sum(all, (l) => l.bytes),
          ),
        workgroupBytes,
        accumulators,
        bound: computing > least / 2 ? ('compute' as const) : ('memory' as const),
        least,
      }
    })
    .sort((a, b) => b.least - a.least)
}

const known = <T>(value: T | undefined, show: (value: T) => string): string =>
  value === undefined ? 'not known' : show(value)

const programColumns = [
  'program',
  'launches',
  'flop/B',
  'workgroup memory',
  'accumulators a thread',
  'bound',
  'least',
] as const

/** Cells of a program: label, launches, flop/B, workgroup memory, accumulators a thread, bound, least time. */
export const programCells = (use: ProgramUse): string[] => [
  use.label,
  count(use.times),
  digits(use.intensity),
  known(use.workgroupBytes, byteCount),
  known(use.accumulators, String),
  use.bound,
  duration(use.least),
]

/** Programs of this engine's first contestant that tells them: as launched here, and as a discrete GPU would get them. */
export function programsOfRow(row: RowResult): { readonly on: string; readonly programs: readonly ProgramUse[] }[] {
  const own = row.contestants.find((c) => c.launches?.length)
  return [
    { on: 'here', programs: programsOf(own?.launches ?? []) },
    { on: 'on an RTX 3090', programs: programsOf(own?.discreteLaunches ?? []) },
  ].filter(({ programs }) => programs.length)
}

/** The same as tables, heads first, for the terminal and the page. */
export const programTables = (row: RowResult): (readonly (readonly string[])[])[] =>
  programsOfRow(row).map(({ on, programs }) => {
    const [first, ...others] = programColumns
    return [[`${first} ${on}`, ...others], ...programs.map(programCells)]
  })

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
