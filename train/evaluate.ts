/** Measuring given weights on the videos of a manifest; `diptych eval` shows it. */
import type { VideoEntry } from './data/index.ts'
import { openDetector } from './detector.ts'
import { type Evaluation, evaluate } from './metrics/index.ts'
import type { PrepareFailure, PrepareSettings } from './preprocess/index.ts'
import { prepareVideos, type Shown } from './train.ts'
import { readDetector } from './training/checkpoint.ts'
import { scoreVideos } from './training/dataset.ts'

export interface EvaluateOnManifest extends Shown {
  readonly cache: string
  readonly settings: Partial<PrepareSettings>
  /** Of the bootstrap. */
  readonly seed: number
}

/** Videos that cannot be judged are in no number; they are listed. @throws CheckpointError */
export async function evaluateOnManifest(
  entries: readonly VideoEntry[],
  checkpoint: string,
  options: EvaluateOnManifest,
): Promise<{ evaluation: Evaluation; failures: PrepareFailure[] }> {
  const { config } = await readDetector(checkpoint)
  const detector = await openDetector(checkpoint)
  const { videos, failures } = await prepareVideos(entries, config, options)
  const list = videos.of(entries)
  const bar = options.progress('score', list.length, 'video')
  const logits = async (clips: readonly Uint8Array[]) => {
    options.signal.throwIfAborted()
    return (await detector.probabilities([...clips])).map(({ logit }) => logit)
  }
  const scores = await scoreVideos(list, logits, (done) => bar.update(done)).finally(() => bar.stop())
  const { threshold } = detector
  return {
    evaluation: evaluate(scores, { seed: options.seed, ...(threshold === undefined ? {} : { threshold }) }),
    failures,
  }
}
