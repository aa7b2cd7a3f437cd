/** Prepared videos in memory, as the trainer and the evaluation read them: T frames of M×M of every clip. */

import type { ClipRef } from '../data/triplets.ts'
import { type VideoEntry, videoKey } from '../data/types.ts'
import type { ClipScore } from '../metrics/aggregate.ts'
import { clipFrames, type PreparedEntry } from '../preprocess/index.ts'
import type { ClipSource } from './batch.ts'

export interface LoadedVideo {
  readonly entry: VideoEntry
  /** [T, M, M, 3] bytes each. */
  readonly clips: readonly Uint8Array[]
}

/** The crops of a data set; only the frames that the model sees are kept. */
export class LoadedVideos implements ClipSource {
  private readonly byKey = new Map<string, LoadedVideo>()

  static async load(prepared: readonly PreparedEntry<VideoEntry>[], T: number): Promise<LoadedVideos> {
    const all = new LoadedVideos()
    for (const { entry, load } of prepared) {
      const video = await load()
      const clips = video.clips.map((_, i) => clipFrames(video, i, T))
      all.byKey.set(videoKey(entry), { entry, clips })
    }
    return all
  }

  /** Videos of these entries that could be prepared, in their order. */
  of(entries: readonly VideoEntry[]): LoadedVideo[] {
    return entries.flatMap((e) => {
      const video = this.byKey.get(videoKey(e))
      // The entry given counts: its label may have been shuffled since.
      return video ? [{ entry: e, clips: video.clips }] : []
    })
  }

  clipCount(entry: VideoEntry): number {
    return this.byKey.get(videoKey(entry))?.clips.length ?? 0
  }

  frames({ video, clip }: ClipRef): Uint8Array {
    const found = this.byKey.get(videoKey(video))?.clips[clip]
    if (!found) throw new Error(`clip ${clip} of ${videoKey(video)} was not prepared`)
    return found
  }
}

/** Scores of every clip of the videos, from a function that gives fake logits. */
export async function scoreVideos(
  videos: readonly LoadedVideo[],
  logits: (clips: readonly Uint8Array[]) => Promise<number[]>,
): Promise<ClipScore[]> {
  const values = await logits(videos.flatMap((v) => v.clips))
  let at = 0
  return videos.flatMap(({ entry, clips }) =>
    clips.map(() => ({ video: videoKey(entry), label: entry.label, method: entry.method, logit: values[at++]! })),
  )
}
