/** Statistics of samples, by tinybench. */
import { Bench } from 'tinybench'
import type { Timing } from './results.ts'

/** `samples` in ms a run, taken in alternating rounds, so tinybench is handed them instead of driving the clock itself. */
export function timing(samples: readonly number[], repeats: number): Timing {
  const bench = new Bench({ iterations: samples.length, time: 0, warmup: false, throws: true })
  let next = 0
  bench.add('samples', () => ({ overriddenDuration: samples[next++] }), { async: false })
  const [task] = bench.runSync()
  const { result } = task!
  if (!('latency' in result)) throw new Error(`bench: no statistics of ${samples.length} samples (${result.state})`)
  const { p50, min, mean, mad } = result.latency
  return { samples: samples.length, repeats, median: p50, best: min, mean, spread: p50 > 0 ? mad / p50 : 0 }
}
