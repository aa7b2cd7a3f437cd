/**
 * Anchors of UltraFace and the decoding of its offsets, both in fractions of the network's input (0…1).
 * As in SSD (Liu et al., ECCV 2016): with anchor (x, y, w, h) and offsets (δx, δy, δw, δh),
 *
 *   centre = (x + 0.1 δx w, y + 0.1 δy h),  size = (w exp(0.2 δw), h exp(0.2 δh))
 */
import type { Box } from './box.ts'
import { ANCHOR_SIZES, INPUT_HEIGHT, INPUT_WIDTH } from './ultraface.ts'

const CENTRE_VARIANCE = 0.1
const SIZE_VARIANCE = 0.2

/**
 * [4420, 4] as (x, y, width, height) of each anchor, in the order of the network's outputs: head, row, column, size.
 * Centres divide the input evenly by the size of the feature map, also where that was rounded up (240 / 32 → 8 rows).
 */
export const ANCHORS: Float32Array = (() => {
  const values: number[] = []
  let rows = INPUT_HEIGHT / 4
  let columns = INPUT_WIDTH / 4
  for (const sizes of ANCHOR_SIZES) {
    rows = Math.ceil(rows / 2)
    columns = Math.ceil(columns / 2)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        for (const size of sizes) {
          values.push((column + 0.5) / columns, (row + 0.5) / rows)
          values.push(Math.min(1, size / INPUT_WIDTH), Math.min(1, size / INPUT_HEIGHT))
        }
  }
  return Float32Array.from(values)
})()

export const ANCHOR_COUNT = ANCHORS.length / 4

/** The box of anchor `index`, given all offsets of its image ([4420, 4]), in fractions of the network's input. */
export function decodeBox(offsets: Float32Array, index: number): Box {
  const [x, y, w, h] = ANCHORS.subarray(4 * index, 4 * index + 4)
  const [dx, dy, dw, dh] = offsets.subarray(4 * index, 4 * index + 4)
  const centreX = x + CENTRE_VARIANCE * dx * w
  const centreY = y + CENTRE_VARIANCE * dy * h
  const halfWidth = (w * Math.exp(SIZE_VARIANCE * dw)) / 2
  const halfHeight = (h * Math.exp(SIZE_VARIANCE * dh)) / 2
  return {
    left: centreX - halfWidth,
    top: centreY - halfHeight,
    right: centreX + halfWidth,
    bottom: centreY + halfHeight,
  }
}
