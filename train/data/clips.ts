/** Clips of a video: windows of consecutive frames, starts evenly spaced from the first possible one to the last. */

export const CLIPS_PER_VIDEO = 8
export const CLIP_LENGTH = 16

/**
 * First frames of the clips, ascending and distinct. A video with fewer than `clips` possible starts gives one clip per
 * start; one shorter than `length` gives none.
 */
export function clipStarts(frames: number, clips = CLIPS_PER_VIDEO, length = CLIP_LENGTH): number[] {
  if (!Number.isInteger(clips) || clips < 1) throw new RangeError(`clipStarts: clips must be at least 1, got ${clips}`)
  if (!Number.isInteger(length) || length < 1)
    throw new RangeError(`clipStarts: length must be at least 1, got ${length}`)
  const last = Math.floor(frames) - length
  if (!(last >= 0)) return []
  const count = Math.min(clips, last + 1)
  if (count === 1) return [Math.floor(last / 2)]
  return Array.from({ length: count }, (_, k) => Math.round((k * last) / (count - 1)))
}
