/** What preprocessing makes of a video. */
import type { Box } from '../faces/index.ts'

/** Why a video that can be read gives no clips. */
export type Inconclusive = 'no-face' | 'too-few-frames' | 'face-too-small' | 'almost-no-motion'

export interface Skipped {
  reason: Inconclusive
  detail: string
}

export interface PreparedTrack {
  /** Number of the track: 0 is the most prominent face. */
  track: number
  /** First frame in which the face is taken to be there, and the frame after the last. */
  start: number
  end: number
  /** Frames in which the detector found it. */
  sightings: number[]
  /** Median of the longer sides of its boxes, in pixels of the file. */
  faceSide: number
  /** Mean face probability of the sightings. */
  score: number
  /** Why the track gives no clips. */
  skipped?: Skipped
}

export interface PreparedClip {
  track: number
  /** First frame of the clip in the video. */
  start: number
  /** What was cropped, in pixels of the file. */
  box: Box
  /** Mean over its pixels of the standard deviation over time, grey levels of 255. */
  motion: number
}

/** All of it but the pixels; this is the JSON in the cache. */
export interface PreparedRecord {
  /** sha256 of the file; of a folder of images, over their names and hashes. */
  sha256: string
  settingsKey: string
  size: number
  length: number
  /** Of the file, before any shrinking. */
  width: number
  height: number
  fps: number
  frames: number
  /** Size at which the frames were decoded. */
  decoded: { width: number; height: number }
  detector: { name: string; sha256: string } | null
  /** Frames that the detector looked at. */
  looked: { every: number; frames: number[]; withFace: number }
  tracks: PreparedTrack[]
  clips: PreparedClip[]
  /** Frames of the video that lie in no clip. */
  skippedFrames: number
  inconclusive?: Skipped
  notes: string[]
}

export interface PreparedVideo extends PreparedRecord {
  path: string
  /** [clips, length, size, size, 3] RGB bytes. */
  data: Uint8Array
}
