/** Prepared videos as the trainer and the evaluation read them: T frames of M×M of every clip, loaded when they are needed. */

import type { ClipRef } from '../data/triplets.ts'
import { type VideoEntry, videoKey } from '../data/types.ts'
import type { ClipScore } from '../metrics/aggregate.ts'
import { clipFrames, type PreparedEntry } from '../preprocess/index.ts'
import type { ClipSource } from './batch.ts'

export interface LoadedVideo {
  readonly entry: VideoEntry
  readonly clipCount: number
  /** [T, M, M, 3] bytes each. */
  clips(): Promise<readonly Uint8Array[]>
}

/** Crops kept in memory; a larger data set is read from its cache again and again. */
const defaultBytes = 2 * 2 ** 30

/** The crops of a data set. Only the frames that the model sees are kept, of the videos used last. */
export class LoadedVideos implements ClipSource {
  private readonly byKey: Map<string, PreparedEntry<VideoEntry>>
  /** In the order of use. */
  private readonly kept = new Map<string, Promise<readonly Uint8Array[]>>()
  private readonly bytes = new Map<string, number>()
  private total = 0

  constructor(
    prepared: readonly PreparedEntry<VideoEntry>[],
    private readonly T: number,
    private readonly maxBytes = defaultBytes,
  ) {
    this.byKey = new Map(prepared.map((video) => [videoKey(video.entry), video]))
  }

  /** Videos of these entries that could be prepared, in their order. */
  of(entries: readonly VideoEntry[]): LoadedVideo[] {
    return entries.flatMap((entry) => {
      const key = videoKey(entry)
      const video = this.byKey.get(key)
      // The entry given counts: its label may have been shuffled since.
      return video ? [{ entry, clipCount: video.clips, clips: () => this.load(key) }] : []
    })
  }

  clipCount(entry: VideoEntry): number {
    return this.byKey.get(videoKey(entry))?.clips ?? 0
  }

  async frames({ video, clip }: ClipRef): Promise<Uint8Array> {
    const key = videoKey(video)
    const found = this.byKey.has(key) ? (await this.load(key))[clip] : undefined
    if (!found) throw new Error(`clip ${clip} of ${key} was not prepared`)
    return found
  }

  private load(key: string): Promise<readonly Uint8Array[]> {
    const known = this.kept.get(key)
    this.kept.delete(key)
    const clips = known ?? this.read(key)
    this.kept.set(key, clips)
    return clips
  }

  private async read(key: string): Promise<readonly Uint8Array[]> {
    const video = await this.byKey.get(key)!.load()
    const clips = video.clips.map((_, i) => clipFrames(video, i, this.T))
    const bytes = clips.reduce((sum, clip) => sum + clip.byteLength, 0)
    this.bytes.set(key, bytes)
    this.total += bytes
    for (const old of this.kept.keys()) {
      if (this.total <= this.maxBytes) break
      const size = this.bytes.get(old)
      // What is still being read is not forgotten, nor what was asked for just now.
      if (size === undefined || old === key) continue
      this.kept.delete(old)
      this.bytes.delete(old)
      this.total -= size
    }
    return clips
  }
}

/** Videos whose clips are scored together. */
const together = 16

/** Scores of every clip of the videos, from a function that gives fake logits. */
export async function scoreVideos(
  videos: readonly LoadedVideo[],
  logits: (clips: readonly Uint8Array[]) => Promise<number[]>,
  onVideo?: (done: number) => void,
): Promise<ClipScore[]> {
  const scores: ClipScore[] = []
  for (let at = 0; at < videos.length; at += together) {
    const part = videos.slice(at, at + together)
    const clips = await Promise.all(part.map((video) => video.clips()))
    const values = await logits(clips.flat())
    let next = 0
    part.forEach(({ entry }, i) => {
      const { label, method } = entry
      for (const _ of clips[i]!) scores.push({ video: videoKey(entry), label, method, logit: values[next++]! })
    })
    onVideo?.(at + part.length)
  }
  return scores
}
