/** Sensor noise and rounding: the last step of every frame, real or forged, drawn from the target's own stream. */
import { key, Random } from './random.ts'
import type { Picture } from './render.ts'

const BINS = 1024
/** Standard normal quantiles: ten random bits pick one. */
const quantiles = (() => {
  const r = new Random(key(1, 'quantiles'))
  const draws = Float64Array.from({ length: BINS * 64 }, () => r.normal()).sort()
  return Float32Array.from({ length: BINS }, (_, i) => {
    let sum = 0
    for (let k = 0; k < 64; k++) sum += draws[i * 64 + k]
    return sum / 64
  })
})()

/** Adds Gaussian noise of `sigma` levels, independent per pixel and channel, and rounds to bytes. */
export function expose(picture: Picture, sigma: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(picture.length)
  let state = key(seed, 'noise') || 1
  for (let at = 0; at < picture.length; at += 3) {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    for (let c = 0; c < 3; c++) {
      const value = picture[at + c] + sigma * quantiles[(state >>> (2 + 10 * c)) & (BINS - 1)] + 0.5
      bytes[at + c] = Math.min(255, Math.max(0, value))
    }
  }
  return bytes
}
