/**
 * From a video to face crops: decode, look for faces in every k-th frame, follow them, place clips where a face is there
 * throughout, and crop each clip by one square box (a box that jitters would be a temporal artifact itself).
 */

import { clipStarts } from '../data/clips.ts'
import { boxToSource } from '../faces/crop.ts'
import type { Box, FaceNetwork, RgbFrames, Sample, Track } from '../faces/index.ts'
import {
  clipBox,
  DETECTOR,
  detectFaces,
  framesToSample,
  lastingTracks,
  linkDetections,
  warpFrame,
} from '../faces/index.ts'
import { motionOf } from './clip.ts'
import { framesOf, type Loaded, type LoadOptions, loadVideo } from './load.ts'
import { lookEvery, type PrepareSettings, settingsKey, settingsOf } from './settings.ts'
import type { PreparedClip, PreparedRecord, PreparedTrack, PreparedVideo, Skipped } from './types.ts'

/** Frames that one run of the face network takes. */
const BATCH = 8

/**
 * The face clips of a video file, a folder of images, or `archive.tar.gz#folder`. A video that can be read but not judged
 * has `inconclusive` and no clips. @throws VideoError, RangeError for bad settings
 */
export async function prepareVideo(
  path: string,
  settings: Partial<PrepareSettings>,
  network: FaceNetwork,
  options: LoadOptions = {},
): Promise<PreparedVideo> {
  const whole = settingsOf(settings)
  const loaded = await loadVideo(path, whole, options)
  try {
    return await analyse(loaded, whole, network, options.signal)
  } finally {
    await loaded.source.close()
  }
}

/** As prepareVideo, for a video that is decoded already. Leaves its source open. */
export async function analyse(
  loaded: Loaded,
  settings: PrepareSettings,
  network: FaceNetwork,
  signal?: AbortSignal,
): Promise<PreparedVideo> {
  const { samples, every } = settings.cropped ? wholeFrames(loaded) : await look(loaded, settings, network)
  const { tracks, clips, notes } = place(samples, every, loaded, settings)
  const data = await crop(loaded, clips, settings, signal)
  const judged = judge({ tracks, clips, data, samples, frames: loaded.frames }, settings)
  const inClips = new Set(
    judged.clips.flatMap(({ start }) => Array.from({ length: settings.length }, (_, i) => start + i)),
  )
  const record: PreparedRecord = {
    sha256: loaded.sha256,
    settingsKey: settingsKey(settings),
    size: settings.size,
    length: settings.length,
    width: loaded.fileWidth,
    height: loaded.fileHeight,
    fps: loaded.fps,
    frames: loaded.frames,
    decoded: { width: loaded.width, height: loaded.height },
    detector: settings.cropped ? null : DETECTOR,
    looked: {
      every,
      frames: settings.cropped ? [] : samples.map(({ frame }) => frame),
      withFace: settings.cropped ? 0 : samples.filter(({ detections }) => detections.length > 0).length,
    },
    tracks,
    clips: judged.clips,
    skippedFrames: loaded.frames - inClips.size,
    ...(judged.inconclusive && { inconclusive: judged.inconclusive }),
    notes,
  }
  return { ...record, path: loaded.path, data: judged.data }
}

/** Detections in every k-th frame, in pixels of the file. */
async function look(loaded: Loaded, settings: PrepareSettings, network: FaceNetwork) {
  const { kept, looks, frames, fileWidth, fileHeight } = loaded
  // Too few frames for a clip: nothing that the detector finds could be used.
  if (frames < settings.length) return { samples: [] as Sample[], every: 1 }
  const every = kept ? settings.every || lookEvery(frames) : loaded.lookStride
  const wanted = kept
    ? framesToSample(frames, every).map((frame) => ({
        frame,
        picture: { data: kept[frame], count: 1, width: loaded.width, height: loaded.height },
      }))
    : looks
  const samples: Sample[] = []
  for (let at = 0; at < wanted.length; at += BATCH) {
    const part = wanted.slice(at, at + BATCH)
    const { width, height } = part[0].picture
    const found = await detectFaces(network, joined(part.map(({ picture }) => picture)), undefined, {
      threshold: settings.threshold,
      batch: BATCH,
    })
    const [x, y] = [fileWidth / width, fileHeight / height]
    for (const [i, { frame }] of part.entries())
      samples.push({ frame, detections: found[i].map(({ box, score }) => ({ score, box: scaled(box, x, y) })) })
  }
  return { samples, every }
}

function joined(pictures: RgbFrames[]): RgbFrames {
  const [{ width, height, data }] = pictures
  const all = new Uint8Array(pictures.length * data.length)
  for (const [i, picture] of pictures.entries()) all.set(picture.data, i * data.length)
  return { data: all, count: pictures.length, width, height }
}

const scaled = ({ left, top, right, bottom }: Box, x: number, y: number): Box => ({
  left: left * x,
  top: top * y,
  right: right * x,
  bottom: bottom * y,
})

/** For frames that are crops already: one face, everywhere. */
function wholeFrames({ frames, fileWidth, fileHeight }: Loaded): { samples: Sample[]; every: number } {
  const detections = [{ box: { left: 0, top: 0, right: fileWidth, bottom: fileHeight }, score: 1 }]
  return { samples: [0, frames - 1].map((frame) => ({ frame, detections })), every: 1 }
}

