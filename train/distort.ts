/**
 * The robustness study's distortions of decoded frames (IV-D): six on the device (dip/distort.ts), and H.264 compression by
 * ffmpeg.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DistortionName, distort, distortionNames, distortions } from '../dip/index.ts'
import { Generator, HostRandom, tensor } from '../engine/index.ts'
import { decodeVideo, encodeVideo } from './video/index.ts'

export type StudyName = DistortionName | 'vc'

/** Name and parameter at levels 1 to 5 of every distortion of the study. */
export const study: Readonly<Record<StudyName, (typeof distortions)[DistortionName]>> = {
  ...distortions,
  vc: { title: 'H.264, rate factor', levels: [30, 32, 35, 38, 40] },
}
export const studyNames: readonly StudyName[] = [...distortionNames, 'vc']

export interface FrameSize {
  readonly width: number
  readonly height: number
}

/** Frames given to the device at once hold at most this many numbers. */
const mostAtOnce = 2 ** 23

/**
 * RGB24 frames of a video from its first one on, distorted at level 1 to 5. Equal seeds give equal frames.
 * @throws RangeError for another level, VideoError where ffmpeg fails or the size is odd (vc)
 */
export async function distortFrames(
  frames: readonly Uint8Array[],
  size: FrameSize,
  name: StudyName,
  level: number,
  seed: number,
): Promise<Uint8Array[]> {
  if (name === 'vc') return compressFrames(frames, size, study.vc.levels[level - 1])
  const { width, height } = size
  const many = Math.max(1, Math.floor(mostAtOnce / (width * height * 3)))
  const normal = new Generator(seed)
  const host = new HostRandom(seed)
  const out: Uint8Array[] = []
  for (let at = 0; at < frames.length; at += many) {
    const part = frames.slice(at, at + many)
    const values = new Float32Array(part.length * width * height * 3)
    part.forEach((frame, i) =>
      values.set(
        Float32Array.from(frame, (v) => v / 255),
        i * frame.length,
      ),
    )
    const x = tensor(values, [1, part.length, height, width, 3])
    const distorted = distort(x, name, level, { host, normal: (shape) => normal.normal(shape) })
    const data = await distorted.mul(255).round().data()
    for (let i = 0; i < part.length; i++)
      out.push(Uint8Array.from(data.subarray(i * width * height * 3, (i + 1) * width * height * 3)))
  }
  return out
}

/** Frames encoded by H.264 at this rate factor and decoded again; sides must be even. */
async function compressFrames(
  frames: readonly Uint8Array[],
  { width, height }: FrameSize,
  crf: number | undefined,
): Promise<Uint8Array[]> {
  if (crf === undefined) throw new RangeError('distortFrames: level must be 1 to 5')
  const folder = await mkdtemp(join(tmpdir(), 'diptych-vc-'))
  try {
    const file = join(folder, 'compressed.mp4')
    await encodeVideo(file, frames, { width, height, crf, preset: 'medium' })
    const out: Uint8Array[] = []
    for await (const { data } of decodeVideo(file)) out.push(data)
    return out
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
