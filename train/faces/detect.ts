/**
 * Faces in frames: frames → network input → boxes in source pixels.
 *
 * Frames are stretched to 320×240, as the detector's authors do, so a box goes back to source pixels by one factor for
 * x and one for y. Letterboxing would keep a face's proportions but leave it fewer pixels, and pixels matter more. In 30
 * frames of one talking head, face 46 pixels high in 360×640: median score 0.997 stretched, 0.920 letterboxed; 35 pixels
 * in 640×360: 30 and 28 faces over the threshold; large faces scored alike.
 * Normalisation (rgb − 127) / 128 and the threshold of 0.7 are the authors' too.
 */
import { ANCHOR_COUNT, decodeBox } from './anchors.ts'
import type { Box, Detection, RgbFrames } from './box.ts'
import { area, intersectionOverUnion } from './box.ts'
import { boxToSource, warpFrame } from './crop.ts'
import type { FaceNetwork } from './network.ts'
import { INPUT_HEIGHT, INPUT_WIDTH } from './ultraface.ts'

export interface DetectOptions {
  /** Least probability of a face. */
  threshold?: number
  /** Two boxes that overlap by more than this (intersection over union) are one face. */
  overlap?: number
  /** Frames a run of the network. */
  batch?: number
}

/**
 * The faces of each of `indices` (default: every frame), best score first, in pixels of the source. Boxes may reach
 * beyond the frame. All runs have one batch size, so that one compiled plan serves them.
 */
export async function detectFaces(
  network: FaceNetwork,
  frames: RgbFrames,
  indices: readonly number[] = Array.from({ length: frames.count }, (_, i) => i),
  { threshold = 0.7, overlap = 0.3, batch = 8 }: DetectOptions = {},
): Promise<Detection[][]> {
  for (const index of indices)
    if (!(Number.isInteger(index) && index >= 0 && index < frames.count))
      throw new Error(`detectFaces: frame ${index} of a clip of ${frames.count}`)
  const found: Detection[][] = []
  const size = Math.min(batch, indices.length)
  const imageLength = 3 * INPUT_HEIGHT * INPUT_WIDTH
  for (let start = 0; start < indices.length; start += size) {
    const chunk = indices.slice(start, start + size)
    const images = new Float32Array(size * imageLength)
    for (const [i, frame] of chunk.entries())
      prepare(frames, frame, images.subarray(i * imageLength, (i + 1) * imageLength))
    const { scores, offsets } = await network(images, size)
    for (let i = 0; i < chunk.length; i++) {
      const candidates = decode(
        scores.subarray(2 * i * ANCHOR_COUNT, 2 * (i + 1) * ANCHOR_COUNT),
        offsets.subarray(4 * i * ANCHOR_COUNT, 4 * (i + 1) * ANCHOR_COUNT),
        threshold,
        frames,
      )
      found.push(suppressOverlaps(candidates, overlap))
    }
  }
  return found
}

/** One whole frame as [3, 240, 320], normalised. */
function prepare(frames: RgbFrames, frame: number, out: Float32Array) {
  const pixelCount = INPUT_HEIGHT * INPUT_WIDTH
  const pixels = new Float32Array(3 * pixelCount)
  const whole: Box = { left: 0, top: 0, right: frames.width, bottom: frames.height }
  warpFrame(frames, frame, boxToSource(whole, INPUT_WIDTH, INPUT_HEIGHT), INPUT_WIDTH, INPUT_HEIGHT, pixels)
  for (let i = 0; i < pixelCount; i++)
    for (let channel = 0; channel < 3; channel++) out[channel * pixelCount + i] = (pixels[3 * i + channel] - 127) / 128
}

/** The anchors of one image that score at least `threshold`, as boxes in source pixels. */
function decode(
  scores: Float32Array,
  offsets: Float32Array,
  threshold: number,
  { width, height }: RgbFrames,
): Detection[] {
  const detections: Detection[] = []
  for (let anchor = 0; anchor < ANCHOR_COUNT; anchor++) {
    const score = scores[2 * anchor + 1]
    if (!(score >= threshold)) continue
    const { left, top, right, bottom } = decodeBox(offsets, anchor)
    const box = { left: left * width, top: top * height, right: right * width, bottom: bottom * height }
    if (area(box) > 0) detections.push({ box, score })
  }
  return detections
}

/** Greedy non-maximum suppression: best score first, dropping what overlaps a kept box by more than `overlap` (IoU). */
export function suppressOverlaps(detections: readonly Detection[], overlap: number): Detection[] {
  const kept: Detection[] = []
  for (const candidate of [...detections].sort((a, b) => b.score - a.score))
    if (kept.every(({ box }) => intersectionOverUnion(box, candidate.box) <= overlap)) kept.push(candidate)
  return kept
}
