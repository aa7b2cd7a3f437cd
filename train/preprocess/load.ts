/**
 * One pass over a video: its frames in memory where they fit, else small ones for the detector, from which the places to
 * crop follow, and a second pass crops there (`framesOf`).
 */
import type { RgbFrames } from '../faces/index.ts'
import { warpFrame } from '../faces/index.ts'
import { decodeVideo, VideoError } from '../video/index.ts'
import { decodedSide, type PrepareSettings } from './settings.ts'
import { hashVideo, openSource, type Source } from './source.ts'

export interface LoadOptions {
  signal?: AbortSignal
  /** Decoded frames held in memory at once. Default 256 MiB. */
  maxBytes?: number
  /** The file's sha256 where it is known already. */
  sha256?: string
}

/** A frame for the detector: the whole picture, at its size or shrunk to SMALL. */
export interface Look {
  frame: number
  picture: RgbFrames
}

export interface Loaded {
  path: string
  sha256: string
  /** Of the frames as decoded, and of the file. */
  width: number
  height: number
  fileWidth: number
  fileHeight: number
  fps: number
  frames: number
  /** Every frame, unless they are too many. */
  kept: Uint8Array[] | undefined
  /** Where `kept` is undefined: every k-th frame, shrunk. */
  looks: Look[]
  lookStride: number
  source: Source
}

/** The detector sees 320×240 in any case. */
const SMALL = { width: 320, height: 240 }
/** Frames between the looks at a video that does not fit into memory; doubled while they are more than MOST_LOOKS. */
const LONG_STRIDE = 8
const MOST_LOOKS = 1024

/** Decodes a video. Close `source` when done with it. @throws VideoError */
export async function loadVideo(
  path: string,
  settings: PrepareSettings,
  { signal, maxBytes = 2 ** 28, sha256 }: LoadOptions = {},
): Promise<Loaded> {
  const source = await openSource(path)
  try {
    // A path inside an archive is hashed as the folder that it was unpacked to.
    const hash = sha256 ?? (await hashVideo(source.local, signal))
    const maxSide = decodedSide(settings)
    const loaded: Loaded = {
      path,
      sha256: hash,
      width: 0,
      height: 0,
      fileWidth: 0,
      fileHeight: 0,
      fps: 0,
      frames: 0,
      kept: [],
      looks: [],
      lookStride: LONG_STRIDE,
      source,
    }
    let bytes = 0
    for await (const { width, height, data, fps, index } of decodeVideo(source.local, { maxSide, signal })) {
      if (index === 0) Object.assign(loaded, { width, height, fps })
      else if (width !== loaded.width || height !== loaded.height) {
        const fault = `frame ${index} is ${width}×${height} pixels, the first is ${loaded.width}×${loaded.height}`
        throw new VideoError('corrupt', path, fault, 'Give frames of one size')
      }
      loaded.frames = index + 1
      bytes += data.length
      if (loaded.kept) loaded.kept.push(data)
      if (loaded.kept && bytes > maxBytes) giveUpKeeping(loaded)
      else if (!loaded.kept && index % loaded.lookStride === 0) addLook(loaded, index, data)
    }
    const fileSize = await sizeOfFile(loaded, maxSide, signal)
    return Object.assign(loaded, fileSize)
  } catch (error) {
    await source.close()
    throw error
  }
}

function giveUpKeeping(loaded: Loaded): void {
  const kept = loaded.kept!
  loaded.kept = undefined
  for (let frame = 0; frame < kept.length; frame += loaded.lookStride) addLook(loaded, frame, kept[frame])
}

function addLook(loaded: Loaded, frame: number, data: Uint8Array): void {
  const { width, height } = SMALL
  const small = new Uint8Array(3 * width * height)
  const map: [number, number, number, number, number, number] = [
    loaded.width / width,
    0,
    0,
    loaded.height / height,
    0,
    0,
  ]
  warpFrame({ data, count: 1, width: loaded.width, height: loaded.height }, 0, map, width, height, small)
  loaded.looks.push({ frame, picture: { data: small, count: 1, width, height } })
  if (loaded.looks.length <= MOST_LOOKS) return
  loaded.lookStride *= 2
  loaded.looks = loaded.looks.filter((look) => look.frame % loaded.lookStride === 0)
}

/** Frames that reach the bound were probably shrunk: their first one is read again at the size it has. */
async function sizeOfFile({ source, width, height }: Loaded, maxSide: number, signal?: AbortSignal) {
  if (Math.max(width, height) < maxSide) return { fileWidth: width, fileHeight: height }
  for await (const first of decodeVideo(source.local, { maxFrames: 1, signal }))
    return { fileWidth: first.width, fileHeight: first.height }
  return { fileWidth: width, fileHeight: height }
}

/** The frames of a loaded video in order, from memory or by a second pass. */
export async function* framesOf(loaded: Loaded, settings: PrepareSettings, signal?: AbortSignal) {
  const { width, height } = loaded
  if (loaded.kept) {
    for (const [index, data] of loaded.kept.entries()) yield { index, data, width, height }
    return
  }
  yield* decodeVideo(loaded.source.local, { maxSide: decodedSide(settings), signal })
}
