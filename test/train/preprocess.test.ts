/** Preprocessing: clips hold the face, the cache is used and mended, and what cannot be judged says why. */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Device, openDevice } from '../../engine/index.ts'
import { intersectionOverUnion } from '../../train/faces/box.ts'
import { openFaces } from '../../train/faces/engine.ts'
import { type Box, detectFaces, type FaceNetwork } from '../../train/faces/index.ts'
import {
  clipFrames,
  frameIndices,
  motionOf,
  type PreparedVideo,
  prepareDataset,
  prepareVideo,
} from '../../train/preprocess/index.ts'
import { encodeVideo, VideoError } from '../../train/video/index.ts'
import { drawFaces } from './drawn-face.ts'

const test = suite('preprocess')
const folder = mkdtempSync(join(tmpdir(), 'diptych-prepare-'))
const cacheDir = join(folder, 'cache')
const at = (name: string) => join(folder, name)
const [WIDTH, HEIGHT] = [192, 144]
const FPS = 25
let device: Device
let network: FaceNetwork

/** The face of frame i, drifting to the right. */
const faceAt = (i: number): Box => ({ left: 40 + i, top: 30, right: 100 + i, bottom: 110 })

async function film(name: string, boxes: Box[][]): Promise<string> {
  const { data } = drawFaces(WIDTH, HEIGHT, boxes)
  const bytes = WIDTH * HEIGHT * 3
  const frames = boxes.map((_, i) => data.subarray(i * bytes, (i + 1) * bytes))
  await encodeVideo(at(name), frames, { width: WIDTH, height: HEIGHT, fps: FPS })
  return at(name)
}
const repeat = (count: number, boxes: (i: number) => Box[]) => Array.from({ length: count }, (_, i) => boxes(i))
const settings = { size: 64 }
const strip = ({ data: _, ...record }: PreparedVideo) => record

test.before(async () => {
  device = await openDevice()
  network = await openFaces()
  await film(
    'face.mp4',
    repeat(20, (i) => [faceAt(i)]),
  )
  await film(
    'short.mp4',
    repeat(10, (i) => [faceAt(i)]),
  )
  await film(
    'nobody.mp4',
    repeat(17, () => []),
  )
  await film(
    'small.mp4',
    repeat(17, (i) => [{ left: 60 + i, top: 40, right: 90 + i, bottom: 80 }]),
  )
  // One frame shown again and again: compression removes what noise there was.
  const { data } = drawFaces(WIDTH, HEIGHT, [[faceAt(0)]])
  await encodeVideo(
    at('still.mp4'),
    repeat(17, () => []).map(() => data),
    { width: WIDTH, height: HEIGHT, fps: FPS },
  )
})
test.after(() => {
  device.destroy()
  rmSync(folder, { recursive: true, force: true })
})

test('a model of T frames sees the middles of T equal parts of the window', () => {
  assert.equal(frameIndices(4), [2, 6, 10, 14])
  assert.equal(
    frameIndices(16),
    Array.from({ length: 16 }, (_, i) => i),
  )
  assert.equal(frameIndices(1), [8])
  assert.throws(() => frameIndices(17), /17/)
  const data = Uint8Array.from({ length: 2 * 16 * 3 }, (_, i) => i)
  const video = { data, clips: [{}, {}] as PreparedVideo['clips'], length: 16, size: 1 }
  assert.equal(
    [...clipFrames(video, 1, 4)],
    [2, 6, 10, 14].flatMap((f) => [0, 1, 2].map((c) => 48 + 3 * f + c)),
  )
  assert.throws(() => clipFrames(video, 2, 4), /clip 2/)
})

test('motion is the mean standard deviation over time', () => {
  // Two pixels over two frames: one steady, one from 10 to 30.
  assert.is(motionOf(Uint8Array.of(5, 5, 5, 10, 10, 10, 5, 5, 5, 30, 30, 30), 2), 5)
  assert.is(motionOf(new Uint8Array(48).fill(7), 16), 0)
})

test('clips follow the face by one square box each', async () => {
  const video = await prepareVideo(at('face.mp4'), settings, network)
  assert.is(video.inconclusive, undefined)
  assert.is(video.frames, 20)
  assert.is(video.fps, FPS)
  assert.equal([video.width, video.height], [WIDTH, HEIGHT])
  assert.equal(
    video.clips.map(({ start }) => start),
    [0, 1, 2, 3, 4],
  )
  assert.is(video.skippedFrames, 0)
  assert.is(video.data.length, 5 * 16 * 64 * 64 * 3)
  assert.is(video.tracks.length, 1)
  for (const { box, start } of video.clips) {
    assert.ok(Math.abs(box.right - box.left - (box.bottom - box.top)) < 1e-9, 'square')
    const drawn = faceAt(start + 7.5)
    const centre = (box.left + box.right) / 2
    assert.ok(Math.abs(centre - (drawn.left + drawn.right) / 2) < 6, `clip from ${start} is centred at ${centre}`)
  }
  // What was cropped is a face again, filling most of the crop.
  const frames = { data: clipFrames(video, 2, 2), count: 2, width: 64, height: 64 }
  for (const found of await detectFaces(network, frames)) {
    assert.is(found.length, 1)
    assert.ok(intersectionOverUnion(found[0].box, { left: 4, top: 4, right: 60, bottom: 60 }) > 0.5)
  }
})

