/**
 * Reading videos: a file, or a folder of png and jpg images in natural order, as RGB24 frames. A file that ends before its
 * content does is an error, never a shorter video.
 */
import { open, stat } from 'node:fs/promises'
import { VideoError } from './errors.ts'
import { fileUrl, localOnly } from './ffmpeg.ts'
import { decodeFolder } from './folder.ts'
import { type DecodeOptions, decodeInput, type Frame } from './input.ts'

/** Containers of moving pictures. Playlists and scripts, which name other files, and text art are not among them. */
const CONTAINERS =
  'mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,nut,gif,apng,h264,hevc,m4v,ivf,obu,yuv4mpegpipe,dv,rm,wtv'

/**
 * The frames of a video file or of a folder of images, one at a time; ffmpeg waits while the consumer works and is killed
 * when the consumer leaves the loop. Throws VideoError, also after frames were yielded (a cut file shows at its end).
 */
export async function* decodeVideo(path: string, options: DecodeOptions = {}): AsyncGenerator<Frame> {
  const { maxFileBytes = 8 * 2 ** 30 } = options
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new VideoError('missing', path, `it cannot be opened (${error.code})`, 'Check the path and its permissions')
  })
  if (info.isDirectory()) return yield* decodeFolder(path, options)
  if (!info.isFile()) throw new VideoError('not-a-video', path, 'it is not a regular file', 'Give a video file')
  if (info.size === 0) throw new VideoError('empty', path, 'the file has no bytes', 'Copy or download it again')
  if (info.size > maxFileBytes) {
    throw new VideoError(
      'too-large',
      path,
      `${info.size} bytes, above ${maxFileBytes}`,
      'Cut it, or raise maxFileBytes',
    )
  }
  if (await isCutMp4(path, info.size)) {
    const fix = 'Copy or download it again; what is left of it can be re-encoded with ffmpeg and read then'
    throw new VideoError('truncated', path, 'the file is cut off: a box of it ends after the file does', fix)
  }
  const input = [...localOnly, '-format_whitelist', CONTAINERS, '-i', fileUrl(path)]
  yield* decodeInput(path, input, options)
}

/** A whole video in memory, bounded by `maxBytes` of decoded RGB (2 GiB unless told). */
export async function readVideo(
  path: string,
  options: DecodeOptions & { maxBytes?: number } = {},
): Promise<{ width: number; height: number; fps: number; frames: Frame[] }> {
  const { maxBytes = 2 ** 31 } = options
  const frames: Frame[] = []
  let bytes = 0
  for await (const frame of decodeVideo(path, options)) {
    bytes += frame.data.length
    if (bytes > maxBytes) {
      const fix = 'Pass maxFrames, maxSide or everyNth, or read it frame by frame with decodeVideo'
      throw new VideoError('too-large', path, `over ${maxBytes} bytes of decoded frames`, fix)
    }
    frames.push(frame)
  }
  const [{ width, height, fps }] = frames
  return { width, height, fps, frames }
}

/** Walks the top-level boxes of an mp4 (size, type, content): one with media or the index must not pass the file's end. */
async function isCutMp4(path: string, size: number): Promise<boolean> {
  const file = await open(path)
  try {
    const header = Buffer.alloc(16)
    for (let at = 0; at + 8 <= size; ) {
      await file.read(header, 0, 16, at)
      const type = header.toString('latin1', 4, 8)
      if (at === 0 && type !== 'ftyp') return false
      const stated = header.readUInt32BE(0)
      const length = stated === 1 ? Number(header.readBigUInt64BE(8)) : stated === 0 ? size - at : stated
      if (length < 8) return false
      at += length
      if (at > size) return ['moov', 'mdat', 'moof'].includes(type)
    }
    return false
  } finally {
    await file.close()
  }
}
