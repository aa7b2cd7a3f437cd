/** Verdicts as text for a terminal. */
import pc from 'picocolors'
import type { Verdict } from '../report/types.ts'
import type { Range95, ScoreRow, VideoVerdict } from '../score/index.ts'

const COLOURS: Record<Verdict, (text: string) => string> = {
  'likely fake': pc.red,
  uncertain: pc.yellow,
  'likely real': pc.green,
  inconclusive: pc.dim,
}

/** Everything about one video, a line a fact, ending with a newline. */
export function verdictText(verdict: VideoVerdict, checkpoint: string): string {
  const { file, reason, code, score, probability, threshold, clips, tracks, video, sha256 } = verdict
  const lines = [`${file}: ${COLOURS[verdict.verdict](pc.bold(verdict.verdict))}`]
  const add = (name: string, text: string) => lines.push(`  ${name.padEnd(12)}${text}`)
  if (reason) add('because', code ? `${reason} (${code})` : reason)
  if (score !== undefined)
    add(
      'score',
      `${score.toFixed(3)}${interval(verdict.scoreInterval, 3)}; above ${threshold.toFixed(3)} is called fake`,
    )
  if (probability !== undefined)
    add('calibrated', `${percent(probability)} fake${percentInterval(verdict.probabilityInterval)}`)
  for (const { track } of tracks) {
    const own = clips.filter((clip) => clip.track === track)
    const name = tracks.length > 1 ? `face ${track + 1}` : 'clips'
    const range = `${own[0].startSeconds.toFixed(1)} – ${own.at(-1)!.endSeconds.toFixed(1)} s`
    add(name, `${own.map(({ probability: p }) => p.toFixed(2)).join(' ')}   ${range}`)
  }
  const { width, height, fps, frames, durationSeconds } = video
  add('video', `${width}×${height}, ${frames} frames at ${fps.toFixed(2)} a second, ${durationSeconds.toFixed(1)} s`)
  add('weights', `${checkpoint} (sha256 ${sha256.weights.slice(0, 12)}…)`)
  for (const note of verdict.notes) add('note', note)
  if (verdict.rehearsalWeights)
    add('note', 'these weights were trained on rendered faces: the score is a rehearsal, no evidence about real videos')
  return `${lines.join('\n')}\n`
}

/** One line for a row of a folder. */
export function rowText(row: ScoreRow): string {
  if (row.status === 'error') return `${row.file}: ${pc.red('error')} (${row.error})\n`
  const score = row.score === undefined ? '' : ` ${row.score.toFixed(3)}${interval(row.scoreInterval, 3)}`
  const why = row.reason ? ` (${row.reason})` : ''
  return `${row.file}: ${COLOURS[row.verdict](row.verdict)}${score}${why}\n`
}

const percent = (x: number) => `${(100 * x).toFixed(0)} %`

const interval = (range: Range95 | undefined, digits: number): string =>
  range ? `, ${percent(range.level)} interval ${range.low.toFixed(digits)} – ${range.high.toFixed(digits)}` : ''

const percentInterval = (range: Range95 | undefined): string =>
  range ? `, ${percent(range.level)} interval ${percent(range.low)} – ${percent(range.high)}` : ''
