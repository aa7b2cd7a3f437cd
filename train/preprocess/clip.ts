/** Reading clips out of a prepared video, and how much moves in them. */
import type { PreparedVideo } from './types.ts'

/** Which of `length` frames a model of T frames sees: the middles of T equal parts. */
export function frameIndices(T: number, length = 16): number[] {
  if (!(Number.isInteger(T) && T >= 1 && T <= length))
    throw new RangeError(`a clip of ${length} frames gives 1 to ${length} frames, not ${T}`)
  return Array.from({ length: T }, (_, i) => Math.round(((i + 0.5) * length) / T - 0.5))
}

/** Clip number `clip` as [T, size, size, 3] bytes: T frames evenly spaced over the window. */
export function clipFrames(video: Pick<PreparedVideo, 'data' | 'clips' | 'length' | 'size'>, clip: number, T: number) {
  const { data, clips, length, size } = video
  if (!(Number.isInteger(clip) && clip >= 0 && clip < clips.length))
    throw new RangeError(`clip ${clip} of a video with ${clips.length}`)
  const frameBytes = size * size * 3
  const out = new Uint8Array(T * frameBytes)
  for (const [i, frame] of frameIndices(T, length).entries()) {
    const at = (clip * length + frame) * frameBytes
    out.set(data.subarray(at, at + frameBytes), i * frameBytes)
  }
  return out
}

/**
 * Mean over the pixels of the standard deviation over time of the grey level (mean of r, g, b), 0…255. Drift counts as
 * well as jitter; a picture shown as a video keeps only what its compression changes from frame to frame.
 * `clip` is [frames, pixels, 3].
 */
export function motionOf(clip: Uint8Array, frames: number): number {
  const pixels = clip.length / (3 * frames)
  let total = 0
  for (let p = 0; p < pixels; p++) {
    let sum = 0
    let squares = 0
    for (let f = 0; f < frames; f++) {
      const at = 3 * (f * pixels + p)
      const grey = (clip[at] + clip[at + 1] + clip[at + 2]) / 3
      sum += grey
      squares += grey * grey
    }
    const mean = sum / frames
    total += Math.sqrt(Math.max(0, squares / frames - mean * mean))
  }
  return total / pixels
}
