/** A face drawn from ellipses on a shaded, noisy ground: nobody's, and close enough for a detector to find it. */
import type { Box, RgbFrames } from '../../train/faces/index.ts'

/** Frames of height×width with one face in each of `boxes` (chin to hairline, ear to ear); none where it is null. */
export function drawFaces(width: number, height: number, boxes: readonly (readonly Box[])[]): RgbFrames {
  const data = new Uint8Array(boxes.length * height * width * 3)
  for (const [frame, faces] of boxes.entries())
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const pixel = ground(x, y, width, height)
        for (const box of faces) drawFace(pixel, x + 0.5, y + 0.5, box)
        const grain = noise(frame, x, y) * 8 - 4
        for (let c = 0; c < 3; c++) data[3 * ((frame * height + y) * width + x) + c] = pixel[c] + grain
      }
  return { data, count: boxes.length, height, width }
}

type Colour = [number, number, number]

const ground = (x: number, y: number, width: number, height: number): Colour => [
  70 + (50 * x) / width,
  90 + (40 * y) / height,
  110 + (30 * (x + y)) / (width + height),
]

/** Paints over `pixel` at (x, y), back to front: hair, neck, skin, then the features. */
function drawFace(pixel: Colour, x: number, y: number, box: Box) {
  const u = (x - box.left) / (box.right - box.left) - 0.5 // −0.5…0.5, left to right
  const v = (y - box.top) / (box.bottom - box.top) - 0.5
  const ellipse = (cu: number, cv: number, ru: number, rv: number) => ((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2
  /** Covers with this colour inside the ellipse, with a soft rim of relative width `soft`. */
  const paint = (distance: number, colour: Colour, soft: number, strength = 1) => {
    const cover = strength * Math.min(1, Math.max(0, (1 - distance) / soft))
    for (let c = 0; c < 3; c++) pixel[c] += cover * (colour[c] - pixel[c])
  }
  paint(ellipse(0, -0.12, 0.58, 0.56), [42, 30, 24], 0.15)
  paint(ellipse(0, 0.6, 0.25, 0.35), [170, 122, 100], 0.2)
  const light = 1 - 0.35 * Math.max(0, u) - 0.25 * (u * u + v * v)
  paint(ellipse(0, 0, 0.45, 0.52), [224 * light, 172 * light, 142 * light], 0.12)
  for (const side of [-1, 1]) {
    paint(ellipse(0.19 * side, -0.1, 0.15, 0.08), [120, 80, 66], 1.2, 0.6) // socket
    paint(ellipse(0.19 * side, -0.2, 0.13, 0.025), [60, 42, 34], 0.6) // brow
    paint(ellipse(0.19 * side, -0.1, 0.09, 0.035), [235, 232, 228], 0.4) // eye
    paint(ellipse(0.19 * side, -0.1, 0.035, 0.036), [40, 28, 24], 0.4) // iris
    paint(ellipse(0.06 * side, 0.14, 0.035, 0.02), [110, 66, 56], 0.8) // nostril
  }
  paint(ellipse(0.05, 0.02, 0.05, 0.14), [150, 104, 86], 1.5, 0.5) // shaded side of the nose
  paint(ellipse(0, 0.28, 0.16, 0.045), [168, 74, 72], 0.5) // mouth
  paint(ellipse(0, 0.28, 0.14, 0.008), [90, 36, 36], 0.8)
  paint(ellipse(0, 0.39, 0.12, 0.03), [150, 106, 88], 1.2, 0.5) // shadow under the lip
}

/** 0…1 from a hash of three whole numbers. */
function noise(a: number, b: number, c: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca77) ^ Math.imul(c, 0xc2b2ae3d)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39)
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32
}
