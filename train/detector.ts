/** A trained detector as `score` uses it: weights from a file, probabilities and explanations of clips. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { DIP, saliency } from '../dip/index.ts'
import { compile, nn, type Tensor } from '../engine/index.ts'
import { sigmoid } from './metrics/index.ts'
import type { Detector, Saliency } from './score/index.ts'
import { clipTensor } from './training/batch.ts'
import { CheckpointError, readDetector } from './training/checkpoint.ts'
import { fakeLogits, scoreInBatches } from './training/trainer.ts'

/** Opens a detector file on the default device. @throws CheckpointError naming every tensor that does not fit */
export async function openDetector(path: string): Promise<Detector> {
  const file = await readDetector(path)
  const model = new DIP(file.config)
  try {
    nn.loadState(model, file.state, path)
  } catch (error) {
    throw new CheckpointError((error as Error).message, { cause: error })
  }
  const scorer = compile((x: Tensor) => fakeLogits(model, x), 'score')
  const { T, M, P } = file.config
  return {
    config: { T, M },
    sha256: createHash('sha256')
      .update(await readFile(path))
      .digest('hex'),
    rehearsal: file.rehearsal,
    ...(file.temperature === undefined ? {} : { temperature: file.temperature }),
    ...(file.threshold === undefined ? {} : { threshold: file.threshold }),
    async probabilities(clips) {
      const logits = await scoreInBatches(clips, file.config, scorer)
      return logits.map((logit) => ({ logit, probability: sigmoid(logit) }))
    },
    async explain(clip): Promise<Saliency> {
      const found = saliency(model, clipTensor([clip], { frames: T, side: M }))
      const [map, dist] = await Promise.all([found.map.data(), found.dist.data()])
      const L = M / P
      const heat = Array.from({ length: T }, (_, t) => ({
        width: L,
        height: L,
        values: map.slice(t * L * L, (t + 1) * L * L),
      }))
      const block = (row: number, column: number) => ({
        width: L,
        height: L,
        values: Float32Array.from(
          { length: L * L },
          (_, i) => dist[(row * L + Math.floor(i / L)) * 2 * L + column * L + (i % L)]!,
        ),
      })
      return {
        strips: [{ title: 'rows × columns that speak for a forgery', heat }],
        matrices: [
          { title: 'Dist_hh (rows)', matrix: block(0, 0) },
          { title: 'Dist_hv (rows to columns)', matrix: block(0, 1) },
          { title: 'Dist_vv (columns)', matrix: block(1, 1) },
        ],
      }
    },
  }
}
