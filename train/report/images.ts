/** Images of a report: colour maps, overlays, PNG data URIs. */
import { encode } from 'fast-png'
import type { Heatmap, RgbImage } from './types.ts'

/** Nine anchors of viridis (van der Walt and Smith, public domain), evenly spaced; linear between them (error below 3 of 255). */
const VIRIDIS = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
]

/** The colour of a value in 0 … 1; values outside take the nearest end. */
export function viridis(value: number): [number, number, number] {
  const at = Math.min(1, Math.max(0, value)) * (VIRIDIS.length - 1)
  const below = Math.min(Math.floor(at), VIRIDIS.length - 2)
  const mix = (c: number) => Math.round(VIRIDIS[below][c] + (at - below) * (VIRIDIS[below + 1][c] - VIRIDIS[below][c]))
  return [mix(0), mix(1), mix(2)]
}

/** Grey of values that are not finite: they must not pass for low ones. */
const NOT_A_NUMBER = [128, 128, 128]

/**
 * A field in colour, lowest value dark, highest yellow (or the given range). A constant field is drawn at the dark end.
 * Values that are not finite are grey.
 */
export function colormap(values: ArrayLike<number>, width: number, height: number, range?: [number, number]): RgbImage {
  if (values.length !== width * height)
    throw new RangeError(`colormap: ${values.length} values for ${width}×${height} pixels`)
  const [low, high] = range ?? rangeOf(values)
  const rgb = new Uint8Array(3 * values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    rgb.set(Number.isFinite(value) ? viridis(high > low ? (value - low) / (high - low) : 0) : NOT_A_NUMBER, 3 * i)
  }
  return { width, height, rgb }
}

/** Least and greatest finite value; [0, 0] if there is none. */
export function rangeOf(values: ArrayLike<number>): [number, number] {
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) continue
    low = Math.min(low, values[i])
    high = Math.max(high, values[i])
  }
  return low <= high ? [low, high] : [0, 0]
}

/** A heat field over a frame, resized to it bilinearly; it covers more where it is high (up to `opacity`). */
export function overlay(frame: RgbImage, heat: Heatmap, range?: [number, number], opacity = 0.65): RgbImage {
  checkImage('overlay', frame)
  const { width, height } = frame
  const [low, high] = range ?? rangeOf(heat.values)
  const rgb = new Uint8Array(frame.rgb)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = sample(heat, ((x + 0.5) * heat.width) / width - 0.5, ((y + 0.5) * heat.height) / height - 0.5)
      if (!Number.isFinite(value)) continue
      const level = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0
      const colour = viridis(level)
      const alpha = opacity * level
      const at = 3 * (y * width + x)
      for (let c = 0; c < 3; c++) rgb[at + c] = Math.round((1 - alpha) * frame.rgb[at + c] + alpha * colour[c])
    }
  }
  return { width, height, rgb }
}

function sample({ width, height, values }: Heatmap, x: number, y: number): number {
  const cx = Math.min(width - 1, Math.max(0, x))
  const cy = Math.min(height - 1, Math.max(0, y))
  const x0 = Math.min(Math.floor(cx), Math.max(0, width - 2))
  const y0 = Math.min(Math.floor(cy), Math.max(0, height - 2))
  const x1 = Math.min(x0 + 1, width - 1)
  const y1 = Math.min(y0 + 1, height - 1)
  const row = (r: number) => values[r * width + x0] * (1 - (cx - x0)) + values[r * width + x1] * (cx - x0)
  return row(y0) * (1 - (cy - y0)) + row(y1) * (cy - y0)
}

/** Images side by side, `gap` white pixels between them, tops aligned. */
export function sideBySide(images: readonly RgbImage[], gap = 2): RgbImage {
  const width = images.reduce((sum, image) => sum + image.width, 0) + gap * Math.max(0, images.length - 1)
  const height = Math.max(0, ...images.map((image) => image.height))
  const rgb = new Uint8Array(3 * width * height).fill(255)
  let left = 0
  for (const image of images) {
    checkImage('sideBySide', image)
    for (let y = 0; y < image.height; y++)
      rgb.set(image.rgb.subarray(3 * y * image.width, 3 * (y + 1) * image.width), 3 * (y * width + left))
    left += image.width + gap
  }
  return { width, height, rgb }
}

export function encodePng(width: number, height: number, rgb: Uint8Array): Uint8Array {
  checkImage('encodePng', { width, height, rgb })
  return encode({ width, height, data: rgb, channels: 3, depth: 8 })
}

/** An RGB image as `data:image/png;base64,…`. */
export function pngDataUri(width: number, height: number, rgb: Uint8Array): string {
  return `data:image/png;base64,${Buffer.from(encodePng(width, height, rgb)).toString('base64')}`
}

function checkImage(what: string, { width, height, rgb }: RgbImage): void {
  if (!(width > 0 && height > 0) || rgb.length !== 3 * width * height)
    throw new RangeError(`${what}: ${rgb.length} bytes for ${width}×${height} RGB pixels`)
}
