/**
 * Percentile bootstrap (Efron 1979). Videos are drawn, not clips: clips of one video are nearly copies, and drawing them singly
 * gives intervals that are much too narrow.
 */
import { Random } from '../data/random.ts'
import type { Metric } from './ranking.ts'

export interface Interval {
  low: number
  high: number
  /** Coverage, 0.95. */
  level: number
  /** Replicates that counted; those that drew one class only did not. */
  replicates: number
}

export interface BootstrapOptions {
  seed: number
  /** Default 1000. */
  replicates?: number
  /** Default 0.95. */
  level?: number
}

/** Item → index of its video, for items in which `keys` names the video. */
export function clusters(keys: readonly string[]): { of: Uint32Array; count: number } {
  const index = new Map<string, number>()
  for (const key of keys) if (!index.has(key)) index.set(key, index.size)
  return { of: Uint32Array.from(keys, (key) => index.get(key)!), count: index.size }
}

/**
 * Intervals of several metrics from the same draws. `metrics` gets the weight of every item (how often its video was drawn).
 * An interval is undefined where fewer than half of the replicates have a value.
 */
export function bootstrap<Name extends string>(
  keys: readonly string[],
  metrics: (weights: Float64Array) => Record<Name, Metric>,
  options: BootstrapOptions,
): Record<Name, Interval | undefined> {
  const { seed, replicates = 1000, level = 0.95 } = options
  if (!(replicates >= 1)) throw new RangeError(`bootstrap: replicates must be at least 1, got ${replicates}`)
  if (!(level > 0 && level < 1)) throw new RangeError(`bootstrap: level must lie between 0 and 1, got ${level}`)
  const { of, count } = clusters(keys)
  const random = new Random(seed, 'bootstrap')
  const drawn = new Float64Array(count)
  const weights = new Float64Array(keys.length)
  const values = new Map<Name, number[]>()
  for (const name of Object.keys(metrics(weights.fill(1))) as Name[]) values.set(name, [])
  for (let r = 0; r < replicates; r++) {
    drawn.fill(0)
    for (let k = 0; k < count; k++) drawn[random.int(count)]++
    for (let i = 0; i < keys.length; i++) weights[i] = drawn[of[i]]
    const found = metrics(weights)
    for (const [name, list] of values) if (found[name].value !== undefined) list.push(found[name].value)
  }
  const intervals = {} as Record<Name, Interval | undefined>
  for (const [name, list] of values) {
    list.sort((a, b) => a - b)
    const tail = (1 - level) / 2
    intervals[name] =
      list.length * 2 < replicates || list.length === 0
        ? undefined
        : { low: quantile(list, tail), high: quantile(list, 1 - tail), level, replicates: list.length }
  }
  return intervals
}

/** Quantile of a sorted list, linear between its values. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1)
  const below = Math.floor(at)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (at - below) * (sorted[above] - sorted[below])
}

/** Interval of the mean of one video's clip probabilities, over draws of its clips; undefined for a single clip. */
export function clipInterval(probabilities: readonly number[], options: BootstrapOptions): Interval | undefined {
  if (probabilities.length < 2) return undefined
  const keys = probabilities.map((_, i) => String(i))
  const meanOf = (weights: Float64Array) => {
    const total = probabilities.reduce((sum, p, i) => sum + weights[i] * p, 0)
    return { mean: { value: total / probabilities.length } }
  }
  return bootstrap(keys, meanOf, options).mean
}
