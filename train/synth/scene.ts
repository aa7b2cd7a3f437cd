/** Where a clip is filmed: a soft background a little larger than the frame, and one light. */
import { blend, type Person, type Rgb } from './person.ts'
import { key, mix, Random, smoothstep, valueNoise } from './random.ts'

export interface Scene {
  size: number
  /** Pixels that the background reaches past each edge of the frame. */
  margin: number
  /** RGB, [size + 2 margin, size + 2 margin, 3], 0…255. */
  background: Float32Array
  /** Unit vector to the light in camera coordinates (x right, y down, z to the camera). */
  light: Rgb
  lightColor: Rgb
  ambient: number
  cloth: Rgb
}

export function makeScene(person: Person, size: number): Scene {
  const r = new Random(key(person.seed, 'scene'))
  const noise = valueNoise(r)
  const margin = Math.ceil(size * 0.04) + 2
  const side = size + 2 * margin
  const wall: Rgb = [r.uniform(70, 200), r.uniform(70, 200), r.uniform(70, 200)]
  const grey = (wall[0] + wall[1] + wall[2]) / 3
  const top = blend(wall, [grey, grey, grey], 0.5)
  const bottom = blend(top, [30, 30, 34], r.uniform(0.25, 0.55))
  const tilt = r.uniform(-0.5, 0.5)
  // blurred furniture: a few soft rectangles
  const shapes = Array.from({ length: 4 }, () => ({
    x: r.uniform(0, 1),
    y: r.uniform(0, 1),
    w: r.uniform(0.05, 0.25),
    h: r.uniform(0.05, 0.35),
    soft: r.uniform(0.01, 0.05),
    gain: r.uniform(-0.3, 0.3),
    tint: [r.uniform(-14, 14), r.uniform(-14, 14), r.uniform(-14, 14)],
  }))
  const background = new Float32Array(side * side * 3)
  for (let row = 0, at = 0; row < side; row++) {
    for (let column = 0; column < side; column++, at += 3) {
      const [x, y] = [(column - margin) / size, (row - margin) / size]
      const t = smoothstep(-0.1, 1.1, y + tilt * (x - 0.5))
      let gain = 1 + 0.05 * noise(x * 6, y * 6) + 0.025 * noise(x * 29, y * 29)
      const tint = [0, 0, 0]
      for (const s of shapes) {
        const dx = smoothstep(s.w + s.soft, s.w - s.soft, Math.abs(x - s.x))
        const cover = dx * smoothstep(s.h + s.soft, s.h - s.soft, Math.abs(y - s.y))
        gain += s.gain * cover
        for (let c = 0; c < 3; c++) tint[c] += s.tint[c] * cover
      }
      for (let c = 0; c < 3; c++) background[at + c] = mix(top[c], bottom[c], t) * gain + tint[c]
    }
  }
  const azimuth = r.uniform(-0.8, 0.8)
  const height = r.uniform(0.15, 0.6)
  const z = Math.cos(azimuth) * Math.cos(height)
  const warm = r.uniform(-0.06, 0.06)
  return {
    size,
    margin,
    background,
    light: [Math.sin(azimuth) * Math.cos(height), -Math.sin(height), z],
    lightColor: [1 + warm, 1, 1 - warm],
    ambient: r.uniform(0.38, 0.52),
    cloth: person.cloth,
  }
}
