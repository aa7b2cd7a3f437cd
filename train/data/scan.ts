/** Scanning a data set: reader, probe, duplicates, summary. Nothing is dropped silently. */
import { dataset } from './registry.ts'
import { type DatasetScan, type ScanOptions, type VideoEntry, videoKey } from './types.ts'

export interface ScanResult extends DatasetScan {
  /** A table of counts and the notes, as text for a terminal or a log. */
  summary: string
}

/** Reads a data set as its owners publish it. @throws UserError when the layout is not theirs. */
export async function scanDataset(name: string, root: string, options: ScanOptions = {}): Promise<ScanResult> {
  const reader = dataset(name)
  const { entries, unreadable, notes } = await reader.read(root, options)
  const pathOf = new Map<string, string>()
  const distinct = entries.filter((entry) => {
    const key = videoKey(entry)
    const before = pathOf.get(key)
    if (before !== undefined) unreadable.push({ path: entry.path, reason: `the same video as ${before}` })
    else pathOf.set(key, entry.path)
    return before === undefined
  })
  const kept = options.probe ? await probeAll(distinct, options, unreadable) : distinct
  return { entries: kept, unreadable, notes, summary: summarise(reader.title, { entries: kept, unreadable, notes }) }
}

async function probeAll(
  entries: VideoEntry[],
  options: ScanOptions,
  unreadable: DatasetScan['unreadable'],
): Promise<VideoEntry[]> {
  const results: (VideoEntry | undefined)[] = new Array(entries.length)
  const failures: (DatasetScan['unreadable'][number] | undefined)[] = new Array(entries.length)
  let next = 0
  let done = 0
  const worker = async () => {
    while (next < entries.length) {
      const i = next++
      const entry = entries[i]
      try {
        const found = await options.probe!(entry.path)
        results[i] = { ...entry, ...Object.fromEntries(Object.entries(found).filter(([, v]) => v !== undefined)) }
      } catch (error) {
        failures[i] = { path: entry.path, reason: error instanceof Error ? error.message : String(error) }
      }
      options.onProgress?.(++done, entries.length)
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, options.concurrency ?? 2) }, worker))
  unreadable.push(...failures.filter((f) => f !== undefined))
  return results.filter((entry) => entry !== undefined)
}

/** Rows of methods, columns of splits; below it what could not be used, by reason, and the notes. */
export function summarise(title: string, scan: DatasetScan): string {
  const columns = ['train', 'val', 'test', null] as const
  const rows = new Map<string, number[]>()
  for (const entry of scan.entries) {
    const kind = `${entry.label ? 'fake' : 'real'}  ${entry.method}${entry.compression ? `  ${entry.compression}` : ''}`
    const counts = rows.get(kind) ?? columns.map(() => 0)
    counts[columns.indexOf(entry.split)]++
    rows.set(kind, counts)
  }
  const header = [title, 'train', 'val', 'test', 'no split', 'all']
  const sum = (list: number[]) => list.reduce((a, b) => a + b, 0)
  const body = [...rows]
    .sort(([a], [b]) => (a.slice(0, 4) === b.slice(0, 4) ? (a < b ? -1 : 1) : a < b ? 1 : -1))
    .map(([kind, counts]) => [kind, ...counts.map(String), String(sum(counts))])
  const totals = columns.map((_, i) => sum([...rows.values()].map((counts) => counts[i])))
  const table = alignColumns([header, ...body, ['total', ...totals.map(String), String(sum(totals))]])
  const lines = [table[0], '-'.repeat(table[0].length), ...table.slice(1)]
  if (scan.unreadable.length > 0) {
    lines.push('', `not usable: ${scan.unreadable.length}`)
    const reasons = new Map<string, string[]>()
    for (const { path, reason } of scan.unreadable) {
      // Reasons that differ in a line number or a name alone are one kind.
      const kind = reason.replace(/line \d+/, 'line …').replace(/^the same video as .*/, 'a video given twice')
      reasons.set(kind, [...(reasons.get(kind) ?? []), path])
    }
    for (const [reason, paths] of reasons)
      lines.push(`  ${paths.length} × ${reason}: ${paths[0]}${paths.length > 1 ? ', …' : ''}`)
  }
  for (const note of scan.notes) lines.push(`note: ${note}`)
  return lines.join('\n')
}

/** First column to the left, numbers to the right. */
export function alignColumns(rows: string[][]): string[] {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  return rows.map((row) => row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  '))
}
