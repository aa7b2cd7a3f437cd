/** Choosing among whole expressions, for models: which algorithm, not which kernel. */
import { openedDevice } from '../runtime/current.ts'
import type { Results } from './expression.ts'

/**
 * The name of the fastest of several ways to compute the same value; the first until `device.tune` has measured work that asks. A way
 * is a function that makes an example: its results (with their gradients, if the work needs them) from data of its own, equal for
 * all ways. `problem` holds what decides which is fastest: sizes are rounded, so that near ones share a measurement.
 *
 *     const way = fastestWay('power', { batch, n, t }, { products: () => [matrixPower(S(), t)], spectral: () => [spectralPower(S(), t)] })
 */
export function fastestWay<W extends string>(
  name: string,
  problem: object,
  ways: Readonly<Record<W, () => Results>>,
): W {
  const device = openedDevice()
  return device ? device.tuner.way(name, problem, ways) : (Object.keys(ways)[0] as W)
}
