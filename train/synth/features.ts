/**
 * The moving features of a face, painted over the skin colour in head coordinates with edges anti-aliased over one pixel:
 * brows, eyes with lids, irises and lashes, and the mouth with lips, teeth and its dark inside.
 */
import type { Pose } from './motion.ts'
import type { Person } from './person.ts'

/** What is being painted: skin colour in, feature colour out, and light added after shading (the glint in an eye). */
export interface Ink {
  r: number
  g: number
  b: number
  glint: number
}

const cover = (signedPixels: number) => (signedPixels <= -0.5 ? 0 : signedPixels >= 0.5 ? 1 : signedPixels + 0.5)

function paint(ink: Ink, alpha: number, r: number, g: number, b: number): void {
  ink.r += (r - ink.r) * alpha
  ink.g += (g - ink.g) * alpha
  ink.b += (b - ink.b) * alpha
}

/** Paints the features that cover the point (X, Y); `pixels` is the length of a head unit in pixels. */
export function paintFeatures(
  ink: Ink,
  p: Person,
  pose: Pose,
  X: number,
  Y: number,
  strand: number,
  pixels: number,
): void {
  const side = X < 0 ? -1 : 1
  const x = X * side - p.eyeX
  if (Y > p.browY - 0.14 && Y < p.eyeY + 0.22 && x > -0.28 && x < 0.3) {
    paintBrow(ink, p, pose, x, Y, strand, pixels)
    paintEye(ink, p, pose, x, Y, side, pixels)
  }
  if (Math.abs(X) < p.mouthWidth * 1.3 && Y > p.mouthY - 0.2 && Y < p.mouthY + 0.32)
    paintMouth(ink, p, pose, X, Y, pixels)
}

function paintBrow(ink: Ink, p: Person, pose: Pose, x: number, Y: number, strand: number, pixels: number): void {
  const t = (x - 0.015) / 0.2
  if (t <= -1 || t >= 1) return
  const center = p.browY - 0.028 * pose.brows - 0.035 * (1 - t * t) - p.browTilt * 0.1 * t
  const half = p.browThickness * (1 - 0.45 * Math.max(0, t)) * (1 - t ** 6)
  const alpha = cover((half - Math.abs(Y - center)) * pixels * 0.8) * (0.82 + 0.25 * strand)
  if (alpha > 0) paint(ink, Math.min(1, alpha), p.hair[0] * 0.72, p.hair[1] * 0.7, p.hair[2] * 0.7)
}

function paintEye(ink: Ink, p: Person, pose: Pose, x: number, Y: number, side: number, pixels: number): void {
  const scale = pixels * p.eyeWidth
  const e = x / p.eyeWidth
  const f = (Y - p.eyeY + p.eyeTilt * x) / p.eyeWidth
  if (e < -1.25 || e > 1.25) return
  const arc = Math.max(0, 1 - e * e)
  const upper = (0.2 + (-0.62 * p.eyeOpen - 0.2) * pose.lids) * arc
  const lower = (0.24 + 0.1 * pose.lids) * arc
  const open = cover(Math.min(f - upper, lower - f) * scale) * (arc > 0 ? 1 : 0)
  if (open > 0) {
    const shade = 0.96 - 0.28 * e * e - 0.3 * Math.max(0, 1 - (f - upper) * 4)
    paint(ink, open, 236 * shade, 229 * shade, 224 * shade)
    // the gaze turns both eyes the same way; x is mirrored on the left
    const dx = e - pose.gazeX * 0.5 * side
    const dy = f + 0.12 - pose.gazeY * 0.4
    const distance = Math.sqrt(dx * dx + dy * dy)
    const iris = cover((0.43 - distance) * scale) * open
    const rim = distance > 0.33 ? 0.6 : 1
    paint(ink, iris, p.iris[0] * rim, p.iris[1] * rim, p.iris[2] * rim)
    paint(ink, cover((0.2 - distance) * scale) * open, 14, 11, 12)
    const gx = dx * side + 0.13
    const gy = dy + 0.15
    ink.glint = Math.max(ink.glint, 170 * open * cover((0.1 - Math.sqrt(gx * gx + gy * gy)) * scale))
  }
  const lash = cover((0.085 - Math.abs(f - upper + 0.03)) * scale) * (e * e < 1.1 ? 0.8 : 0)
  paint(ink, lash, 34, 24, 22)
  const under = cover((0.05 - Math.abs(f - lower - 0.03)) * scale) * (arc > 0 ? 0.3 : 0)
  paint(ink, under, ink.r * 0.6, ink.g * 0.5, ink.b * 0.5)
  const crease = cover((0.07 - Math.abs(f - upper + 0.27)) * scale) * arc * 0.35
  paint(ink, crease, ink.r * 0.55, ink.g * 0.5, ink.b * 0.5)
}

function paintMouth(ink: Ink, p: Person, pose: Pose, X: number, Y: number, pixels: number): void {
  const half = p.mouthWidth * (1 + 0.13 * pose.smile - 0.13 * pose.mouth)
  const t = X / half
  const arc = Math.max(0, 1 - t * t)
  if (arc === 0) return
  const center = p.mouthY - 0.05 * pose.smile * (t * t - 0.3)
  const gap = pose.mouth * 0.1 * arc ** 0.7
  const innerTop = center - 0.4 * gap
  const innerBottom = center + 1.3 * gap
  const bow = 1 - 0.3 * Math.exp(-((t / 0.16) ** 2))
  const top = innerTop - p.lipThickness * (1 - 0.25 * pose.smile) * arc ** 0.6 * bow
  const bottom = innerBottom + 1.25 * p.lipThickness * (1 - 0.2 * pose.smile) * arc ** 0.6
  const lips = cover(Math.min(Y - top, bottom - Y) * pixels)
  if (lips === 0) return
  if (Y < center) paint(ink, lips, p.lips[0] * 0.8, p.lips[1] * 0.76, p.lips[2] * 0.78)
  else {
    const swell = Math.exp(-(((Y - (innerBottom + bottom) / 2) / (0.5 * p.lipThickness)) ** 2)) * arc
    const gain = 0.94 + 0.2 * swell
    paint(ink, lips, p.lips[0] * gain, p.lips[1] * gain, p.lips[2] * gain)
  }
  const line = cover((0.016 - Math.abs(Y - center)) * pixels) * 0.75 * Math.max(0, 1 - gap * 30)
  paint(ink, line, p.lips[0] * 0.38, p.lips[1] * 0.3, p.lips[2] * 0.3)
  const inside = cover(Math.min(Y - innerTop, innerBottom - Y) * pixels)
  if (inside === 0) return
  paint(ink, inside, 58, 20, 22)
  const teeth =
    cover(Math.min(Y - innerTop, innerTop + Math.min(0.055, 0.6 * gap) - Y) * pixels) * Math.min(1, 1.7 * arc)
  paint(ink, inside * teeth * 0.92, 228, 220, 208)
  const tongue = cover((Y - innerBottom + 0.3 * gap) * pixels) * inside * 0.7 * arc
  paint(ink, tongue, 166, 76, 78)
}
