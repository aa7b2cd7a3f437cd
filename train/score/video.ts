/**
 * A prepared video and a detector → a verdict. The score of a face is the mean fake probability of its clips, the score of
 * a video that of its highest face. A video that cannot be judged gets a reason and no number.
 */
import { calibrate, clipInterval, sigmoid } from '../metrics/index.ts'
import { clipFrames, type PreparedVideo } from '../preprocess/index.ts'
import type { Detector, Range95, TrackScore, VideoVerdict } from './types.ts'

/** Scores this near to the threshold are uncertain whatever the clips agree on; of a single clip, this near. */
export const MARGIN = 0.05
export const SINGLE_CLIP_MARGIN = 0.2

/** Clips that go through the detector at once. */
const BATCH = 8

/** Scores the clips of a video. @throws RangeError where the crops do not have the detector's size */
export async function scoreVideo(video: PreparedVideo, detector: Detector): Promise<VideoVerdict> {
  const { T, M } = detector.config
  if (video.size !== M) throw new RangeError(`${video.path}: crops of ${video.size} pixels, the detector takes ${M}`)
  const { threshold = 0.5, temperature } = detector
  const common = {
    file: video.path,
    threshold,
    video: {
      width: video.width,
      height: video.height,
      fps: video.fps,
      frames: video.frames,
      durationSeconds: video.frames / video.fps,
    },
    preprocessing: {
      settings: video.settingsKey,
      detector: video.detector?.name ?? 'none: the frames are crops already',
      ...(video.detector && { detectorSha256: video.detector.sha256 }),
      crop: `${M}×${M} pixels, ${T} of ${video.length} frames a clip`,
      lookedEvery: video.looked.every,
      framesLookedAt: video.looked.frames.length,
      framesWithFace: video.looked.withFace,
      framesInNoClip: video.skippedFrames,
      boxes: video.clips.map(({ track, start, box }) => ({ track, start, ...box })),
    },
    sha256: { video: video.sha256, weights: detector.sha256 },
    rehearsalWeights: detector.rehearsal ?? false,
    notes: notesOf(video),
  }
  if (video.inconclusive) {
    const { reason: code, detail: reason } = video.inconclusive
    return { ...common, verdict: 'inconclusive', code, reason, clips: [], tracks: [] }
  }
  const scores: { probability: number; logit: number }[] = []
  for (let at = 0; at < video.clips.length; at += BATCH) {
    const batch = video.clips.slice(at, at + BATCH).map((_, i) => clipFrames(video, at + i, T))
    scores.push(...(await detector.probabilities(batch)))
  }
  for (const [i, { probability, logit }] of scores.entries())
    if (!Number.isFinite(probability) || !Number.isFinite(logit))
      throw new Error(`the detector gave ${probability} (logit ${logit}) for clip ${i} of ${video.path}`)
  const clips = video.clips.map(({ track, start }, i) => ({
    startSeconds: start / video.fps,
    endSeconds: (start + video.length) / video.fps,
    ...scores[i],
    track,
  }))
  const tracks = [...new Set(clips.map(({ track }) => track))].map((track) =>
    trackScore(
      track,
      clips.filter((clip) => clip.track === track),
    ),
  )
  const top = tracks.reduce((best, track) => (track.score > best.score ? track : best))
  const topLogits = clips.filter(({ track }) => track === top.track).map(({ logit }) => logit)
  if (tracks.length > 1)
    common.notes.push(`${tracks.length} faces were scored on their own; the video takes the highest score`)
  return {
    ...common,
    ...verdictOf(top, threshold),
    score: top.score,
    ...(top.scoreInterval && { scoreInterval: top.scoreInterval }),
    ...(temperature !== undefined && calibrated(topLogits, top.logit, temperature)),
    meanLogitScore: top.meanLogitScore,
    maxScore: top.maxScore,
    clips,
    tracks,
  }
}

/** Faces that were found and not scored are named, beside what preprocessing noted. */
function notesOf({ tracks, notes, inconclusive }: PreparedVideo): string[] {
  if (inconclusive) return [...notes]
  const skipped = tracks.flatMap(({ track, skipped }) =>
    skipped ? [`face ${track + 1} was not scored (${skipped.reason}): ${skipped.detail}`] : [],
  )
  return [...notes, ...skipped]
}

const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length

function trackScore(track: number, clips: { probability: number; logit: number }[]): TrackScore {
  const probabilities = clips.map(({ probability }) => probability)
  const logit = mean(clips.map((clip) => clip.logit))
  const interval = clipInterval(probabilities, { seed: 1 })
  return {
    track,
    clips: clips.length,
    score: mean(probabilities),
    ...(interval && { scoreInterval: range(interval) }),
    logit,
    meanLogitScore: sigmoid(logit),
    maxScore: Math.max(...probabilities),
  }
}

const range = ({ low, high, level }: Range95): Range95 => ({ low, high, level })

/** The interval is drawn on the mean logit and mapped: σ(x / T) keeps the order, so quantiles stay quantiles. */
function calibrated(logits: number[], logit: number, temperature: number) {
  const interval = clipInterval(logits, { seed: 1 })
  return {
    probability: calibrate(logit, temperature),
    ...(interval && {
      probabilityInterval: {
        low: calibrate(interval.low, temperature),
        high: calibrate(interval.high, temperature),
        level: interval.level,
      },
    }),
  }
}

function verdictOf({ score, scoreInterval, clips }: TrackScore, threshold: number) {
  const side = score > threshold ? ('likely fake' as const) : ('likely real' as const)
  const margin = clips > 1 ? MARGIN : SINGLE_CLIP_MARGIN
  if (Math.abs(score - threshold) < margin) {
    const single = clips > 1 ? '' : ', and there is only one clip'
    const reason = `the score lies within ${margin} of the threshold ${threshold.toFixed(2)}${single}`
    return { verdict: 'uncertain' as const, reason }
  }
  if (scoreInterval && scoreInterval.low <= threshold && threshold <= scoreInterval.high) {
    const reason = `clips disagree: the interval of the score holds the threshold ${threshold.toFixed(2)}`
    return { verdict: 'uncertain' as const, reason }
  }
  return { verdict: side }
}
