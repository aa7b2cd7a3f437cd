/** Operations on pictures (float RGB, [size, size, 3]) within a region: resampling, blurring, colour and blending. */
import type { Mask } from './masks.ts'
import { clamp } from './random.ts'
import type { Picture, Region } from './render.ts'

/** Grows a region by `by` pixels, within the picture. */
export const grown = ({ left, top, right, bottom }: Region, by: number, size: number): Region => ({
  left: Math.max(0, left - by),
  top: Math.max(0, top - by),
  right: Math.min(size, right + by),
  bottom: Math.min(size, bottom + by),
})

/** Fills `region` of `out` with `from` seen through an affine map about (cx, cy): scaled, then moved by (dx, dy). */
export function shifted(
  from: Picture,
  out: Picture,
  size: number,
  region: Region,
  { cx, cy, scale, dx, dy }: { cx: number; cy: number; scale: number; dx: number; dy: number },
): void {
  for (let y = region.top; y < region.bottom; y++) {
    const sy = clamp((y - cy - dy) / scale + cy, 0, size - 1.001)
    const j = Math.floor(sy)
    const v = sy - j
    for (let x = region.left; x < region.right; x++) {
      const sx = clamp((x - cx - dx) / scale + cx, 0, size - 1.001)
      const i = Math.floor(sx)
      const u = sx - i
      const at = (j * size + i) * 3
      const below = at + size * 3
      const to = (y * size + x) * 3
      for (let c = 0; c < 3; c++) {
        const upper = from[at + c] * (1 - u) + from[at + 3 + c] * u
        out[to + c] = upper * (1 - v) + (from[below + c] * (1 - u) + from[below + 3 + c] * u) * v
      }
    }
  }
}

/** Low-pass: `passes` box filters of 2·radius + 1 taps along rows, then columns (about Gaussian for three). */
export function blur(picture: Picture, size: number, region: Region, radius: number, passes: number): void {
  const line = new Float32Array(size)
  const pass = (start: number, count: number, stride: number) => {
    for (let k = 0; k < count; k++) line[k] = picture[start + k * stride]
    for (let k = 0; k < count; k++) {
      let sum = 0
      for (let o = -radius; o <= radius; o++) sum += line[clamp(k + o, 0, count - 1)]
      picture[start + k * stride] = sum / (2 * radius + 1)
    }
  }
  const { left, top, right, bottom } = region
  for (let p = 0; p < passes; p++) {
    for (let c = 0; c < 3; c++) {
      for (let y = top; y < bottom; y++) pass((y * size + left) * 3 + c, right - left, 3)
      for (let x = left; x < right; x++) pass((top * size + x) * 3 + c, bottom - top, size * 3)
    }
  }
}

/** Mean colour under a mask. */
export function meanColor(picture: Picture, size: number, { region, alpha }: Mask): number[] {
  const sum = [0, 0, 0, 1e-6]
  const width = region.right - region.left
  for (let i = 0; i < alpha.length; i++) {
    const at = ((region.top + Math.floor(i / width)) * size + region.left + (i % width)) * 3
    for (let c = 0; c < 3; c++) sum[c] += picture[at + c] * alpha[i]
    sum[3] += alpha[i]
  }
  return [0, 1, 2].map((c) => sum[c] / sum[3])
}

/** out = out + alpha · (patch · gain + offset − out) under the mask. */
export function blendIn(
  out: Picture,
  patch: Picture,
  size: number,
  mask: Mask,
  offset: number[],
  gain = [1, 1, 1],
): void {
  const { region, alpha } = mask
  const width = region.right - region.left
  for (let i = 0; i < alpha.length; i++) {
    if (alpha[i] === 0) continue
    const at = ((region.top + Math.floor(i / width)) * size + region.left + (i % width)) * 3
    for (let c = 0; c < 3; c++) out[at + c] += alpha[i] * (patch[at + c] * gain[c] + offset[c] - out[at + c])
  }
}
