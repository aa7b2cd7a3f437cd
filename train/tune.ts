/** Tunes the kernels of a preset: those of scoring clips, and of a training step. */
import { type DipConfig, makeConfig, type PresetName } from '../dip/index.ts'
import { type Device, HostRandom, type Tuned, type TuneOptions, type TuneReport } from '../engine/index.ts'
import type { ClipRef, Triplet } from './data/index.ts'
import { makeBatch } from './training/batch.ts'
import { Trainer } from './training/trainer.ts'

export const tuningParts = ['score', 'train'] as const
export type TuningPart = (typeof tuningParts)[number]

export interface TunePresetOptions extends Pick<TuneOptions, 'force' | 'signal' | 'leastShare' | 'onProgress'> {
  readonly preset: PresetName
  /** Triplets of a training batch. Default: the preset's. */
  readonly clips?: number
  /** Default: both. */
  readonly parts?: readonly TuningPart[]
  /** Measuring ends after this many seconds, for all parts together. */
  readonly seconds: number
  readonly onPart?: (part: TuningPart) => void
}

export interface PartReport extends TuneReport {
  readonly part: TuningPart
}

/** Random pixels: what they show does not matter to the time that they take. */
function noiseClip({ T, M }: DipConfig, random: HostRandom): Uint8Array {
  return Uint8Array.from({ length: T * M * M * 3 }, () => Math.floor(256 * random.uniform()))
}

/** Measures on `device`, the default one; what is found is kept. Weights are made up and thrown away. */
export async function tunePreset(device: Device, options: TunePresetOptions): Promise<PartReport[]> {
  const { preset, seconds, parts = tuningParts, onPart, clips, ...rest } = options
  const config = makeConfig({ preset, ...(clips ? { 'optim.batch': clips } : {}) })
  const trainer = new Trainer(config, 1, { peak: config.optim.lr, steps: 1000, warmup: 0 })
  const clip = noiseClip(config, new HostRandom(1, 1))
  const work: Record<TuningPart, () => Promise<unknown>> = {
    score: () => trainer.logits('student', [clip]),
    train: trainingStep(trainer, clip),
  }
  const end = performance.now() + 1e3 * seconds
  const reports: PartReport[] = []
  for (const [i, part] of parts.entries()) {
    onPart?.(part)
    // What one part leaves is the others'.
    const left = Math.max(0, (end - performance.now()) / 1e3 / (parts.length - i))
    reports.push({ part, ...(await device.tune(work[part], { ...rest, seconds: left, confirm: true })) })
  }
  return reports
}

function trainingStep(trainer: Trainer, clip: Uint8Array): () => Promise<unknown> {
  const { T, M, augment, optim } = trainer.config
  const ref: ClipRef = { video: { path: '' } as ClipRef['video'], clip: 0 }
  const triplet: Triplet = { anchor: ref, positive: ref, negative: ref, paired: true }
  const batch = makeBatch(
    new Array<Triplet>(optim.batch).fill(triplet),
    { frames: () => clip },
    { frames: T, side: M },
    augment,
    1,
    0,
  )
  return async () => trainer.step(await batch)
}

const milliseconds = (ms: number) => (ms >= 100 ? ms.toFixed(0) : ms.toFixed(1))
const microseconds = (us: number) => (us >= 100 ? us.toFixed(0) : us.toFixed(1))

/** How many times faster the winner is than what the heuristic takes. */
const gainOf = ({ choice, heuristic }: Tuned): number =>
  heuristic in choice.times ? choice.times[heuristic]! / choice.times[choice.winner]! : 1

/** A problem, what counts as the same one, and its candidates, the fastest first. */
function problemLines(tuned: Tuned): string[] {
  const { kernel, problem, example, choice, heuristic, count, share, fresh } = tuned
  const weight = share ? `  × ${count}, ${(100 * share).toFixed(1)} % of the time` : ''
  const lines = [`  ${kernel}  ${example}${weight}${fresh ? '' : ' (known)'}`, `    bucket ${problem}`]
  for (const [name, time] of Object.entries(choice.times).sort(([, a], [, b]) => a - b)) {
    const marks = [
      name === choice.winner ? `winner${name === heuristic ? '' : `, ${gainOf(tuned).toFixed(2)} ×`}` : '',
      name === heuristic ? 'heuristic' : '',
    ]
    const note = marks.filter(Boolean).join(', ')
    lines.push(`    ${microseconds(time).padStart(9)} µs  ${name}${note ? `  ← ${note}` : ''}`)
  }
  for (const [name, reason] of Object.entries(choice.rejected)) lines.push(`     rejected  ${name}: ${reason}`)
  return lines
}

/** Geometric mean of the gains, each problem once; 1 where the heuristic's choice is used. */
function gainLine(reports: readonly PartReport[]): string {
  const gains = new Map<string, number>()
  for (const { problems, whole } of reports)
    for (const p of problems) gains.set(`${p.kernel} ${p.problem}`, whole?.dropped.includes(p.kernel) ? 1 : gainOf(p))
  const mean = Math.exp([...gains.values()].reduce((sum, gain) => sum + Math.log(gain), 0) / Math.max(gains.size, 1))
  return `Geometric mean of the gains: ${mean.toFixed(2)} × over ${gains.size} problems`
}

/** What was found, for people: every problem with its candidates, the sums of each part, and the gain of all. */
export function formatTuning(reports: readonly PartReport[]): string {
  const lines: string[] = []
  for (const { part, problems, skipped, whole } of reports) {
    lines.push(part === 'score' ? 'Scoring' : 'Training step', '', ...problems.flatMap(problemLines))
    const reasons = new Map<string, number>()
    for (const { reason } of skipped) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    for (const [reason, count] of reasons) lines.push(`  ${count} problems not measured: ${reason}`)
    const changed = problems.filter((p) => p.choice.winner !== p.heuristic).length
    const rejected = problems.reduce((sum, p) => sum + Object.keys(p.choice.rejected).length, 0)
    lines.push(
      '',
      `  ${problems.length} problems, ${problems.filter((p) => p.fresh).length} of them measured now; ` +
        `the heuristic loses in ${changed}; ${rejected} candidates rejected`,
    )
    if (whole) {
      const ratio = whole.heuristic / whole.tuned
      lines.push(
        `  as a whole: ${milliseconds(whole.heuristic)} ms with the heuristic, ${milliseconds(whole.tuned)} ms tuned (${ratio.toFixed(2)} ×)` +
          (whole.dropped.length ? `; winners given up, since they made it slower: ${whole.dropped.join(', ')}` : ''),
      )
    }
    lines.push('')
  }
  lines.push(gainLine(reports))
  return lines.map((line) => `${line}\n`).join('')
}
