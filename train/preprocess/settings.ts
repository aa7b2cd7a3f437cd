/** Everything that decides what the crops of a video are. Equal settings and an equal file give equal crops. */
import { createHash } from 'node:crypto'
import { CLIP_LENGTH, CLIPS_PER_VIDEO } from '../data/clips.ts'
import { DETECTOR } from '../faces/index.ts'

export interface PrepareSettings {
  /** Side of the crops in pixels: M of the model. */
  size: number
  /** Clips of a track, at most. */
  clips: number
  /** Frames of a clip. */
  length: number
  /** Frames from one look of the detector to the next; 0: chosen by the number of frames (`lookEvery`). */
  every: number
  /** Longer sides are shrunk to this many pixels while decoding; 0: six times `size`, 640 at least. */
  maxSide: number
  /** Side of the crop over the longer side of the face's box. */
  enlarge: number
  /** Least face probability that the detector must give. */
  threshold: number
  /** Faces whose median box has a longer side below this many pixels of the file are too small to judge. */
  minFace: number
  /** Below this a clip shows almost no motion; see `motionOf`, grey levels of 255. */
  minMotion: number
  /** Faces followed in one video, the most prominent first. */
  maxTracks: number
  /** The frames are face crops already (WildDeepfake): nothing is detected, the whole frame is the crop. */
  cropped: boolean
}

export const DEFAULTS: PrepareSettings = {
  size: 224,
  clips: CLIPS_PER_VIDEO,
  length: CLIP_LENGTH,
  every: 0,
  maxSide: 0,
  enlarge: 1.3,
  threshold: 0.7,
  minFace: 64,
  minMotion: 0.5,
  maxTracks: 4,
  cropped: false,
}

/** The settings with what is not given at its default. @throws RangeError naming the setting. */
export function settingsOf(given: Partial<PrepareSettings>): PrepareSettings {
  const settings = { ...DEFAULTS, ...given }
  const whole = (name: keyof PrepareSettings, least: number) => {
    const value = settings[name]
    if (!(Number.isInteger(value) && (value as number) >= least))
      throw new RangeError(`${name} must be a whole number of at least ${least}, got ${value}`)
  }
  whole('size', 1)
  whole('clips', 1)
  whole('length', 1)
  whole('every', 0)
  whole('maxSide', 0)
  whole('maxTracks', 1)
  if (!(settings.enlarge >= 1)) throw new RangeError(`enlarge must be at least 1, got ${settings.enlarge}`)
  if (!(settings.threshold > 0 && settings.threshold < 1))
    throw new RangeError(`threshold must lie between 0 and 1, got ${settings.threshold}`)
  return settings
}

/** Raised when the same settings give other crops than before: what older versions cached is then made anew. */
const VERSION = 1

/** A key of the settings and of the detector, 16 hex digits; together with the file's sha256 it names the crops. */
export function settingsKey(settings: PrepareSettings): string {
  const sorted = Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256')
    .update(JSON.stringify([VERSION, DETECTOR.sha256, sorted]))
    .digest('hex')
    .slice(0, 16)
}

/** Frames between two looks: eight looks at a short video, and one every twelve frames (half a second) of a long one. */
export const lookEvery = (frames: number): number => Math.min(12, Math.max(4, Math.ceil((frames - 1) / 7)))

export const decodedSide = ({ maxSide, size }: PrepareSettings): number => maxSide || Math.max(640, 6 * size)
