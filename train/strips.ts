/** Pictures of directional saliency for a training report. */
import type { DipConfig } from '../dip/index.ts'
import type { VideoEntry } from './data/index.ts'
import { openDetector } from './detector.ts'
import type { FrameStrip } from './report/types.ts'
import type { LoadedVideos } from './training/dataset.ts'

/** The first forgery of the test split; a real video where there is none. */
export const firstFake = (entries: readonly VideoEntry[]): VideoEntry | undefined => {
  const test = entries.filter((e) => e.split === 'test')
  return test.find((e) => e.label === 1) ?? test[0]
}

/** Saliency of one clip of a real video and of each forgery of it. */
export async function saliencyStrips(
  entries: readonly VideoEntry[],
  videos: LoadedVideos,
  weights: string,
  { M, P, T }: Pick<DipConfig, 'M' | 'P' | 'T'>,
): Promise<FrameStrip[]> {
  const detector = await openDetector(weights)
  const subject = firstFake(videos.of(entries).map(({ entry }) => entry))
  const out: FrameStrip[] = []
  const shown = entries.filter((e) => e.identity === subject?.identity && e.split === 'test')
  for (const { entry, clips } of videos.of(shown).slice(0, 6)) {
    const clip = (await clips())[0]!
    const frames = Array.from({ length: T }, (_, t) => ({
      width: M,
      height: M,
      rgb: clip.subarray(t * M * M * 3, (t + 1) * M * M * 3),
    }))
    const heat = (await detector.explain!(clip)).strips[0]!.heat
    out.push({ title: `${entry.method}, ${M / P} rows × ${M / P} columns`, frames, heat })
  }
  return out
}
