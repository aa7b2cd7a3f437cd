/** The report as one HTML file with charts, drawn by the reports' own means. */
import { CHART_INK, draw, type Report as Page, renderReport, type Section } from '../../train/report/index.ts'
import { duration } from '../format.ts'
import type { ContestantResult, GroupResult, HostReport, Report, RowResult } from '../results.ts'
import { bandwidthFor } from '../roofline.ts'
import {
  ceilingLine,
  cells,
  environmentFacts,
  type ProgramUse,
  problemLine,
  programCells,
  programsOfRow,
} from './describe.ts'
import { hostCells, memoryCells, targetLine } from './host.ts'

/** Colour-blind safe (Okabe and Ito); this engine has the first. */
const colours: Readonly<Record<ContestantResult['library'], string>> = {
  diptych: '#0072b2',
  tfjs: '#e69f00',
  'jax-js': '#009e73',
  'ort-web': '#cc79a7',
  'ort-node': '#d55e00',
}

const libraries = Object.keys(colours)

/** A long name with a bar for a line break, at the space nearest to its middle. */
function inTwoLines(name: string): string {
  if (name.length <= 28) return name
  const spaces = [...name.matchAll(/ /g)].map(({ index }) => index)
  const [middle = 0] = spaces.sort((a, b) => Math.abs(a - name.length / 2) - Math.abs(b - name.length / 2))
  return `${name.slice(0, middle)}|${name.slice(middle + 1)}`
}

/** Medians of a group on one logarithmic axis: a band a row, in it a bar a contestant. */
function medians(group: GroupResult): Promise<string> {
  const values = group.rows.flatMap((row) =>
    row.contestants.flatMap(({ name, library, timing }) => {
      if (!timing) return []
      // Colour tells libraries apart; what a contestant has beside its library's name stands at its bar.
      const label = `${duration(timing.median)} ${name.replace(library, '').trim()}`.trim()
      return [{ row: inTwoLines(row.name), name, library, ms: timing.median, label }]
    }),
  )
  const all = values.map((v) => v.ms)
  const [low, high] = [10 ** Math.floor(Math.log10(Math.min(...all))), Math.max(...all)]
  const present = libraries.filter((library) => values.some((v) => v.library === library))
  const y = {
    y: {
      field: 'row',
      type: 'nominal',
      title: null,
      sort: null,
      axis: { ticks: false, domain: false, labelLimit: 320, labelFontSize: 10, labelExpr: "split(datum.label, '|')" },
      scale: { paddingInner: 0.3 },
    },
    yOffset: { field: 'name', type: 'nominal', sort: null },
    x: {
      field: 'ms',
      type: 'quantitative',
      title: 'median, ms',
      scale: { type: 'log', domain: [low, 2 * high], nice: false },
    },
  }
  return draw({
    width: 480,
    height: { step: 17 },
    data: { values },
    layer: [
      {
        mark: { type: 'bar' },
        encoding: {
          ...y,
          x2: { datum: low },
          color: {
            field: 'library',
            type: 'nominal',
            scale: { domain: present, range: present.map((library) => colours[library as keyof typeof colours]) },
          },
        },
      },
      {
        mark: { type: 'text', align: 'left', baseline: 'middle', dx: 4, fontSize: 10, color: CHART_INK },
        encoding: { ...y, text: { field: 'label' } },
      },
    ],
  })
}

/** This engine's rows under the roof of the measured ceilings. */
function roofline({ ceilings, groups }: Report): Promise<string> | undefined {
  const points = groups.flatMap((group) =>
    group.rows.flatMap((row) => {
      const own = row.contestants.filter((c) => c.library === 'diptych' && c.timing)
      if (!own.length || row.flops === 0) return []
      const fastest = Math.min(...own.map((c) => c.timing!.median))
      return [{ group: group.name, intensity: row.intensity, gflops: row.flops / (fastest * 1e6) }]
    }),
  )
  if (!points.length) return undefined
  const memory = bandwidthFor(ceilings, Number.POSITIVE_INFINITY)
  const ridge = ceilings.gflops / memory
  const low = Math.min(0.1, ...points.map((p) => p.intensity))
  const high = Math.max(10 * ridge, ...points.map((p) => p.intensity))
  const roof = [low, ridge, high].map((intensity) => ({
    intensity,
    gflops: Math.min(ceilings.gflops, intensity * memory),
  }))
  const encoding = {
    x: {
      field: 'intensity',
      type: 'quantitative',
      title: 'flop / byte of the problem',
      scale: { type: 'log', nice: false },
    },
    y: { field: 'gflops', type: 'quantitative', title: 'GFLOP/s', scale: { type: 'log' } },
  }
  return draw({
    height: 260,
    layer: [
      { data: { values: roof }, mark: { type: 'line', strokeDash: [4, 3] }, encoding },
      {
        data: { values: points },
        mark: { type: 'point', filled: true, size: 60 },
        encoding: {
          ...encoding,
          color: { field: 'group', type: 'nominal' },
          shape: { field: 'group', type: 'nominal' },
        },
      },
    ],
  })
}

const resultColumns = ['contestant', 'median', 'speed', '× diptych', 'dispatches', 'bytes moved', 'error']

