/** From clips to videos. A "video AUC" is computed on these video scores; the clip AUC is another number. */

export interface ClipScore {
  /** Key of the video the clip belongs to. */
  video: string
  label: 0 | 1
  /** Forgery method; of reals their collection. */
  method: string
  /** Logit of "fake": logits[1] − logits[0]. */
  logit: number
}

export interface VideoScore {
  video: string
  label: 0 | 1
  method: string
  clips: number
  /** Mean fake probability of the clips: the score of the video. */
  score: number
  /** Probability of the mean logit. */
  meanLogitScore: number
  /** Highest fake probability of a clip. */
  maxScore: number
  /** Mean logit, which calibration divides by its temperature. */
  logit: number
}

export const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)))

/** Logit of "fake" from the two logits of the head (class 0 real, 1 fake). */
export const fakeLogit = (logits: ArrayLike<number>): number => logits[1] - logits[0]

/** One score per video, in the order in which videos first appear. @throws RangeError if the clips of a video disagree. */
export function aggregateClips(clips: readonly ClipScore[]): VideoScore[] {
  const groups = new Map<string, ClipScore[]>()
  for (const clip of clips) {
    if (!Number.isFinite(clip.logit))
      throw new RangeError(`aggregateClips: a clip of ${clip.video} has logit ${clip.logit}`)
    const group = groups.get(clip.video)
    if (!group) groups.set(clip.video, [clip])
    else {
      if (group[0].label !== clip.label || group[0].method !== clip.method)
        throw new RangeError(`aggregateClips: clips of ${clip.video} disagree on label or method: is the key unique?`)
      group.push(clip)
    }
  }
  return [...groups].map(([video, group]) => {
    const probabilities = group.map((clip) => sigmoid(clip.logit))
    const logit = mean(group.map((clip) => clip.logit))
    return {
      video,
      label: group[0].label,
      method: group[0].method,
      clips: group.length,
      score: mean(probabilities),
      meanLogitScore: sigmoid(logit),
      maxScore: Math.max(...probabilities),
      logit,
    }
  })
}

const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length
