/**
 * A folder of png and jpg images read as a video, in natural order (2.png before 10.png). Types and sizes are read from
 * the files' own headers; each run of images of one type and size goes through one ffmpeg, piped, so that no file name
 * reaches ffmpeg at all. Images of different sizes give frames of different sizes.
 */
import { createReadStream } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { VideoError, type VideoFault } from './errors.ts'
import { type DecodeOptions, decodeInput, type Frame, MAX_PIXELS } from './input.ts'

interface Image {
  path: string
  type: 'png' | 'jpeg'
  width: number
  height: number
}

const natural = new Intl.Collator('en', { numeric: true })

/** Numeric order of names, ties by code unit, so that the order is total. */
export const naturalOrder = (a: string, b: string): number => natural.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0)

/** The images of a folder in natural order; hidden files and other types are not looked at. */
export async function listImages(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const names = entries.filter((entry) => !entry.isDirectory() && /^[^.].*\.(png|jpe?g)$/is.test(entry.name))
  return names.map((entry) => entry.name).sort(naturalOrder)
}

/** As decodeVideo, for a folder. `maxFrames` and `everyNth` choose among the images before any is decoded. */
export async function* decodeFolder(folder: string, options: DecodeOptions): AsyncGenerator<Frame> {
  const { everyNth = 1, maxFrames = Infinity, folderFps = 25, timeoutMs = 600_000, ...rest } = options
  const all = await listImages(folder)
  if (all.length === 0) {
    const fix = 'Give a folder that holds the frames of one video as .png or .jpg files'
    throw new VideoError('no-images', folder, 'the folder has no png or jpg images', fix)
  }
  const names = all.filter((_, index) => index % everyNth === 0).slice(0, maxFrames)
  const end = performance.now() + timeoutMs
  let index = 0
  let next: Image | undefined = await readHeader(join(folder, names[0]))
  while (next) {
    const run = [next]
    next = undefined
    for (const name of names.slice(index + 1)) {
      const image = await readHeader(join(folder, name))
      if (image.type === run[0].type && image.width === run[0].width && image.height === run[0].height) run.push(image)
      else next = image
      if (next) break
    }
    const start = index
    const input = ['-protocol_whitelist', 'pipe', '-f', `${run[0].type}_pipe`, '-i', 'pipe:0']
    const limits = { ...rest, timeoutMs: Math.max(1, end - performance.now()) }
    try {
      for await (const frame of decodeInput(folder, input, limits, (stdin) => feed(run, stdin))) {
        yield { ...frame, index: index++, fps: folderFps / everyNth }
      }
    } catch (error) {
      if (!(error instanceof VideoError && imageFaults.has(error.reason))) throw error
      throw damaged(run[Math.min(index - start, run.length - 1)].path, error.message)
    }
    if (index - start !== run.length)
      throw damaged(run[Math.min(index - start, run.length - 1)].path, 'no picture in it')
  }
}

/** Faults of ffmpeg's input that lie in one of the images. */
const imageFaults = new Set<VideoFault>(['corrupt', 'truncated', 'not-a-video', 'no-frames'])

const damaged = (path: string, detail: string) =>
  new VideoError('corrupt', path, `the image cannot be decoded (${detail})`, 'Replace it, or take it out of the folder')

/** Writes the files one after another into ffmpeg's stdin; rejects when ffmpeg is gone. */
function feed(images: Image[], stdin: NodeJS.WritableStream): Promise<void> {
  return pipeline(async function* () {
    for (const { path } of images) yield* createReadStream(path)
  }, stdin)
}

/** Type and size of an image from its first bytes: the IHDR chunk of a png, the SOF segment of a jpg. */
async function readHeader(path: string): Promise<Image> {
  const file = await open(path)
  try {
    const bytes = Buffer.alloc(262144)
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
    const head = bytes.subarray(0, bytesRead)
    const size = pngSize(head) ?? jpegSize(head)
    if (!size) throw damaged(path, bytesRead ? 'neither png nor jpg inside' : 'the file has no bytes')
    if (size.width * size.height > MAX_PIXELS) {
      throw new VideoError('too-large', path, `${size.width}×${size.height} pixels`, 'Scale it down first')
    }
    return { path, ...size }
  } finally {
    await file.close()
  }
}

function pngSize(bytes: Buffer): Omit<Image, 'path'> | undefined {
  if (bytes.length < 24 || bytes.readUInt32BE(0) !== 0x89504e47) return undefined
  return { type: 'png', width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) }
}

function jpegSize(bytes: Buffer): Omit<Image, 'path'> | undefined {
  if (bytes.length < 4 || bytes.readUInt16BE(0) !== 0xffd8) return undefined
  let at = 2
  while (at + 9 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1]
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
    if (isFrame) return { type: 'jpeg', width: bytes.readUInt16BE(at + 7), height: bytes.readUInt16BE(at + 5) }
    at += marker === 0xff ? 1 : 2 + bytes.readUInt16BE(at + 2)
  }
  return undefined
}
