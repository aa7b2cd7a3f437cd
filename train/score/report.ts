/** The HTML report of a scored video: the verdict's numbers, and what the detector looked at in its highest clip. */
import { clipFrames, type PreparedVideo } from '../preprocess/index.ts'
import { type RgbImage, type VideoResult, videoReport } from '../report/index.ts'
import type { Detector, Saliency, VideoVerdict } from './types.ts'

/** @param provenance what else belongs to it: weights' file, version, adapter. @returns HTML */
export async function verdictReport(
  verdict: VideoVerdict,
  video: PreparedVideo,
  detector: Detector,
  provenance: Record<string, string | number> = {},
): Promise<string> {
  const { clips, tracks, notes, probabilityInterval, scoreInterval, preprocessing, sha256 } = verdict
  const top = clips.reduce((best, clip, i) => (clip.probability > (clips[best]?.probability ?? -1) ? i : best), -1)
  const frames = top < 0 ? [] : images(clipFrames(video, top, detector.config.T), detector.config)
  const saliency = top < 0 ? undefined : await detector.explain?.(clipFrames(video, top, detector.config.T))
  const { boxes: _, ...stated } = preprocessing
  const result: VideoResult = {
    ...verdict,
    interval: probabilityInterval ?? scoreInterval,
    clips,
    tracks: tracks.map(({ track, score, clips: count }) => ({ track, score, clips: count })),
    strips: frames.length > 0 ? strips(top, frames, saliency) : [],
    matrices: saliency?.matrices ?? [],
    notes,
    provenance: {
      'sha256 of the video': sha256.video,
      'sha256 of the weights': sha256.weights,
      ...provenance,
      ...Object.fromEntries(Object.entries(stated).map(([name, value]) => [name, String(value)])),
    },
  }
  return videoReport(result)
}

function strips(clip: number, frames: RgbImage[], saliency: Saliency | undefined) {
  const named = `Clip ${clip + 1}`
  return [
    { title: `${named}, as the detector sees it`, frames },
    ...(saliency?.strips ?? []).map(({ title, heat }) => ({ title: `${named}, ${title}`, frames, heat })),
  ]
}

function images(clip: Uint8Array, { T, M }: { T: number; M: number }): RgbImage[] {
  const bytes = M * M * 3
  return Array.from({ length: T }, (_, i) => ({ width: M, height: M, rgb: clip.subarray(i * bytes, (i + 1) * bytes) }))
}
