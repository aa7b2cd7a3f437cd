/** Batches of a few made-up clips, for tests of the trainer. */
import type { DipConfig } from '../../dip/index.ts'
import type { Triplet, VideoEntry } from '../../train/data/index.ts'
import { type Batch, makeBatch } from '../../train/training/batch.ts'
import { randomArray } from '../support/program.ts'

const video = (id: string, label: 0 | 1): VideoEntry => ({
  ...{ dataset: 'x', id, path: id, label, method: label ? 'swap' : 'real', compression: null },
  ...{ identity: id, partner: null, split: 'train' },
})
const triplet = (i: number): Triplet => ({
  anchor: { video: video('a', 0), clip: i },
  positive: { video: video('a', 0), clip: i + 1000 },
  negative: { video: video('f', 1), clip: i },
  paired: true,
})

/** Noise; forgeries are paler in every second row. */
const source = ({ T, M }: DipConfig) => ({
  frames: ({ video: { id }, clip }: { video: VideoEntry; clip: number }) =>
    Uint8Array.from(randomArray(T * M * M * 3, clip + (id === 'f' ? 50 : 1)), (x, i) => {
      const pale = id === 'f' && Math.floor(i / 3 / M) % 2 === 1
      return Math.floor((x + 1) * (pale ? 90 : 127))
    }),
})

/** Two triplets: the same for a step of a seed, whatever the precision. */
export const stepBatch = (config: DipConfig, step: number): Promise<Batch> =>
  makeBatch(
    [triplet(2 * step), triplet(2 * step + 1)],
    source(config),
    { frames: config.T, side: config.M },
    config.augment,
    7,
    step,
  )
