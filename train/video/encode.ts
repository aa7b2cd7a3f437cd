/**
 * Writing videos: H.264 in mp4, yuv420p, index first (+faststart). The file is written under a temporary name and renamed
 * when complete, so that an interrupted run leaves no half video behind. One encoder thread and no encoder strings in
 * the file: the same frames give the same bytes.
 */
import { rename, rm } from 'node:fs/promises'
import { VideoError } from './errors.ts'
import { type FindFfmpegOptions, faults, fileUrl, localOnly, runFfmpeg } from './ffmpeg.ts'

/** Constant rate factors of FaceForensics++'s compressions; its `raw` is all but lossless. */
export const COMPRESSION_CRF = { raw: 6, c23: 23, c40: 40 } as const
export type Compression = keyof typeof COMPRESSION_CRF

export interface EncodeOptions extends FindFfmpegOptions {
  width: number
  height: number
  fps?: number
  /** x264's constant rate factor, 0…51; 23 unless told. */
  crf?: number
  preset?: 'ultrafast' | 'superfast' | 'veryfast' | 'faster' | 'fast' | 'medium' | 'slow'
  signal?: AbortSignal
  timeoutMs?: number
}

let written = 0

/** Encodes RGB24 frames ([height, width, 3], or objects with such `data`). Throws VideoError; resolves to their count. */
export async function encodeVideo(
  path: string,
  frames: Iterable<Uint8Array | { data: Uint8Array }> | AsyncIterable<Uint8Array | { data: Uint8Array }>,
  options: EncodeOptions,
): Promise<number> {
  const { width, height, fps = 25, crf = 23, preset = 'veryfast' } = options
  if (width % 2 || height % 2 || width < 2 || height < 2) {
    const fix = 'yuv420p needs even sides: crop or pad by one pixel'
    throw new VideoError('bad-frames', path, `frames of ${width}×${height} pixels`, fix)
  }
  const temporary = `${path}.${process.pid}-${written++}.part`
  const input = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', `${width}x${height}`, '-r', String(fps), '-i', 'pipe:0']
  const codec = ['-c:v', 'libx264', '-preset', preset, '-crf', String(crf), '-pix_fmt', 'yuv420p', '-threads', '1']
  const container = ['-flags:v', '+bitexact', '-fflags', '+bitexact', '-movflags', '+faststart', '-f', 'mp4']
  const ffmpeg = runFfmpeg([...localOnly, ...input, ...codec, ...container, '-y', fileUrl(temporary)], options)
  ffmpeg.stdout.resume()
  let count = 0
  let complete = false
  try {
    for await (const frame of frames) {
      const data = frame instanceof Uint8Array ? frame : frame.data
      if (data.length !== width * height * 3) {
        const fault = `frame ${count} has ${data.length} bytes, not ${width}·${height}·3`
        throw new VideoError('bad-frames', path, fault, 'Give RGB24 frames of one size')
      }
      if (ffmpeg.stdin.destroyed) break
      if (!ffmpeg.stdin.write(data)) await drained(ffmpeg.stdin, ffmpeg.done)
      count++
    }
    if (count === 0) throw new VideoError('bad-frames', path, 'there are no frames to encode', 'Give at least one')
    ffmpeg.stdin.end()
    const end = await ffmpeg.done
    const says = faults(end.log)
    if (end.aborted) throw new VideoError('aborted', path, 'encoding was aborted', 'Run it again')
    if (end.timedOut) throw new VideoError('timeout', path, 'encoding took too long', 'Pass a larger timeoutMs')
    if (/Unknown encoder/.test(says)) {
      const fix = 'Run `npm run setup` for one that has it, or set FFMPEG_PATH'
      throw new VideoError('no-ffmpeg', path, 'this ffmpeg lacks the libx264 encoder', fix)
    }
    if (end.code !== 0) {
      throw new VideoError('write', path, `it could not be written (${says})`, 'Check the folder and the free space')
    }
    await rename(temporary, path).catch((error: Error) => {
      throw new VideoError('write', path, `it could not be put in place (${error.message})`, 'Check the folder')
    })
    complete = true
    return count
  } finally {
    if (!complete) {
      ffmpeg.kill()
      await ffmpeg.done
      await rm(temporary, { force: true })
    }
  }
}

/** Waits until the pipe takes more, or the process is gone. */
function drained(stream: NodeJS.WritableStream, done: Promise<unknown>): Promise<unknown> {
  return Promise.race([new Promise((go) => stream.once('drain', go as () => void)), done])
}
