/** A whole run: every chosen group and row, on whatever runners there are. Platform-free: the command line and the page call it. */
import type { Group, LibraryName, Row, RowContext } from './contract.ts'
import { measureRow } from './measure.ts'
import type { GroupResult, RowResult } from './results.ts'
import type { Ceilings } from './roofline.ts'
import type { Runner } from './session.ts'

export interface RunOptions {
  readonly context: RowContext
  readonly filters: readonly string[]
  readonly ceilings: Ceilings
  readonly tell?: (what: string) => void
  readonly onGroup?: (group: Group) => void
  readonly onRow?: (row: RowResult, group: Group) => void
}

const names = (row: Row, filters: readonly string[]): boolean =>
  filters.some((f) => row.name.toLowerCase().includes(f.toLowerCase()))

/** Rows of a group that a filter lets through; those on request only if it names them. */
export const chosenRows = (group: Group, context: RowContext, filters: readonly string[]): Row[] =>
  group.rows(context).filter((row) => (filters.length ? names(row, filters) : !row.onRequest))

/** Measures groups in order; one without a chosen row is left out. */
export async function runGroups(
  groups: readonly Group[],
  runners: ReadonlyMap<LibraryName, Runner>,
  options: RunOptions,
): Promise<GroupResult[]> {
  const { context, ceilings, tell } = options
  const results: GroupResult[] = []
  for (const group of groups) {
    const rows: RowResult[] = []
    const chosen = chosenRows(group, context, options.filters)
    if (!chosen.length) continue
    options.onGroup?.(group)
    for (const row of chosen) {
      const result = await measureRow(row, { group: group.name, row: row.name, context }, runners, {
        quick: context.quick,
        ceilings,
        ...(tell && { tell }),
      })
      rows.push(result)
      options.onRow?.(result, group)
    }
    results.push({ name: group.name, about: group.about, rows })
  }
  return results
}

/** Whether this engine passed every check. */
export const passedAll = (groups: readonly GroupResult[]): boolean =>
  groups.every((g) => g.rows.every((r) => r.contestants.every((c) => c.library !== 'diptych' || c.status === 'ok')))
