/**
 * The parts of a face that move with it and do not change: skin colour with its blotches, freckles and stubble, and the
 * relief (nose, sockets, cheeks, chin) that light falls on; baked once per identity into a texture over head coordinates.
 */
import type { Person, Rgb } from './person.ts'
import { clamp, key, mix, Random, smoothstep, valueNoise } from './random.ts'

/** Texels a side, covering X and Y in −EXTENT…EXTENT. */
export const SKIN_SIDE = 208
export const SKIN_EXTENT = 1.25
/** red, green, blue, slope along X, slope along Y, height, strand noise. */
export const SKIN_CHANNELS = 7

export interface Look {
  person: Person
  skin: Float32Array
}

const bump = (x: number, y: number, sx: number, sy: number) => Math.exp(-((x / sx) ** 2) - (y / sy) ** 2)

/** Height of the relief over the ellipsoid, in head units. */
function relief(p: Person, X: number, Y: number): number {
  const side = Math.abs(X)
  const tip = p.eyeY + p.noseLength
  const along = clamp((Y - p.eyeY + 0.06) / (tip - p.eyeY))
  const bridge = Y < tip + 0.05 ? Math.exp(-((X / mix(0.07, 0.1, along)) ** 2)) * smoothstep(-0.02, 0.12, along) : 0
  return (
    0.105 * bridge * mix(0.35, 1, along) * smoothstep(tip + 0.07, tip - 0.01, Y) +
    0.035 * bump(side - p.noseWidth, Y - tip - 0.01, 0.05, 0.05) -
    0.075 * bump(side - p.eyeX, Y - p.eyeY + 0.02, 0.17, 0.12) +
    0.035 * bump(side - p.eyeX, Y - p.browY, 0.24, 0.06) +
    0.045 * bump(side - 0.42, Y - 0.27, 0.19, 0.17) -
    0.018 * bump(side - p.mouthWidth * 0.95 - (p.mouthY - Y) * -0.3, Y - 0.42, 0.035, 0.14) +
    0.03 * bump(X, Y - p.mouthY, p.mouthWidth * 0.95, 0.11) -
    0.02 * bump(X, Y - p.mouthY - 0.14, 0.14, 0.05) +
    0.035 * bump(X, Y - 0.82, 0.17, 0.12)
  )
}

export function bakeLook(person: Person): Look {
  const p = person
  const noise = valueNoise(new Random(key(p.seed, 'skin')))
  const spots = new Random(key(p.seed, 'spots'))
  const moles = Array.from({ length: spots.pick([0, 0, 1, 2]) }, () => [
    spots.uniform(-0.55, 0.55),
    spots.uniform(-0.4, 0.75),
  ])
  const skin = new Float32Array(SKIN_SIDE * SKIN_SIDE * SKIN_CHANNELS)
  const step = (2 * SKIN_EXTENT) / (SKIN_SIDE - 1)
  const tip = p.eyeY + p.noseLength
  for (let row = 0, at = 0; row < SKIN_SIDE; row++) {
    for (let column = 0; column < SKIN_SIDE; column++, at += SKIN_CHANNELS) {
      const X = column * step - SKIN_EXTENT
      const Y = row * step - SKIN_EXTENT
      const side = Math.abs(X)
      const mottle = 0.6 * noise(X * 5 + 9, Y * 5) + 0.4 * noise(X * 13, Y * 13 + 5)
      const fine = noise(X * 40, Y * 40)
      const color: Rgb = [...p.skin]
      for (let c = 0; c < 3; c++) color[c] += p.blotches * mottle + 2.2 * fine
      // red cheeks, nose and ears' side; freckles over nose and cheeks; a few moles
      const red = p.blush * (bump(side - 0.42, Y - 0.27, 0.22, 0.2) + 0.7 * bump(X, Y - tip, 0.12, 0.1))
      const freckle =
        p.freckles * smoothstep(0.42, 0.7, noise(X * 24 + 3, Y * 24)) * bump(side - 0.25, Y - 0.2, 0.4, 0.25)
      const mole = moles.reduce((sum, [x, y]) => sum + bump(X - x, Y - y, 0.024, 0.024), 0)
      darken(color, [0.06 * red, 0.2 * red, 0.17 * red])
      darken(color, [0.16 * freckle, 0.24 * freckle, 0.28 * freckle])
      darken(color, [0.5 * mole, 0.6 * mole, 0.6 * mole])
      // shade that gathers in hollows: sockets, beside the nose, nostrils, under the lip and the chin
      const hollow =
        0.3 * bump(side - p.eyeX, Y - p.eyeY + 0.01, 0.2, 0.11) +
        0.16 * bump(side - p.noseWidth - 0.06, Y - tip, 0.05, 0.09) +
        0.55 * bump(side - p.noseWidth * 0.5, Y - tip - 0.055, 0.034, 0.024) +
        0.22 * bump(X, Y - tip - 0.085, 0.12, 0.035) +
        0.16 * bump(X, Y - p.mouthY - 0.15, 0.13, 0.045) +
        0.13 * bump(side - p.mouthWidth - 0.02, Y - 0.44, 0.035, 0.13) +
        0.3 * smoothstep(0.8, 1.1, Y)
      darken(color, [0.85 * hollow, hollow, hollow])
      const jaw =
        smoothstep(0.3, 0.55, Y + 0.55 * (side - 0.45)) * smoothstep(0.02, 0.1, Math.abs(Y - tip - 0.1) + side * 0.3)
      const stubble = p.beard * jaw * (0.8 + 0.35 * fine)
      for (let c = 0; c < 3; c++) skin[at + c] = mix(color[c], p.hair[c], clamp(stubble))
      const e = 0.004
      skin[at + 3] = (relief(p, X + e, Y) - relief(p, X - e, Y)) / (2 * e)
      skin[at + 4] = (relief(p, X, Y + e) - relief(p, X, Y - e)) / (2 * e)
      skin[at + 5] = relief(p, X, Y)
      skin[at + 6] = 0.6 * noise(X * 17 + 5 * Y * p.parting, Y * 3.2) + 0.4 * noise(X * 34 + 7, Y * 6)
    }
  }
  return { person, skin }
}

function darken(color: Rgb, [r, g, b]: Rgb): void {
  color[0] *= 1 - r
  color[1] *= 1 - g
  color[2] *= 1 - b
}
