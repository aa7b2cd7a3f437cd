/** What the reports are made of. Whatever is optional and absent is left out of the report. */
import type { Calibration } from '../metrics/calibration.ts'
import type { Evaluation } from '../metrics/evaluate.ts'
import type { Metric } from '../metrics/ranking.ts'

/** Interleaved 8-bit RGB, row-major: 3 · width · height bytes. */
export interface RgbImage {
  width: number
  height: number
  rgb: Uint8Array
}

/** A field of numbers, row-major. */
export interface Heatmap {
  width: number
  height: number
  values: ArrayLike<number>
}

/** One cell: text (what follows a line break is set small), or a number printed with the `digits` decimals of its column. */
export type Cell = string | number | null | undefined

export interface Column {
  title: string
  /** Decimals of numbers. Default 3. */
  digits?: number
}

export type Block =
  | { kind: 'text'; text: string }
  /** Text as it stands, in a fixed-width face: tables made for a terminal. */
  | { kind: 'verbatim'; text: string }
  | { kind: 'notice'; text: string; tone: 'info' | 'warning' }
  | { kind: 'table'; columns: (string | Column)[]; rows: Cell[][]; caption?: string }
  | { kind: 'facts'; facts: [string, Cell][] }
  /** Large numbers side by side. */
  | { kind: 'tiles'; tiles: { label: string; value: string; detail?: string; tone?: Tone }[] }
  /** An SVG made by the chart functions of this folder, and what it shows, for those who cannot see it. */
  | { kind: 'chart'; svg: string; description: string }
  /** Data URIs from `pngDataUri`. `scale` enlarges small images without smoothing. */
  | { kind: 'images'; images: { uri: string; caption?: string; width: number; height: number }[]; pixelated?: boolean }

export type Tone = 'fake' | 'real' | 'uncertain' | 'plain'

export interface Section {
  title: string
  blocks: Block[]
}

export interface Report {
  title: string
  subtitle?: string
  sections: Section[]
}

/** Values at one step of training: losses by name (`loss`, `cce`, `sti`, `da`, …). */
export interface HistoryPoint {
  step: number
  values: Record<string, number>
}

/** Video AUC on validation after an epoch. */
export interface ValidationPoint {
  epoch: number
  student?: number
  teacher?: number
}

export interface NamedEvaluation {
  /** "ff++ c23 test", "cdf". */
  name: string
  evaluation: Evaluation
}

export interface PaperComparison {
  /** "ff++ c23, AUC". */
  name: string
  measured: Metric
  /** The paper's number, in percent as it prints it. */
  paperPercent: number
}

export interface TrainingRun {
  title: string
  /** True when the videos were made by `diptych synth`: the report then says that its numbers prove nothing. */
  synthetic: boolean
  /** True when the labels were shuffled: the control experiment, whose AUC should be 0.5. */
  shuffledLabels?: boolean
  config?: Record<string, unknown>
  /** The scan's summary, as text. */
  dataSummary?: string
  history?: HistoryPoint[]
  validation?: ValidationPoint[]
  /** Epoch picked on validation. */
  bestEpoch?: number
  evaluations?: NamedEvaluation[]
  paper?: PaperComparison[]
  calibration?: Calibration
  /** Example crops with directional saliency. */
  strips?: FrameStrip[]
  durationSeconds?: number
  steps?: number
  clipsPerSecond?: number
  /** Adapter, versions, seeds: whatever is needed to repeat the run. */
  provenance?: Record<string, string | number>
  notes?: string[]
}

export type Verdict = 'likely fake' | 'uncertain' | 'likely real' | 'inconclusive'

export interface ClipResult {
  startSeconds: number
  endSeconds: number
  /** Fake probability. */
  probability: number
  /** Face track, where a video shows several faces. */
  track?: number
}

export interface FrameStrip {
  /** "Clip 3, rows (Z_h)". */
  title: string
  frames: RgbImage[]
  /** One per frame, laid over it; any size. */
  heat?: Heatmap[]
}

export interface MatrixFigure {
  /** "Dist_hv". */
  title: string
  matrix: Heatmap
}

export interface VideoResult {
  /** File name or path as the user gave it. */
  file: string
  verdict: Verdict
  /** Why uncertain or inconclusive: no face, too few frames, … */
  reason?: string
  /** Mean fake probability of the clips; absent when inconclusive. */
  score?: number
  /** Calibrated probability and its interval. */
  probability?: number
  interval?: { low: number; high: number; level: number }
  /** Above it "likely fake"; picked on validation. */
  threshold?: number
  meanLogitScore?: number
  maxScore?: number
  clips?: ClipResult[]
  /** Score of each face track; the video takes the maximum. */
  tracks?: { track: number; score: number; clips: number }[]
  /** Example crops with directional saliency. */
  strips?: FrameStrip[]
  /** Diffusion distances Dist_hh, Dist_hv, …. */
  matrices?: MatrixFigure[]
  video?: { frames?: number; fps?: number; width?: number; height?: number; durationSeconds?: number }
  /** sha256 of video and weights, config, version, adapter, preprocessing. */
  provenance?: Record<string, string | number>
  /** True when the weights were trained on made-up data. */
  rehearsalWeights?: boolean
  notes?: string[]
}
