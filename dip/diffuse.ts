/** Which way to Sᵗ `idm.diffuse: 'auto'` takes: the faster one as the tuner measured it on this machine, for sizes like these. */
import { fastestWay, grad, spectralPower, type Tensor, tensor, walkDistances } from '../engine/index.ts'
import type { Diffuse } from './config.ts'

type Way = Exclude<Diffuse, 'auto'>

/**
 * The way to take: what is asked for, or for `auto` the one that `device.tune` or `diptych tune` found faster, with its gradient, on
 * [batch, n, n]; repeated squaring before anything was measured.
 */
export function resolveDiffuse(diffuse: Diffuse, batch: number, n: number, t: number): Way {
  if (diffuse !== 'auto') return diffuse
  const example = (power?: (walk: Tensor, t: number) => Tensor) => () => {
    const W = tensor(rings(batch, n), [batch, n, n])
    const dist = walkDistances(W, t, power)
    const slope = grad(dist.square().sum(), W)
    return [dist, slope.add(slope.transpose())] // the ways agree on the symmetric part only
  }
  return fastestWay('dip.diffuse', { batch, n, t }, { power: example(), spectral: example(spectralPower) })
}

/** Affinities of rings with unequal weights: no symmetry that would stop the eigensolver early. */
function rings(batch: number, n: number): Float32Array {
  const values = new Float32Array(batch * n * n)
  const weight = (k: number, i: number, j: number) =>
    Math.abs(i - j) < 4 ? (0.1 + ((i + j + 3 * k) % 7) / 14) / (1 + Math.abs(i - j)) : 0
  for (let k = 0; k < batch; k++)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) values[(k * n + i) * n + j] = weight(k, i, j)
  return values
}