/** Tracks of the lasting faces and where their clips lie; a track without clips says why. */
function place(samples: Sample[], every: number, loaded: Loaded, settings: PrepareSettings) {
  const maxGap = settings.cropped ? Number.POSITIVE_INFINITY : Math.max(25, 2 * every)
  const lasting = lastingTracks(linkDetections(samples, { maxGap }))
  const notes: string[] = []
  if (lasting.length > settings.maxTracks)
    notes.push(`${lasting.length} faces were found; the ${settings.maxTracks} most prominent were followed`)
  const tracks: PreparedTrack[] = []
  const clips: PreparedClip[] = []
  for (const [number, track] of lasting.slice(0, settings.maxTracks).entries()) {
    const described = describe(track, number, every, loaded.frames)
    tracks.push(described)
    const usable = described.end - described.start
    if (usable < settings.length)
      described.skipped = {
        reason: 'too-few-frames',
        detail: `the face is there for ${usable} frames, a clip takes ${settings.length}`,
      }
    else if (!settings.cropped && described.faceSide < settings.minFace)
      described.skipped = {
        reason: 'face-too-small',
        detail: `the face is ${Math.floor(described.faceSide)} pixels, ${settings.minFace} are needed`,
      }
    else
      for (const first of clipStarts(usable, settings.clips, settings.length)) {
        const start = described.start + first
        const box = settings.cropped ? track.sightings[0].box : clipBox(track, start, settings.length, settings.enlarge)
        clips.push({ track: number, start, box, motion: 0 })
      }
  }
  return { tracks, clips, notes }
}

/** A face is taken to be there from its first sighting to its last, and up to the looks before and after that missed it. */
function describe({ sightings }: Track, track: number, every: number, frames: number): PreparedTrack {
  const sides = sightings.map(({ box }) => Math.max(box.right - box.left, box.bottom - box.top)).sort((a, b) => a - b)
  const middle = sides.length >> 1
  return {
    track,
    start: Math.max(0, sightings[0].frame - (every - 1)),
    end: Math.min(frames, sightings.at(-1)!.frame + every),
    sightings: sightings.map(({ frame }) => frame),
    faceSide: sides.length % 2 ? sides[middle] : (sides[middle - 1] + sides[middle]) / 2,
    score: sightings.reduce((sum, { score }) => sum + score, 0) / sightings.length,
  }
}

/** The pixels of the clips, [clips, length, size, size, 3]; fills in their motion. */
async function crop(loaded: Loaded, clips: PreparedClip[], settings: PrepareSettings, signal?: AbortSignal) {
  const { size, length } = settings
  const frameBytes = size * size * 3
  const data = new Uint8Array(clips.length * length * frameBytes)
  if (clips.length === 0) return data
  const last = Math.max(...clips.map(({ start }) => start)) + length - 1
  const [x, y] = [loaded.width / loaded.fileWidth, loaded.height / loaded.fileHeight]
  const maps = clips.map(({ box }) => boxToSource(scaled(box, x, y), size, size))
  for await (const { index, ...frame } of framesOf(loaded, settings, signal)) {
    signal?.throwIfAborted()
    for (const [i, { start }] of clips.entries()) {
      if (index < start || index >= start + length) continue
      const at = (i * length + index - start) * frameBytes
      warpFrame({ ...frame, count: 1 }, 0, maps[i], size, size, data.subarray(at, at + frameBytes))
    }
    if (index === last) break
    // Cropping is the one part that holds the thread: the decoder of the next video gets its turn here.
    if (index % 8 === 0) await new Promise((go) => setImmediate(go))
  }
  for (const [i, clip] of clips.entries())
    clip.motion = motionOf(data.subarray(i * length * frameBytes, (i + 1) * length * frameBytes), length)
  return data
}

interface Found {
  tracks: PreparedTrack[]
  clips: PreparedClip[]
  data: Uint8Array
  samples: Sample[]
  frames: number
}

/** Drops the clips of faces that hardly move, and says why nothing is left where nothing is. */
function judge({ tracks, clips, data, samples, frames }: Found, { minMotion, length, size }: PrepareSettings) {
  for (const track of tracks) {
    const motions = clips.filter((clip) => clip.track === track.track).map(({ motion }) => motion)
    const median = motions.sort((a, b) => a - b)[motions.length >> 1]
    if (median < minMotion)
      track.skipped = {
        reason: 'almost-no-motion',
        detail: `pixels of the face vary by ${median.toFixed(2)} grey levels within a clip, at least ${minMotion} are needed`,
      }
  }
  const kept = clips.map((_, i) => i).filter((i) => tracks[clips[i].track].skipped === undefined)
  if (kept.length === clips.length && clips.length > 0) return { clips, data }
  const clipBytes = length * size * size * 3
  const left = new Uint8Array(kept.length * clipBytes)
  for (const [to, from] of kept.entries())
    left.set(data.subarray(from * clipBytes, (from + 1) * clipBytes), to * clipBytes)
  const inconclusive = kept.length > 0 ? undefined : whyNone(tracks, samples, frames, length)
  return { clips: kept.map((i) => clips[i]), data: left, inconclusive }
}

function whyNone(tracks: PreparedTrack[], samples: Sample[], frames: number, length: number): Skipped {
  if (frames < length)
    return { reason: 'too-few-frames', detail: `the video has ${frames} frames, a clip takes ${length}` }
  if (tracks.length === 0) {
    const seen = samples.filter(({ detections }) => detections.length > 0).length
    const detail = seen
      ? `a face was found in ${seen} of the ${samples.length} frames looked at, never in two that follow each other`
      : `no face was found in any of the ${samples.length} frames looked at`
    return { reason: 'no-face', detail }
  }
  return tracks[0].skipped!
}
