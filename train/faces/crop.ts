/**
 * Crops from RGB frames by an affine map, on the CPU (the frames come from ffmpeg and are there already).
 *
 * Each output pixel is the mean of an m×n grid of bilinear samples spread over the patch of the source that it covers,
 * m and n being the shrink factors rounded up. At scale 1 and below that is plain bilinear interpolation (and the exact
 * copy for the identity), at whole shrink factors it is the exact mean of the pixels covered. Beyond its border a frame
 * is continued by its border pixels.
 */
import { mat2d } from 'gl-matrix'
import type { Box, RgbFrames } from './box.ts'

/** Maps output coordinates of a width×height image onto `box` in the source (both continuous, pixel i = [i, i + 1)). */
export function boxToSource(box: Box, width: number, height: number): mat2d {
  // A plain array, not mat2d.create(): that one is float32, too coarse for whole shrink factors to hit pixel centres.
  const map = mat2d.fromTranslation([1, 0, 0, 1, 0, 0], [box.left, box.top])
  return mat2d.scale(map, map, [(box.right - box.left) / width, (box.bottom - box.top) / height])
}

/**
 * The same crop of every frame, at size×size pixels: [count, size, size, 3], one byte a channel, rounded.
 * One box for the whole clip: a box that jitters would itself be a temporal artifact.
 */
export function cropFrames(frames: RgbFrames, box: Box, size: number): Uint8Array {
  if (!(size >= 1 && Number.isInteger(size))) throw new Error(`cropFrames: size must be a whole number, got ${size}`)
  if (!(box.right > box.left && box.bottom > box.top))
    throw new Error(`cropFrames: box (${box.left}, ${box.top})–(${box.right}, ${box.bottom}) is empty`)
  const map = boxToSource(box, size, size)
  const crops = new Uint8Array(frames.count * size * size * 3)
  const frameBytes = size * size * 3
  for (let frame = 0; frame < frames.count; frame++)
    warpFrame(frames, frame, map, size, size, crops.subarray(frame * frameBytes, (frame + 1) * frameBytes))
  return crops
}

/**
 * Writes the height×width image out(x, y) = source(map · (x, y)) of one frame into `out` ([height, width, 3], rounded
 * to whole values if it is a byte array). `map` takes output to source coordinates.
 */
export function warpFrame(
  frames: RgbFrames,
  frame: number,
  map: mat2d,
  width: number,
  height: number,
  out: Uint8Array | Float32Array,
): void {
  // The columns of the map are the source-pixel steps of one output pixel to the right and one down.
  const samplesX = Math.max(1, Math.ceil(Math.hypot(map[0], map[1]) - 1e-6))
  const samplesY = Math.max(1, Math.ceil(Math.hypot(map[2], map[3]) - 1e-6))
  const rounding = out instanceof Uint8Array ? 0.5 : 0
  const weight = 1 / (samplesX * samplesY)
  const pixels = frames.data.subarray(frame * frames.height * frames.width * 3)
  const lastColumn = frames.width - 1
  const lastRow = frames.height - 1
  let o = 0
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let red = 0
      let green = 0
      let blue = 0
      for (let j = 0; j < samplesY; j++)
        for (let i = 0; i < samplesX; i++) {
          const outX = x + (i + 0.5) / samplesX
          const outY = y + (j + 0.5) / samplesY
          // Pixel centres lie at +0.5; clamping the coordinate replicates the border.
          const sourceX = Math.min(Math.max(map[0] * outX + map[2] * outY + map[4] - 0.5, 0), lastColumn)
          const sourceY = Math.min(Math.max(map[1] * outX + map[3] * outY + map[5] - 0.5, 0), lastRow)
          const left = Math.floor(sourceX)
          const top = Math.floor(sourceY)
          const fx = sourceX - left
          const fy = sourceY - top
          const nw = 3 * (top * frames.width + left)
          const ne = left < lastColumn ? nw + 3 : nw
          const down = top < lastRow ? 3 * frames.width : 0
          const sw = nw + down
          const se = ne + down
          const a = (1 - fx) * (1 - fy)
          const b = fx * (1 - fy)
          const c = (1 - fx) * fy
          const d = fx * fy
          red += a * pixels[nw] + b * pixels[ne] + c * pixels[sw] + d * pixels[se]
          green += a * pixels[nw + 1] + b * pixels[ne + 1] + c * pixels[sw + 1] + d * pixels[se + 1]
          blue += a * pixels[nw + 2] + b * pixels[ne + 2] + c * pixels[sw + 2] + d * pixels[se + 2]
        }
      out[o++] = red * weight + rounding
      out[o++] = green * weight + rounding
      out[o++] = blue * weight + rounding
    }
}
