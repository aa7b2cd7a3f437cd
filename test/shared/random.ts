/** Random numbers for tests on every platform. */

/** Uniform values in [-scale, scale) from a small fixed generator (mulberry32): the same on every machine. */
export function randomArray(count: number, seed = 1, scale = 1): Float32Array {
  let state = seed >>> 0
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1) * scale
  })
}
