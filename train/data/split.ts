/** Splits by identity: a real video and all its forgeries stay together, or the model would know the test faces. */
import { Random } from './random.ts'
import type { Split, VideoEntry } from './types.ts'

/** The shares of ff++: 720, 140 and 140 of 1,000 videos. */
export const DEFAULT_SHARES: Record<Split, number> = { train: 0.72, val: 0.14, test: 0.14 }

/**
 * Copies of the entries, each with a split. Groups of the same make-up (with real and fake, only real, only fake) are divided
 * separately, so that every split gets both classes where there are enough groups. Deterministic from the seed and the
 * set of identities, whatever their order.
 */
export function splitByIdentity(entries: VideoEntry[], seed: number, shares = DEFAULT_SHARES): VideoEntry[] {
  const total = shares.train + shares.val + shares.test
  if (!(total > 0) || Math.min(shares.train, shares.val, shares.test) < 0)
    throw new RangeError(`splitByIdentity: shares must not be negative nor all zero, got ${JSON.stringify(shares)}`)
  const makeUp = new Map<string, number>()
  for (const { identity, label } of entries) makeUp.set(identity, (makeUp.get(identity) ?? 0) | (1 << label))
  const splitOf = new Map<string, Split>()
  for (const kind of [1, 2, 3]) {
    const identities = [...makeUp].filter(([, bits]) => bits === kind).map(([identity]) => identity)
    const order = new Random(seed, 'split', kind).shuffle(identities.sort())
    const ends = [shares.train / total, (shares.train + shares.val) / total].map((x) => Math.round(x * order.length))
    order.forEach((identity, i) => {
      splitOf.set(identity, i < ends[0] ? 'train' : i < ends[1] ? 'val' : 'test')
    })
  }
  return entries.map((entry) => ({ ...entry, split: splitOf.get(entry.identity)! }))
}

/**
 * Moves a share of the training identities to validation, for data sets whose owners publish none (cdf, dfdc, wdf): the
 * best epoch must never be picked on a test set. Entries of other splits are left as they are.
 */
export function holdOutValidation(entries: VideoEntry[], seed: number, share = 0.1): VideoEntry[] {
  if (!(share > 0 && share < 1)) throw new RangeError(`holdOutValidation: share must lie between 0 and 1, got ${share}`)
  const training = entries.filter((e) => e.split === 'train')
  const moved = splitByIdentity(training, seed, { train: 1 - share, val: share, test: 0 })
  const splitOf = new Map(training.map((entry, i) => [entry, moved[i].split]))
  return entries.map((entry) => ({ ...entry, split: splitOf.get(entry) ?? entry.split }))
}
