/** Which way to Sᵗ `idm.diffuse: 'auto'` takes: the faster one as measured on the device at hand, for each size. */
import { getDevice, grad, matrixPower, spectralPower, tensor } from '../engine/index.ts'
import type { Diffuse } from './config.ts'

type Way = Exclude<Diffuse, 'auto'>

const measured = new Map<string, Way>()
const keyOf = (batch: number, n: number, t: number) => `${batch}x${n}^${t}`

/** The way to take: what is asked for, or what `measureDiffuse` found; matrix products before it has been asked. */
export function resolveDiffuse(diffuse: Diffuse, batch: number, n: number, t: number): Way {
  return diffuse === 'auto' ? (measured.get(keyOf(batch, n, t)) ?? 'power') : diffuse
}

export interface DiffuseTimes {
  readonly best: Way
  /** Milliseconds of Sᵗ and its gradient, the fastest of several runs. */
  readonly spectral: number
  readonly power: number
}

/** Times both ways, forward and backward, on [batch, n, n]; `auto` takes the winner from then on. t ≥ 1. */
export async function measureDiffuse(batch: number, n: number, t: number, runs = 3): Promise<DiffuseTimes> {
  await getDevice()
  // A ring of neighbours with unequal weights: a spectrum without symmetry that would stop the eigensolver early.
  const values = new Float32Array(batch * n * n)
  for (let k = 0; k < batch; k++)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        if (Math.abs(i - j) < 4)
          values[(k * n + i) * n + j] = (0.1 + ((i + j + 3 * k) % 7) / 14) / (1 + Math.abs(i - j))
  const time = async (way: Way): Promise<number> => {
    let best = Number.POSITIVE_INFINITY
    for (let run = 0; run <= runs; run++) {
      const S = tensor(values, [batch, n, n])
      const start = performance.now()
      const result = way === 'spectral' ? spectralPower(S, t) : matrixPower(S, t)
      await grad(result.square().sum(), S).sum().item()
      // The first run compiles.
      if (run > 0) best = Math.min(best, performance.now() - start)
    }
    return best
  }
  const [spectral, power] = [await time('spectral'), await time('power')]
  const best: Way = spectral < power ? 'spectral' : 'power'
  measured.set(keyOf(batch, n, t), best)
  return { best, spectral, power }
}
