/** The report on a terminal, row by row as it is measured. */
import colours from 'picocolors'
import type { Environment, GroupResult, Report, RowResult } from '../results.ts'
import type { Ceilings } from '../roofline.ts'
import { ceilingLine, cells, columns, environmentFacts, problemLine, programTables } from './describe.ts'

const width = (text: string): number => [...text].length

/** Columns set to the right, the first to the left; a row of two cells is a name and a sentence. */
export function aligned(rows: readonly (readonly string[])[], indent = '    '): string[] {
  const whole = rows.filter((row) => row.length > 2)
  const widths = (whole[0] ?? []).map((_, i) => Math.max(...whole.map((row) => width(row[i]!))))
  const first = Math.max(...rows.map((row) => width(row[0]!)))
  return rows.map((row) =>
    row.length > 2
      ? indent +
        row
          .map((cell, i) =>
            i === 0 ? cell + ' '.repeat(first - width(cell)) : ' '.repeat(widths[i]! - width(cell)) + cell,
          )
          .join('  ')
      : `${indent}${row[0]}${' '.repeat(first - width(row[0]!))}  ${row[1]}`,
  )
}

export function rowText(row: RowResult): string {
  const [head, ...body] = aligned([columns, ...row.contestants.map((c) => cells(c, row))])
  const marked = body.map((line, i) => {
    const { status, library } = row.contestants[i]!
    if (status !== 'ok') return library === 'diptych' ? colours.red(line) : colours.yellow(line)
    return library === 'diptych' ? colours.bold(line) : line
  })
  const lead = row.lead === undefined ? [] : [`    ${row.lead.toFixed(2)}× as fast as the fastest peer`]
  return [
    `  ${colours.bold(row.name)}  ${colours.dim(problemLine(row))}`,
    colours.dim(head!),
    ...marked,
    ...lead,
    ...programTables(row).flatMap((table) => aligned(table, '      ').map(colours.dim)),
  ].join('\n')
}

export const groupTitle = ({ name, about }: Pick<GroupResult, 'name' | 'about'>): string =>
  `\n${colours.bold(name)}  ${about}`

export const headText = (environment: Environment, ceilings: Ceilings): string =>
  [...environmentFacts(environment).map(([name, value]) => `${name}: ${value}`), ceilingLine(ceilings)].join('\n')

/** The last line: how many were timed, and what failed. */
export function verdict(report: Report): string {
  const all = report.groups.flatMap((g) =>
    g.rows.flatMap((row) => row.contestants.map((c) => ({ ...c, at: `${g.name} ${row.name} ${c.name}` }))),
  )
  const host = [...(report.host?.rows ?? []), ...(report.host?.memory ?? [])].map((r) => ({
    ...r,
    at: `host ${r.name}`,
  }))
  const bad = [...all, ...host].filter(({ status, library }) => status !== 'ok' && library === 'diptych')
  if (bad.length) return [colours.red('failed:'), ...bad.map(({ at, reason }) => `  ${at}: ${reason}`)].join('\n')
  const timed = all.filter(({ status }) => status === 'ok').length
  return colours.green(`every check of diptych passed${timed ? ` (${timed} contestants timed)` : ''}`)
}
