/**
 * Scoring a folder of videos: one row a file, written as JSON Lines while it runs and as CSV at its end. A file that fails
 * is a row with its error and never a number; an interrupted run resumes from the rows it wrote.
 */
import { appendFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { csvCell } from '../data/csv.ts'
import { byName, isVideo } from '../data/files.ts'
import {
  hashVideo,
  type PrepareEachOptions,
  type PrepareSettings,
  prepareEach,
  settingsKey,
  settingsOf,
} from '../preprocess/index.ts'
import { writeAtomically } from '../training/files.ts'
import { VideoError } from '../video/index.ts'
import type { Detector, VideoVerdict } from './types.ts'
import { scoreVideo } from './video.ts'

export type ScoreRow =
  | (VideoVerdict & { status: 'scored' | 'inconclusive'; settingsKey: string })
  | { status: 'error'; file: string; error: string; message: string }

export interface ScoreFolderOptions extends PrepareEachOptions {
  /** Gets scores.jsonl and scores.csv. */
  outDir: string
  settings: Partial<PrepareSettings>
  /** Keeps the rows of an earlier run whose file, weights and settings are the same; errors are tried again. */
  resume?: boolean
  onRow?: (row: ScoreRow, progress: { done: number; total: number; resumed: boolean }) => void
}

export interface ScoredFolder {
  rows: ScoreRow[]
  /** Rows taken from the earlier run. */
  resumed: number
  /** Files that are no videos by their names. */
  others: number
  csv: string
  jsonLines: string
}

/** The video files under a folder, sorted; hidden files and folders are left out. */
export async function listVideos(folder: string): Promise<{ videos: string[]; others: number }> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = found
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((path) => !path.split(sep).some((part) => part.startsWith('.')))
  const videos = files.filter(isVideo).sort(byName)
  return { videos, others: files.length - videos.length }
}

/** Scores every video under a folder; `file` of a row is its path in the folder. Rejects when the signal aborts. */
export async function scoreFolder(
  folder: string,
  detector: Detector,
  options: ScoreFolderOptions,
): Promise<ScoredFolder> {
  const { outDir, settings, resume, onRow, signal } = options
  const { videos, others } = await listVideos(folder)
  const jsonLines = join(outDir, 'scores.jsonl')
  const csv = join(outDir, 'scores.csv')
  await mkdir(outDir, { recursive: true })
  const key = settingsKey(settingsOf(settings))
  const earlier = resume ? await readRows(jsonLines) : new Map<string, ScoreRow>()
  const rows = new Map<string, ScoreRow>()
  const entries: { path: string; file: string; sha256?: string }[] = []
  for (const file of videos) {
    const path = join(folder, file)
    const row = earlier.get(file)
    const same = row && row.status !== 'error' && row.sha256.weights === detector.sha256 && row.settingsKey === key
    // A file that cannot be read gets its row below.
    const sha256 = same ? await hashVideo(path, signal).catch(ignoreVideoError) : undefined
    if (same && row.sha256.video === sha256) rows.set(file, row)
    else entries.push({ path, file, sha256 })
  }
  const resumed = rows.size
  let done = 0
  for (const row of rows.values()) onRow?.(row, { done: ++done, total: videos.length, resumed: true })
  await writeFile(jsonLines, [...rows.values()].map(toLine).join(''))
  for await (const { entry, video, error } of prepareEach(entries, settings, options)) {
    const row: ScoreRow = error
      ? { status: 'error', file: entry.file, error: error.reason, message: error.message }
      : rowOf(entry.file, await scoreVideo(video, detector), key)
    rows.set(entry.file, row)
    await appendFile(jsonLines, toLine(row))
    onRow?.(row, { done: ++done, total: videos.length, resumed: false })
  }
  const ordered = videos.map((file) => rows.get(file)!)
  await writeAtomically(jsonLines, ordered.map(toLine).join(''))
  await writeAtomically(csv, toCsv(ordered))
  return { rows: ordered, resumed, others, csv, jsonLines }
}

function ignoreVideoError(error: unknown): undefined {
  if (!(error instanceof VideoError)) throw error
}

const rowOf = (file: string, verdict: VideoVerdict, key: string): ScoreRow => ({
  ...verdict,
  file,
  status: verdict.verdict === 'inconclusive' ? 'inconclusive' : 'scored',
  settingsKey: key,
})

const toLine = (row: ScoreRow): string => `${JSON.stringify(row)}\n`

/** Rows of an earlier run by file; a last line that was cut off is left out. */
async function readRows(path: string): Promise<Map<string, ScoreRow>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  const rows = new Map<string, ScoreRow>()
  for (const line of text.split('\n').filter((line) => line !== '')) {
    try {
      const row = JSON.parse(line) as ScoreRow
      rows.set(row.file, row)
    } catch {
      // Cut off by the interruption: its video is scored again.
    }
  }
  return rows
}

const COLUMNS = [
  'file',
  'status',
  'verdict',
  'score',
  'score_low',
  'score_high',
  'probability',
  'clips',
  'faces',
  'reason',
  'sha256',
]

function toCsv(rows: ScoreRow[]): string {
  const lines = rows.map((row) => {
    if (row.status === 'error') return [row.file, 'error', '', '', '', '', '', '', '', row.message, '']
    const { score, scoreInterval, probability, clips, tracks, reason, sha256 } = row
    const numbers = [score, scoreInterval?.low, scoreInterval?.high, probability].map((x) => x?.toFixed(6) ?? '')
    return [row.file, row.status, row.verdict, ...numbers, clips.length, tracks.length, reason ?? '', sha256.video]
  })
  return [COLUMNS, ...lines].map((cells) => `${cells.map((cell) => csvCell(String(cell))).join(',')}\n`).join('')
}
