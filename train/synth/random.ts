/** Seeded random numbers (SplitMix32 steps) and smooth noise over time. The same key gives the same stream everywhere. */

/** Mixes a seed and labels into a 32-bit key (FNV-1a, then an avalanche), so that every part has a stream of its own. */
export function key(seed: number, ...labels: (string | number)[]): number {
  let hash = 0x811c9dc5 ^ seed
  for (const character of labels.join('/')) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  return (hash ^ (hash >>> 13)) >>> 0
}

export class Random {
  constructor(private state: number) {}
  /** 32 random bits. */
  bits(): number {
    this.state = (this.state + 0x9e3779b9) | 0
    let z = this.state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + ((high - low) * this.bits()) / 4294967296
  }
  /** Standard normal (Box–Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }
  pick<T>(items: readonly T[]): T {
    return items[this.bits() % items.length]
  }
  chance(probability: number): boolean {
    return this.uniform() < probability
  }
}

/** A smooth function of time, roughly within −1…1, that wanders on the scale of `period` seconds. */
export function wander(random: Random, period: number): (seconds: number) => number {
  const waves = [1, 0.61, 0.37].map((scale) => ({
    frequency: (2 * Math.PI * random.uniform(0.8, 1.25)) / (period * scale),
    phase: random.uniform(0, 2 * Math.PI),
    amplitude: scale / 1.6,
  }))
  return (t) => waves.reduce((sum, w) => sum + w.amplitude * Math.sin(w.frequency * t + w.phase), 0)
}

/** 2-D value noise in −1…1 on a lattice that repeats after 64 cells, smoothly interpolated. */
export function valueNoise(random: Random): (x: number, y: number) => number {
  const lattice = Float32Array.from({ length: 4096 }, () => random.uniform(-1, 1))
  const smooth = (f: number) => f * f * (3 - 2 * f)
  return (x, y) => {
    const [i, j] = [Math.floor(x), Math.floor(y)]
    const [u, v] = [smooth(x - i), smooth(y - j)]
    const row = (j & 63) << 6
    const below = ((j + 1) & 63) << 6
    const [left, right] = [i & 63, (i + 1) & 63]
    const top = lattice[row + left] * (1 - u) + lattice[row + right] * u
    return top * (1 - v) + (lattice[below + left] * (1 - u) + lattice[below + right] * u) * v
  }
}

export const mix = (a: number, b: number, t: number): number => a + (b - a) * t
export const clamp = (x: number, low = 0, high = 1): number => Math.min(high, Math.max(low, x))
/** 0 below `from`, 1 above `to`, smooth between. */
export const smoothstep = (from: number, to: number, x: number): number => {
  const t = clamp((x - from) / (to - from))
  return t * t * (3 - 2 * t)
}
