/** What scoring asks of a detector, and what it says of a video. */
import type { ClipResult, Heatmap, MatrixFigure, Verdict } from '../report/types.ts'

/** Why a clip was scored as it was. */
export interface Saliency {
  /** A field for each of the T frames, laid over them; e.g. "rows (Z_h)" and "columns (Z_v)". */
  strips: { title: string; heat: Heatmap[] }[]
  /** Diffusion distances: Dist_hh, Dist_hv, …. */
  matrices: MatrixFigure[]
}

export interface Detector {
  config: { T: number; M: number }
  /** Fake probability and logit (logits[1] − logits[0]) of clips of [T, M, M, 3] bytes. */
  probabilities(clips: Uint8Array[]): Promise<{ probability: number; logit: number }[]>
  /** Fitted on validation; without one no probability is called calibrated. */
  temperature?: number
  /** Score above which a video is called fake, picked on validation; 0.5 without one. */
  threshold?: number
  /** Of the weights' file. */
  sha256: string
  /** Trained on made-up videos. */
  rehearsal?: boolean
  explain?(clip: Uint8Array): Promise<Saliency>
}

export interface Range95 {
  low: number
  high: number
  level: number
}

/** Score of one face. */
export interface TrackScore {
  track: number
  clips: number
  /** Mean fake probability of the clips. */
  score: number
  /** Bootstrap over the clips; absent for a single clip. */
  scoreInterval?: Range95
  /** Mean logit, and its probability. */
  logit: number
  meanLogitScore: number
  maxScore: number
}

/** The answer for one video; the JSON of `diptych score --json`. */
export interface VideoVerdict {
  file: string
  verdict: Verdict
  /** Why uncertain or inconclusive. */
  reason?: string
  /** Short name of an inconclusive reason: no-face, too-few-frames, face-too-small, almost-no-motion. */
  code?: string
  /** Of the face with the highest score. Absent when inconclusive, as are all numbers below. */
  score?: number
  scoreInterval?: Range95
  /** σ(mean logit / temperature), where the weights have a temperature. */
  probability?: number
  probabilityInterval?: Range95
  threshold: number
  meanLogitScore?: number
  maxScore?: number
  clips: (ClipResult & { logit: number })[]
  tracks: TrackScore[]
  video: { width: number; height: number; fps: number; frames: number; durationSeconds: number }
  preprocessing: Record<string, unknown>
  sha256: { video: string; weights: string }
  rehearsalWeights: boolean
  notes: string[]
}
