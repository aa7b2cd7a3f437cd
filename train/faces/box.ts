/**
 * Boxes of faces, in pixels of the source frame. Coordinates are continuous: pixel i covers [i, i + 1), so a whole
 * W×H frame is the box (0, 0, W, H). A box may reach beyond its frame: faces at the border do.
 */
export interface Box {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
}

/** A face found in one frame: where, and the network's probability that it is one. */
export interface Detection {
  readonly box: Box
  readonly score: number
}

/** Frames as ffmpeg hands them out (`rgb24`): `data` is [count, height, width, 3], one byte a channel. */
export interface RgbFrames {
  readonly data: Uint8Array
  readonly count: number
  readonly height: number
  readonly width: number
}

export const area = (box: Box): number => Math.max(0, box.right - box.left) * Math.max(0, box.bottom - box.top)

/** Intersection over union, 0…1; 0 where both boxes are empty. */
export function intersectionOverUnion(a: Box, b: Box): number {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left)
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
  if (width <= 0 || height <= 0) return 0
  const shared = width * height
  return shared / (area(a) + area(b) - shared)
}

/** The box a part `t` of the way from a (t = 0) to b (t = 1). */
export function interpolate(a: Box, b: Box, t: number): Box {
  const mix = (from: number, to: number) => from + (to - from) * t
  return {
    left: mix(a.left, b.left),
    top: mix(a.top, b.top),
    right: mix(a.right, b.right),
    bottom: mix(a.bottom, b.bottom),
  }
}

/** The square around (x, y) with sides of `side` pixels. */
export function squareAround(x: number, y: number, side: number): Box {
  return { left: x - side / 2, top: y - side / 2, right: x + side / 2, bottom: y + side / 2 }
}
