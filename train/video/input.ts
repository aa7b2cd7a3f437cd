/**
 * One run of ffmpeg as a stream of RGB24 frames, and what its ending means. ffmpeg turns the pictures upright by the
 * file's rotation; nothing is dropped or repeated to even out the rate (-vsync 0); the first fault ends it (-xerror).
 */
import { VideoError } from './errors.ts'
import { type FindFfmpegOptions, faultLines, faults, type RunOptions, runFfmpeg } from './ffmpeg.ts'
import { type Picture, readPpm } from './ppm.ts'

export interface Frame extends Picture {
  /** Position among the yielded frames, from 0. */
  index: number
  /** Frames a second of what is yielded: the file's own rate over `everyNth`. */
  fps: number
}

export interface DecodeOptions extends FindFfmpegOptions {
  /** Stop after this many frames; what follows is neither read nor checked. */
  maxFrames?: number
  /** Shrink larger frames so that no side exceeds this many pixels, keeping the aspect. */
  maxSide?: number
  /** Keep frames 0, n, 2n, … */
  everyNth?: number
  /** The rate that a folder of images is said to have; 25 unless told. */
  folderFps?: number
  signal?: AbortSignal
  /** Wall clock bound for the whole video, milliseconds; ten minutes unless told. */
  timeoutMs?: number
  /** Bound on the file's size; 8 GiB unless told. */
  maxFileBytes?: number
}

/** Frames with fewer pixels a side carry no face; larger ones are a decompression bomb. */
export const MIN_SIDE = 16
export const MAX_PIXELS = 8192 * 8192

/** Filters that thin and shrink; showinfo comes first and states the file's frame rate as a fraction. */
function filters({ maxSide, everyNth = 1 }: DecodeOptions): string {
  const chain = ['showinfo=checksum=0']
  if (everyNth > 1) chain.push(`select='not(mod(n,${everyNth}))'`)
  if (maxSide) {
    chain.push(`scale=w='min(iw,${maxSide})':h='min(ih,${maxSide})':force_original_aspect_ratio=decrease:flags=area`)
  }
  return chain.join(',')
}

function checkCount(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= least)) {
    throw new RangeError(`${name} must be an integer of at least ${least}, got ${value}`)
  }
}

/** Runs ffmpeg on `input` (its input options) and yields the pictures. `feed` writes to its stdin. */
export async function* decodeInput(
  path: string,
  input: string[],
  options: DecodeOptions,
  feed?: (stdin: NodeJS.WritableStream) => Promise<void>,
): AsyncGenerator<Frame> {
  const { maxFrames, everyNth = 1 } = options
  checkCount('maxFrames', maxFrames, 1)
  checkCount('everyNth', everyNth, 1)
  checkCount('maxSide', options.maxSide, MIN_SIDE)
  const limit = maxFrames === undefined ? [] : ['-frames:v', String(maxFrames)]
  const output = ['-map', '0:V:0', '-vf', filters(options), '-vsync', '0', ...limit]
  let rate = 0
  const run: RunOptions = {
    ...options,
    onLine: (line) => {
      const match = rate ? null : /\bframe_rate: (\d+)\/(\d+)/.exec(line)
      if (match) rate = Number(match[1]) / Math.max(1, Number(match[2]))
    },
  }
  const bounds = ['-xerror', '-max_pixels', String(MAX_PIXELS)]
  const ffmpeg = runFfmpeg([...bounds, ...input, ...output, '-f', 'image2pipe', '-c:v', 'ppm', 'pipe:1'], run)
  // a consumer that fails to feed shows as ffmpeg's own early end
  const fed = feed ? feed(ffmpeg.stdin).catch(() => ffmpeg.kill()) : ffmpeg.stdin.end()
  let index = 0
  try {
    for await (const { width, height, data } of readPpm(ffmpeg.stdout)) {
      if (Math.min(width, height) < MIN_SIDE) {
        const fix = `Frames need at least ${MIN_SIDE} pixels a side; use the original recording`
        throw new VideoError('too-small', path, `its frames are ${width}×${height} pixels`, fix)
      }
      yield { width, height, data, index: index++, fps: rate > 0 ? rate / everyNth : 25 / everyNth }
    }
    await fed
    throwFaults(path, await ffmpeg.done, index, options)
  } finally {
    ffmpeg.kill()
    await ffmpeg.done
  }
}

/** Turns how ffmpeg ended into the VideoError it means; returns when all is well. */
function throwFaults(
  path: string,
  { code, log, timedOut, aborted }: { code: number | null; log: string; timedOut: boolean; aborted: boolean },
  frames: number,
  options: DecodeOptions,
): void {
  const after = frames === 0 ? 'before its first frame' : `after ${frames} frame${frames === 1 ? '' : 's'}`
  const again = 'Copy or download it again; what is left of it can be re-encoded with ffmpeg and read then'
  const says = faults(log)
  const all = faultLines(log).join('\n')
  if (aborted) throw new VideoError('aborted', path, `decoding was aborted ${after}`, 'Run it again')
  if (timedOut) {
    const fix = 'Pass maxFrames or a larger timeoutMs'
    throw new VideoError('timeout', path, `decoding took longer than ${options.timeoutMs ?? 600_000} ms`, fix)
  }
  if (/moov atom not found/.test(all) && !/misdetection possible/.test(log)) {
    throw new VideoError('truncated', path, 'the file is cut off: its index (moov) is missing', again)
  }
  if (/partial file|ended prematurely|corrupt input packet|Truncat/i.test(all)) {
    throw new VideoError('truncated', path, `the file is cut off or damaged ${after} (${says})`, again)
  }
  if (/matches no streams|does not contain any stream/.test(all)) {
    throw new VideoError('no-video-stream', path, 'it holds no video stream', 'Give a file with pictures in it')
  }
  if (/max_pixels|picture size .* is invalid|exceeds/i.test(all) && frames === 0) {
    throw new VideoError('too-large', path, `its frames are above ${MAX_PIXELS} pixels`, 'Scale it down first')
  }
  if (code !== 0 && frames === 0 && /Invalid data found|Format not on whitelist|moov atom|Invalid argument/.test(all)) {
    const fix = 'Give a video (mp4, mkv, webm, avi, …) or a folder of png or jpg images'
    throw new VideoError('not-a-video', path, `it is not a video (${says})`, fix)
  }
  if (code !== 0) throw new VideoError('corrupt', path, `decoding failed ${after} (${says || `exit ${code}`})`, again)
  if (frames === 0) {
    throw new VideoError('no-frames', path, 'its video stream has no frames', 'Record or encode it again')
  }
}