/** What follows a line break is set small. A contestant that was not timed has its reason under its name. */
function resultCells(result: ContestantResult, row: RowResult): string[] {
  const all = cells(result, row)
  if (!result.timing) return [all.join('\n'), ...resultColumns.slice(1).map(() => '–')]
  const [name, median, best, spread, speed, share, against, dispatches, moved, peak, error] = all
  return [
    name!,
    `${median}\nbest ${best}, ${spread}`,
    `${speed}\n${share} of the ceiling`,
    against!,
    dispatches!,
    `${moved}\npeak ${peak}`,
    error!.replace('-', '\u2011'),
  ]
}

const programHeads = ['program', 'launches', 'flop/B', 'workgroup memory', 'bound']
/** Ops named of a program. */
const opsNamed = 4

function programRow(use: ProgramUse): string[] {
  const [label, times, intensity, memory, accumulators, bound, least] = programCells(use)
  const ops = use.ops.slice(0, opsNamed).join(', ')
  const more = use.ops.length > opsNamed ? ` and ${use.ops.length - opsNamed} more` : ''
  return [
    `${label}\n${ops}${more}`,
    times!,
    intensity!,
    `${memory}\n${accumulators} accumulators a thread`,
    `${bound}\nleast ${least}`,
  ]
}

const rowBlocks = (row: RowResult): Section['blocks'] => [
  { kind: 'text', text: `${row.name}: ${problemLine(row)}.` },
  { kind: 'table', columns: resultColumns, rows: row.contestants.map((c) => resultCells(c, row)) },
  ...programsOfRow(row).map(({ on, programs }) => ({
    kind: 'table' as const,
    caption: `Programs ${on}, the longest by the ceilings first`,
    columns: programHeads,
    rows: programs.map(programRow),
  })),
]

async function groupSection(group: GroupResult): Promise<Section> {
  const timed = group.rows.some((row) => row.contestants.some((c) => c.timing))
  return {
    title: group.name,
    blocks: [
      { kind: 'text', text: group.about },
      ...(timed
        ? [{ kind: 'chart' as const, svg: await medians(group), description: `Median times of ${group.name}` }]
        : []),
      ...group.rows.flatMap(rowBlocks),
    ],
  }
}

/** A row of cells by column, or a name with its reason under it. */
function compact(cells: readonly string[], columns: number, arrange: (cells: readonly string[]) => string[]): string[] {
  return cells.length > 2 ? arrange(cells) : [cells.join('\n'), ...new Array<string>(columns - 1).fill('–')]
}

function hostSection(report: HostReport): Section {
  const times = ['contestant', 'median', '× diptych', 'dispatches', 'bind groups', 'bytes written', 'peak live']
  const memory = ['memory', 'peak live', 'after the steps', 'once let go', 'growth', 'objects made a step']
  return {
    title: 'host',
    blocks: [
      { kind: 'text', text: report.about },
      {
        kind: 'table',
        columns: times,
        rows: report.rows.map((r) =>
          compact(
            hostCells(r, report),
            times.length,
            ([name, median, best, spread, against, dispatches, submits, groups, buffers, written, peak]) => [
              name!,
              `${median}\nbest ${best}, ${spread}`,
              against!,
              `${dispatches}\n${submits} submits`,
              `${groups}\n${buffers} buffers`,
              written!,
              peak!,
            ],
          ),
        ),
      },
      {
        kind: 'table',
        caption: 'Live buffer bytes over many steps, and the growth of the JavaScript heap',
        columns: memory,
        rows: report.memory.map((r) =>
          compact(
            memoryCells(r),
            memory.length,
            ([name, steps, on, before, peak, after, released, gpu, heap, made]) => [
              `${name}\n${steps} steps on ${on}`,
              peak!,
              `${after}\nbefore ${before}`,
              released!,
              `${gpu}\nheap ${heap}`,
              made!,
            ],
          ),
        ),
      },
      { kind: 'verbatim', text: report.targets.map(targetLine).join('\n') || 'no targets without peers' },
    ],
  }
}

/** The whole page. */
export async function htmlReport(report: Report): Promise<string> {
  const roof = await roofline(report)
  const page: Page = {
    title: 'Diptych benchmark',
    subtitle: report.environment.adapter,
    sections: [
      {
        title: 'Conditions',
        blocks: [
          { kind: 'facts', facts: environmentFacts(report.environment).map(([name, value]) => [name, value]) },
          { kind: 'text', text: ceilingLine(report.ceilings) },
          ...(report.quick
            ? [
                {
                  kind: 'notice' as const,
                  tone: 'warning' as const,
                  text: 'A quick run: tiny problems, few samples. It says nothing about speed.',
                },
              ]
            : []),
          ...(report.ok
            ? []
            : [{ kind: 'notice' as const, tone: 'warning' as const, text: 'A check of diptych failed.' }]),
          ...(roof
            ? [{ kind: 'chart' as const, svg: roof, description: 'Rows of this engine under its ceilings' }]
            : []),
        ],
      },
      ...(await Promise.all(report.groups.map(groupSection))),
      ...(report.host ? [hostSection(report.host)] : []),
    ],
  }
  return renderReport(page)
}