test('a video that does not fit into memory gives nearly the same crops by a second pass', async () => {
  const once = await prepareVideo(at('face.mp4'), { ...settings, every: 8 }, network)
  const twice = await prepareVideo(at('face.mp4'), { ...settings, every: 8 }, network, { maxBytes: 1e6 })
  assert.equal(twice.looked.frames, [0, 8, 16])
  assert.is(twice.clips.length, once.clips.length)
  for (const [i, { box }] of twice.clips.entries()) {
    const other = once.clips[i].box
    assert.ok(intersectionOverUnion(box, other) > 0.9, `clip ${i}`)
  }
})

test('what cannot be judged says why, and has no clips', async () => {
  const reasons: [string, string, RegExp][] = [
    ['short.mp4', 'too-few-frames', /10 frames/],
    ['nobody.mp4', 'no-face', /no face was found/],
    ['small.mp4', 'face-too-small', /64 are needed/],
    ['still.mp4', 'almost-no-motion', /grey levels/],
  ]
  for (const [name, reason, detail] of reasons) {
    const video = await prepareVideo(at(name), settings, network)
    assert.is(video.inconclusive?.reason, reason, name)
    assert.match(video.inconclusive!.detail, detail)
    assert.is(video.clips.length, 0)
    assert.is(video.data.length, 0)
  }
})

test('a data set is cached, mended and its failures are listed', async () => {
  writeFileSync(at('text.mp4'), 'no video')
  const entries = ['face.mp4', 'missing.mp4', 'text.mp4', 'short.mp4'].map((name) => ({ path: at(name) }))
  let opened = 0
  const options = {
    cacheDir,
    network: async () => {
      opened++
      return network
    },
  }
  const seen: number[] = []
  const first = await prepareDataset(entries, settings, { ...options, onProgress: ({ done }) => seen.push(done) })
  assert.equal(seen, [1, 2, 3, 4])
  assert.is(first.videos.length, 1)
  assert.equal(
    first.failures.map(({ reason, inconclusive }) => [reason, inconclusive]),
    [
      ['missing', false],
      ['not-a-video', false],
      ['too-few-frames', true],
    ],
  )
  assert.is(first.cached, 0)
  const loaded = await first.videos[0].load()

  // An ffmpeg that is not there would fail whatever is decoded again.
  const before = process.env.FFMPEG_PATH
  process.env.FFMPEG_PATH = at('no-ffmpeg')
  try {
    const good = [entries[0], entries[3]]
    const second = await prepareDataset(good, settings, options)
    assert.is(second.cached, 2)
    assert.is(second.videos.length, 1)
    assert.equal(
      second.failures.map(({ reason }) => reason),
      ['too-few-frames'],
    )
    const other = await prepareDataset(good, { size: 32 }, options)
    assert.equal(
      other.failures.map(({ reason }) => reason),
      ['no-ffmpeg', 'no-ffmpeg'],
    )
  } finally {
    if (before === undefined) delete process.env.FFMPEG_PATH
    else process.env.FFMPEG_PATH = before
  }
  assert.is(opened, 1)

  truncateSync(first.videos[0].file, 1000)
  const third = await prepareDataset([entries[0]], settings, options)
  assert.is(third.cached, 0)
  const again = await third.videos[0].load()
  assert.equal(strip(again), strip(loaded))
  assert.equal(again.data, loaded.data)
})

test('a stopped run stops, and goes on where it was', async () => {
  const names = ['a.mp4', 'b.mp4']
  for (const [i, name] of names.entries())
    await film(
      name,
      repeat(16 + i, (k) => [faceAt(k)]),
    )
  const entries = names.map((name) => ({ path: at(name) }))
  const controller = new AbortController()
  const options = { cacheDir: join(folder, 'stopped'), network: async () => network }
  const stopped = await prepareDataset(entries, settings, {
    ...options,
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  }).catch((error: Error) => error)
  assert.instance(stopped, Error)
  assert.is((stopped as Error).message, 'enough')
  const resumed = await prepareDataset(entries, settings, options)
  assert.is(resumed.cached, 1)
  assert.is(resumed.videos.length, 2)
})

test('a folder of images is a video; frames that are crops already are taken whole', async () => {
  const images = at('images')
  mkdirSync(images)
  const { data } = drawFaces(
    64,
    64,
    repeat(16, (i) => [{ left: 8 + i, top: 8, right: 48 + i, bottom: 56 }]),
  )
  for (let i = 0; i < 16; i++) {
    const rgb = data.subarray(i * 64 * 64 * 3, (i + 1) * 64 * 64 * 3)
    writeFileSync(join(images, `${i}.png`), await png(64, 64, rgb))
  }
  const video = await prepareVideo(images, { size: 64, cropped: true }, async () => {
    throw new Error('nothing is to be detected')
  })
  assert.is(video.clips.length, 1)
  assert.is(video.detector, null)
  assert.equal(video.data, data)
  const error = await prepareVideo(cacheDir, settings, network).catch((e: Error) => e)
  assert.instance(error, VideoError)
})

async function png(width: number, height: number, data: Uint8Array): Promise<Uint8Array> {
  const { encode } = await import('fast-png')
  return encode({ width, height, data, channels: 3, depth: 8 })
}

test.run()
