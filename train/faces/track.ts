/**
 * Faces through time: detections on every k-th frame are linked into tracks, and a clip gets one square box per track.
 *
 * Linking is greedy by overlap (IoU): the best pair first, each track and each detection once. A missed detection leaves
 * a gap that interpolation fills; a track unseen for longer than `maxGap` frames has ended.
 */
import type { Box, Detection } from './box.ts'
import { area, interpolate, intersectionOverUnion, squareAround } from './box.ts'

/** The faces found in one of the sampled frames; an empty list says that it was looked at and there were none. */
export interface Sample {
  readonly frame: number
  readonly detections: readonly Detection[]
}

/** One face: where it was seen, by increasing frame. */
export interface Track {
  readonly sightings: readonly (Detection & { readonly frame: number })[]
}

export interface LinkOptions {
  /** Least overlap (IoU) with the last sighting that continues a track. */
  overlap?: number
  /** Frames without a sighting after which a track has ended. */
  maxGap?: number
}

/** Every `every`-th frame of `count`, and the last one, so that no end of a video goes unseen. */
export function framesToSample(count: number, every: number): number[] {
  if (!(every >= 1 && Number.isInteger(every))) throw new Error(`framesToSample: every must be 1, 2, …, got ${every}`)
  const frames: number[] = []
  for (let frame = 0; frame < count; frame += every) frames.push(frame)
  if (count > 0 && frames.at(-1) !== count - 1) frames.push(count - 1)
  return frames
}

/** The tracks of a video, the most prominent first: see `prominence`. Samples come by increasing frame. */
export function linkDetections(samples: readonly Sample[], { overlap = 0.3, maxGap = 25 }: LinkOptions = {}): Track[] {
  const ended: Growing[] = []
  let open: Growing[] = []
  for (const { frame, detections } of samples) {
    const alive = (track: Growing) => frame - track.sightings.at(-1)!.frame <= maxGap
    ended.push(...open.filter((track) => !alive(track)))
    open = open.filter(alive)

    const pairs = open
      .flatMap((track) =>
        detections.map((detection) => ({
          track,
          detection,
          iou: intersectionOverUnion(track.sightings.at(-1)!.box, detection.box),
        })),
      )
      .filter(({ iou }) => iou >= overlap)
      .sort((a, b) => b.iou - a.iou)
    const taken = new Set<Growing | Detection>()
    for (const { track, detection } of pairs) {
      if (taken.has(track) || taken.has(detection)) continue
      taken.add(track).add(detection)
      track.sightings.push({ ...detection, frame })
    }
    for (const detection of detections) if (!taken.has(detection)) open.push({ sightings: [{ ...detection, frame }] })
  }
  return [...ended, ...open].sort((a, b) => prominence(b) - prominence(a))
}

interface Growing {
  readonly sightings: (Detection & { readonly frame: number })[]
}

/** Areas of all sightings together, in pixels: large faces and long-lived ones come first. */
export const prominence = (track: Track): number =>
  track.sightings.reduce((sum, sighting) => sum + area(sighting.box), 0)

/** Tracks seen in at least `sightings` sampled frames: a face found once is more often a false alarm. */
export const lastingTracks = (tracks: readonly Track[], sightings = 2): Track[] =>
  tracks.filter((track) => track.sightings.length >= sightings)

/**
 * Whether the face is there in all of `length` frames from `start`. A track reaches `reach` frames beyond its first and
 * last sighting: the frames between two samples were not looked at.
 */
export function covers(track: Track, start: number, length: number, reach = 0): boolean {
  const first = track.sightings[0].frame - reach
  const last = track.sightings.at(-1)!.frame + reach
  return first <= start && start + length - 1 <= last
}

/** The box of a track in any frame: interpolated between sightings, held before the first and after the last. */
export function boxAt({ sightings }: Track, frame: number): Box {
  const next = sightings.findIndex((sighting) => sighting.frame >= frame)
  if (next === 0) return sightings[0].box
  if (next < 0) return sightings.at(-1)!.box
  const [before, after] = [sightings[next - 1], sightings[next]]
  return interpolate(before.box, after.box, (frame - before.frame) / (after.frame - before.frame))
}

/**
 * One square box for a clip of `length` frames from `start`: the mean centre and side of the track over the clip, each
 * side the longer one of its face box, enlarged by `enlarge`. A median over three sightings goes first, so that a
 * single stray detection does not pull the box.
 */
export function clipBox(track: Track, start: number, length: number, enlarge = 1.3): Box {
  const steady = withoutSpikes(track)
  let x = 0
  let y = 0
  let side = 0
  for (let frame = start; frame < start + length; frame++) {
    const { left, top, right, bottom } = boxAt(steady, frame)
    x += (left + right) / 2 / length
    y += (top + bottom) / 2 / length
    side += Math.max(right - left, bottom - top) / length
  }
  return squareAround(x, y, side * enlarge)
}

/** Each sighting's box replaced, side by side, by the median of itself and its two neighbours; the ends stay. */
function withoutSpikes({ sightings }: Track): Track {
  const median = (a: number, b: number, c: number) => Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
  return {
    sightings: sightings.map((sighting, i) => {
      if (i === 0 || i === sightings.length - 1) return sighting
      const [a, b, c] = [sightings[i - 1].box, sighting.box, sightings[i + 1].box]
      const box = {
        left: median(a.left, b.left, c.left),
        top: median(a.top, b.top, c.top),
        right: median(a.right, b.right, c.right),
        bottom: median(a.bottom, b.bottom, c.bottom),
      }
      return { ...sighting, box }
    }),
  }
}
