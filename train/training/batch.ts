/** Batches of triplets as host data: which clips the student and the teacher see, and how they are augmented. */
import { type AugmentSettings, type AugmentTensors, augmentTensors, drawAugmentation } from '../../dip/augment.ts'
import { HostRandom, type Tensor, tensor } from '../../engine/index.ts'
import type { ClipRef, Triplet } from '../data/triplets.ts'

/** Frames of clips, as a preprocessed data set holds them. */
export interface ClipSource {
  /** A clip as [T, M, M, 3] bytes. */
  frames(ref: ClipRef): Uint8Array | Promise<Uint8Array>
}

export interface ClipShape {
  /** T */
  readonly frames: number
  /** M */
  readonly side: number
}

/** Bytes of clips as one tensor [N, T, M, M, 3] in [0, 1]. */
export function clipTensor(clips: readonly Uint8Array[], { frames, side }: ClipShape): Tensor {
  const size = frames * side * side * 3
  const all = new Float32Array(clips.length * size)
  clips.forEach((clip, i) => {
    if (clip.length !== size)
      throw new Error(`clipTensor: clip ${i} has ${clip.length} bytes, [${frames}, ${side}, ${side}, 3] needs ${size}`)
    for (let j = 0; j < size; j++) all[i * size + j] = clip[j]! / 255
  })
  return tensor(all, [clips.length, frames, side, side, 3])
}

export interface Batch {
  /** V_anc, [A, T, M, M, 3] in [0, 1]. */
  readonly anchors: Tensor
  /** V_pos, then V_neg, not yet augmented: [2A, T, M, M, 3]. */
  readonly others: Tensor
  readonly drawn: AugmentTensors
}

/** A batch from triplets; everything random in it follows from (seed, step). */
export async function makeBatch(
  triplets: readonly Triplet[],
  source: ClipSource,
  shape: ClipShape,
  settings: AugmentSettings,
  seed: number,
  step: number,
): Promise<Batch> {
  const random = new HostRandom(seed, step + 1)
  const load = async (refs: ClipRef[]) => clipTensor(await Promise.all(refs.map((r) => source.frames(r))), shape)
  const drawn = drawAugmentation(random, 2 * triplets.length, shape.frames, settings)
  return {
    anchors: await load(triplets.map((t) => t.anchor)),
    others: await load([...triplets.map((t) => t.positive), ...triplets.map((t) => t.negative)]),
    drawn: augmentTensors(drawn, settings),
  }
}
