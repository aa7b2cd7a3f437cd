/** Frames side by side, a heat field laid over each. */
import { overlay, pngDataUri, rangeOf, sideBySide } from './images.ts'
import type { Block, FrameStrip } from './types.ts'

export function strip({ title, frames, heat }: FrameStrip): Block {
  if (heat && heat.length !== frames.length)
    throw new RangeError(`videoReport: strip "${title}" has ${frames.length} frames and ${heat.length} heat fields`)
  // One range for the strip, so that its frames can be compared.
  const range = heat && joinRanges(heat.map((field) => rangeOf(field.values)))
  const shown = heat ? frames.map((frame, i) => overlay(frame, heat[i], range)) : frames
  const { width, height, rgb } = sideBySide(shown)
  return { kind: 'images', images: [{ uri: pngDataUri(width, height, rgb), caption: title, width, height }] }
}

const joinRanges = (ranges: [number, number][]): [number, number] => [
  Math.min(...ranges.map(([low]) => low)),
  Math.max(...ranges.map(([, high]) => high)),
]
