/**
 * An identity: proportions, colours, hair and skin of one head, and the place it is filmed in.
 *
 * Head coordinates: X to the image's right, Y down, Z to the camera; the head is an ellipsoid with half axes
 * (halfWidth, 1, halfDepth), so one unit is half the head's height.
 */
import { clamp, mix, Random } from './random.ts'

export type Rgb = [number, number, number]

export interface Person {
  seed: number
  halfWidth: number
  halfDepth: number
  /** Narrowing of the face towards the chin. */
  taper: number
  skin: Rgb
  hair: Rgb
  lips: Rgb
  iris: Rgb
  cloth: Rgb
  hairline: number
  hairSides: number
  parting: number
  hairVolume: number
  /** How far the hair hangs at the back: the Y where it ends. */
  hairLength: number
  eyeX: number
  eyeY: number
  eyeWidth: number
  eyeOpen: number
  eyeTilt: number
  browY: number
  browThickness: number
  browTilt: number
  noseLength: number
  noseWidth: number
  mouthY: number
  mouthWidth: number
  lipThickness: number
  beard: number
  freckles: number
  blush: number
  blotches: number
}

const SKINS: Rgb[] = [
  [244, 208, 184],
  [232, 186, 154],
  [214, 164, 126],
  [184, 132, 96],
  [146, 100, 72],
  [112, 76, 56],
]
const HAIRS: Rgb[] = [
  [34, 27, 24],
  [62, 42, 30],
  [104, 68, 42],
  [164, 122, 72],
  [138, 70, 38],
  [150, 146, 140],
]
const IRISES: Rgb[] = [
  [78, 52, 32],
  [104, 74, 42],
  [86, 110, 120],
  [92, 110, 72],
]

export function makePerson(seed: number): Person {
  const r = new Random(seed)
  const tone = r.uniform(0, SKINS.length - 1.001)
  const skin = blend(SKINS[Math.floor(tone)], SKINS[Math.floor(tone) + 1], tone % 1)
  const dark = tone / (SKINS.length - 1)
  const hair = blend(r.pick(dark > 0.6 ? HAIRS.slice(0, 2) : HAIRS), HAIRS[0], r.uniform(0, 0.35))
  const eyeY = r.uniform(-0.06, 0.02)
  const long = r.chance(0.45)
  return {
    seed,
    halfWidth: r.uniform(0.71, 0.79),
    halfDepth: r.uniform(0.84, 0.94),
    taper: r.uniform(0.12, 0.26),
    skin: skin.map((c) => clamp(c + r.uniform(-6, 6), 40, 250)) as Rgb,
    hair,
    lips: blend(skin, [172, 62, 66], r.uniform(0.3, 0.55)),
    iris: dark > 0.6 ? IRISES[0] : blend(r.pick(IRISES), r.pick(IRISES), 0.3),
    cloth: [r.uniform(30, 215), r.uniform(30, 215), r.uniform(30, 215)],
    hairline: r.uniform(-0.66, -0.5),
    hairSides: r.uniform(1.2, 2.4),
    parting: r.uniform(-0.25, 0.25),
    hairVolume: r.uniform(1.06, 1.17),
    hairLength: long ? r.uniform(0.5, 1.3) : r.uniform(-0.15, 0.1),
    eyeX: r.uniform(0.285, 0.335),
    eyeY,
    eyeWidth: r.uniform(0.145, 0.175),
    eyeOpen: r.uniform(0.85, 1.15),
    eyeTilt: r.uniform(-0.08, 0.14),
    browY: eyeY - r.uniform(0.17, 0.23),
    browThickness: r.uniform(0.03, 0.055),
    browTilt: r.uniform(-0.1, 0.2),
    noseLength: r.uniform(0.27, 0.34),
    noseWidth: r.uniform(0.085, 0.125),
    mouthY: r.uniform(0.5, 0.56),
    mouthWidth: r.uniform(0.23, 0.3),
    lipThickness: r.uniform(0.042, 0.075),
    beard: long || r.chance(0.5) ? 0 : r.uniform(0.2, 0.6),
    freckles: r.chance(0.3) ? r.uniform(0.4, 1) : 0,
    blush: r.uniform(0.1, 0.5),
    blotches: r.uniform(2, 6),
  }
}

export const blend = (a: Rgb, b: Rgb, t: number): Rgb => [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
