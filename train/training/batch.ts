/** Batches of triplets: which clips the student and the teacher see, with which labels. */
import { type AugmentSettings, augment, drawAugmentation } from '../../dip/augment.ts'
import { concat, type Generator, HostRandom, type Tensor, tensor } from '../../engine/index.ts'
import type { ClipRef, Triplet } from '../data/triplets.ts'

/** Frames of clips, as a preprocessed data set holds them. */
export interface ClipSource {
  /** Clip `clip` of a video: [T, M, M, 3] bytes. */
  frames(ref: ClipRef): Uint8Array
}

export interface BatchShape {
  /** T */
  readonly frames: number
  /** M */
  readonly side: number
}

export interface Batch {
  /** Clips of the student, anchors first: [2A, T, M, M, 3] in [0, 1]; clean ones, or augmented ones when `matched`. */
  readonly student: Tensor
  /** 0 … 0, 1 … 1 */
  readonly labels: readonly number[]
  /** Anchors that only feed L_sti, when the student's own clips are augmented. */
  readonly anchors: Tensor | undefined
  /** Clips of the teacher: positives, then negatives, both augmented: [2A, T, M, M, 3]. */
  readonly teacher: Tensor
  readonly triplets: number
}

/** Bytes of clips as one tensor [N, T, M, M, 3] in [0, 1]. */
export function clipTensor(clips: readonly Uint8Array[], { frames, side }: BatchShape): Tensor {
  const size = frames * side * side * 3
  const all = new Float32Array(clips.length * size)
  clips.forEach((clip, i) => {
    if (clip.length !== size)
      throw new Error(`clipTensor: clip ${i} has ${clip.length} bytes, [${frames}, ${side}, ${side}, 3] needs ${size}`)
    for (let j = 0; j < size; j++) all[i * size + j] = clip[j]! / 255
  })
  return tensor(all, [clips.length, frames, side, side, 3])
}

export interface BatchOptions extends BatchShape {
  readonly augment: AugmentSettings
  readonly studentBatch: 'clean' | 'matched'
  /** Seeds what is drawn for this batch: the run's seed and the step. */
  readonly seed: number
  readonly step: number
}

/** A batch from triplets; everything random in it follows from (seed, step). */
export function makeBatch(
  triplets: readonly Triplet[],
  source: ClipSource,
  noise: Generator,
  options: BatchOptions,
): Batch {
  const a = triplets.length
  const random = new HostRandom(options.seed, options.step + 1)
  const load = (refs: ClipRef[]) =>
    clipTensor(
      refs.map((r) => source.frames(r)),
      options,
    )
  const anchors = load(triplets.map((t) => t.anchor))
  const positives = load(triplets.map((t) => t.positive))
  const negatives = load(triplets.map((t) => t.negative))
  const drawn = drawAugmentation(random, 2 * a, options.frames, options.augment)
  const augmented = augment(concat([positives, negatives], 0), drawn, noise).contiguous()
  const labels = [...new Array<number>(a).fill(0), ...new Array<number>(a).fill(1)]
  if (options.studentBatch === 'matched')
    return { student: augmented, labels, anchors, teacher: augmented, triplets: a }
  return { student: concat([anchors, negatives], 0), labels, anchors: undefined, teacher: augmented, triplets: a }
}
