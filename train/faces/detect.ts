/**
 * Faces in frames: frames → network input → boxes in source pixels.
 *
 * Frames are letterboxed, not stretched: scaled by one factor to fit 320×240, the rest filled with grey 127 (zero after
 * normalisation). So a face keeps its proportions in 16:9 and in portrait video, where stretching would distort it, and
 * a box goes back to source pixels by one factor and one shift.
 * Normalisation (rgb − 127) / 128 and the thresholds are the published ones of UltraFace.
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
    if (!(index >= 0 && index < frames.count))
      throw new Error(`detectFaces: frame ${index} of a clip of ${frames.count}`)
  const found: Detection[][] = []
  const size = Math.min(batch, indices.length)
  const letterbox = letterboxOf(frames.width, frames.height)
  const imageLength = 3 * INPUT_HEIGHT * INPUT_WIDTH
  for (let start = 0; start < indices.length; start += size) {
    const chunk = indices.slice(start, start + size)
    const images = new Float32Array(size * imageLength)
    for (const [i, frame] of chunk.entries())
      prepare(frames, frame, letterbox, images.subarray(i * imageLength, (i + 1) * imageLength))
    const { scores, offsets } = await network(images, size)
    for (let i = 0; i < chunk.length; i++) {
      const candidates = decode(
        scores.subarray(2 * i * ANCHOR_COUNT, 2 * (i + 1) * ANCHOR_COUNT),
        offsets.subarray(4 * i * ANCHOR_COUNT, 4 * (i + 1) * ANCHOR_COUNT),
        threshold,
        letterbox,
      )
      found.push(suppressOverlaps(candidates, overlap))
    }
  }
  return found
}

/** Where a frame lies in the network's input: `scale` input pixels a source pixel, after (left, top) of grey. */
interface Letterbox {
  readonly scale: number
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

function letterboxOf(frameWidth: number, frameHeight: number): Letterbox {
  const scale = Math.min(INPUT_WIDTH / frameWidth, INPUT_HEIGHT / frameHeight)
  const width = Math.max(1, Math.round(frameWidth * scale))
  const height = Math.max(1, Math.round(frameHeight * scale))
  return { scale, width, height, left: (INPUT_WIDTH - width) >> 1, top: (INPUT_HEIGHT - height) >> 1 }
}

/** One frame as [3, 240, 320], normalised; `out` comes as zeros, which is the grey of the border. */
function prepare(frames: RgbFrames, frame: number, { scale, left, top, width, height }: Letterbox, out: Float32Array) {
  const pixels = new Float32Array(3 * width * height)
  const covered: Box = { left: 0, top: 0, right: width / scale, bottom: height / scale }
  warpFrame(frames, frame, boxToSource(covered, width, height), width, height, pixels)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        out[(channel * INPUT_HEIGHT + top + y) * INPUT_WIDTH + left + x] =
          (pixels[3 * (y * width + x) + channel] - 127) / 128
}

/** The anchors of one image that score at least `threshold`, as boxes in source pixels. */
function decode(scores: Float32Array, offsets: Float32Array, threshold: number, letterbox: Letterbox): Detection[] {
  const toSource = (x: number, size: number, shift: number) => (x * size - shift) / letterbox.scale
  const detections: Detection[] = []
  for (let anchor = 0; anchor < ANCHOR_COUNT; anchor++) {
    const score = scores[2 * anchor + 1]
    if (!(score >= threshold)) continue
    const { left, top, right, bottom } = decodeBox(offsets, anchor)
    const box = {
      left: toSource(left, INPUT_WIDTH, letterbox.left),
      top: toSource(top, INPUT_HEIGHT, letterbox.top),
      right: toSource(right, INPUT_WIDTH, letterbox.left),
      bottom: toSource(bottom, INPUT_HEIGHT, letterbox.top),
    }
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
