/** Videos: round trips, rotation, thinning, folders of images, strange names, and every fault by its reason. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  decodeVideo,
  encodeVideo,
  findFfmpeg,
  readVideo,
  VideoError,
  type VideoFault,
} from '../../train/video/index.ts'

const test = suite('video')
const folder = mkdtempSync(join(tmpdir(), 'diptych-video-'))
test.after(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string) => join(folder, name)

/** A frame whose grey level tells its index, brighter in the top-left quarter. */
function frame(index: number, width = 48, height = 32): Uint8Array {
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++)
      data.fill(
        20 + index * 8 + (x < width / 2 && y < height / 2 ? 60 : 0),
        (y * width + x) * 3,
        (y * width + x) * 3 + 3,
      )
  }
  return data
}
const frames = (count: number, width?: number, height?: number) =>
  Array.from({ length: count }, (_, i) => frame(i, width, height))
const write = (name: string, count = 12) =>
  encodeVideo(at(name), frames(count), { width: 48, height: 32, fps: 30000 / 1001 })
const pixel = ({ data, width }: { data: Uint8Array; width: number }, x: number, y: number) => data[(y * width + x) * 3]
const ffmpeg = (...args: string[]) => {
  const { status, stderr } = spawnSync(findFfmpeg(), ['-v', 'error', '-y', ...args])
  assert.is(status, 0, String(stderr))
}

async function refuses(reason: VideoFault, action: Promise<unknown>, words: RegExp): Promise<void> {
  try {
    await action
  } catch (error) {
    assert.instance(error, VideoError, String(error))
    assert.is((error as VideoError).reason, reason, String(error))
    assert.match((error as VideoError).message, words)
    return
  }
  assert.unreachable(`expected VideoError '${reason}'`)
}

test('a video comes back in size, rate, order and value', async () => {
  assert.is(await write('plain.mp4'), 12)
  const video = await readVideo(at('plain.mp4'))
  assert.is(video.width, 48)
  assert.is(video.height, 32)
  assert.ok(Math.abs(video.fps - 30000 / 1001) < 1e-3, String(video.fps))
  assert.is(video.frames.length, 12)
  video.frames.forEach((got, i) => {
    assert.is(got.index, i)
    assert.ok(Math.abs(pixel(got, 40, 24) - (20 + i * 8)) <= 3, `frame ${i}: ${pixel(got, 40, 24)}`)
    assert.ok(Math.abs(pixel(got, 8, 8) - (80 + i * 8)) <= 3, `frame ${i}: ${pixel(got, 8, 8)}`)
  })
})

test('the same frames give the same bytes, and no temporary file stays', async () => {
  await write('again.mp4')
  assert.equal(readFileSync(at('again.mp4')), readFileSync(at('plain.mp4')))
  assert.equal(
    readdirSync(folder).filter((name) => name.endsWith('.part')),
    [],
  )
})

test('maxFrames, everyNth and maxSide', async () => {
  const { frames, fps, width, height } = await readVideo(at('plain.mp4'), { everyNth: 3, maxFrames: 3, maxSide: 24 })
  assert.equal([frames.length, width, height], [3, 24, 16])
  assert.ok(Math.abs(fps - 10000 / 1001) < 1e-3, String(fps))
  for (const got of frames) assert.ok(Math.abs(pixel(got, 20, 12) - (20 + got.index * 24)) <= 3)
  assert.is((await readVideo(at('plain.mp4'), { maxSide: 400 })).width, 48, 'never enlarges')
})

test('names that a shell, a URL parser or an option parser would misread', async () => {
  for (const name of [`a b 'c" $(x).mp4`, '-x.mp4', 'http:--h.mp4', 'new\nline.mp4', 'frame%03d.mp4', 'ünï;|&.mp4']) {
    await write(name, 3)
    assert.is((await readVideo(at(name))).frames.length, 3, name)
  }
})

test('rotation in the file turns the frames upright', async () => {
  const bytes = readFileSync(at('plain.mp4'))
  // the tkhd box of version 0: matrix after 40 bytes of fields, as 16.16 numbers; a quarter turn clockwise
  const matrix = bytes.indexOf('tkhd') + 4 + 40
  for (const [i, value] of [0, 0x10000, 0, -0x10000, 0, 0].entries()) bytes.writeInt32BE(value, matrix + i * 4)
  writeFileSync(at('turned.mp4'), bytes)
  const { width, height, frames } = await readVideo(at('turned.mp4'), { maxFrames: 1 })
  assert.equal([width, height], [32, 48])
  assert.ok(pixel(frames[0], 28, 4) > 70 && pixel(frames[0], 4, 4) < 30, 'the bright quarter is now top right')
})

test('folders of images in natural order, of mixed types and sizes', async () => {
  const images = at("pictures of 'me'")
  mkdirSync(images)
  await encodeVideo(at('small.mp4'), frames(12, 32, 32), { width: 32, height: 32 })
  for (let i = 0; i < 12; i++) {
    const source = i < 10 ? 'plain.mp4' : 'small.mp4'
    const target = join(images, `f ${i}.${i % 4 === 3 ? 'jpg' : 'png'}`)
    ffmpeg(
      '-i',
      at(source),
      '-vf',
      `select=eq(n\\,${i})`,
      '-frames:v',
      '1',
      '-f',
      'image2',
      '-update',
      '1',
      '-c:v',
      i % 4 === 3 ? 'mjpeg' : 'png',
      '-q:v',
      '2',
      target,
    )
  }
  writeFileSync(join(images, 'notes.txt'), 'not an image')
  const { frames: got, fps } = await readVideo(images)
  assert.is(fps, 25)
  assert.equal(
    got.map(({ width }) => width),
    [...Array(10).fill(48), 32, 32],
  )
  got.forEach((picture, i) => {
    assert.is(picture.index, i)
    assert.ok(Math.abs(pixel(picture, 30, 24) - (20 + i * 8)) <= 6, `image ${i}: ${pixel(picture, 30, 24)}`)
  })
  const thinned = await readVideo(images, { everyNth: 5, maxFrames: 2 })
  assert.equal(
    thinned.frames.map((picture) => Math.round((pixel(picture, 30, 24) - 20) / 8)),
    [0, 5],
  )
  const whole = readFileSync(join(images, 'f 2.png'))
  writeFileSync(join(images, 'f 2.png'), whole.subarray(0, whole.length * 0.5))
  await refuses('corrupt', readVideo(images), /f 2\.png: the image cannot be decoded/)
})

test('every fault has its reason, and its message names the file', async () => {
  await refuses('missing', readVideo(at('nowhere.mp4')), /nowhere\.mp4: .*ENOENT/)
  writeFileSync(at('empty.mp4'), '')
  await refuses('empty', readVideo(at('empty.mp4')), /empty\.mp4: the file has no bytes/)
  mkdirSync(at('bare'))
  await refuses('no-images', readVideo(at('bare')), /bare: .*no png or jpg/)
  for (const name of ['text.mp4', 'text.txt', 'text.srt']) {
    writeFileSync(at(name), '1\n00:00:01,000 --> 00:00:02,000\nhello\n')
    await refuses('not-a-video', readVideo(at(name)), /text\.\w+: it is not a video/)
  }
  writeFileSync(at('list.mp4'), `ffconcat version 1.0\nfile plain.mp4\n`)
  await refuses('not-a-video', readVideo(at('list.mp4')), /not a video/)
  ffmpeg('-f', 'lavfi', '-i', 'sine=duration=0.2', '-c:a', 'aac', at('sound.m4a'))
  await refuses('no-video-stream', readVideo(at('sound.m4a')), /sound\.m4a: it holds no video stream/)
  ffmpeg('-f', 'lavfi', '-i', 'testsrc=size=1x1:duration=0.2', '-c:v', 'mpeg4', at('dot.mp4'))
  await refuses('too-small', readVideo(at('dot.mp4')), /dot\.mp4: its frames are 1×1 pixels/)
  writeFileSync(at('header.y4m'), 'YUV4MPEG2 W32 H32 F25:1 C420\n')
  await refuses('no-frames', readVideo(at('header.y4m')), /header\.y4m: its video stream has no frames/)
  await refuses('too-large', readVideo(at('plain.mp4'), { maxBytes: 10_000 }), /10000 bytes of decoded/)
  await refuses('too-large', readVideo(at('plain.mp4'), { maxFileBytes: 100 }), /above 100/)
})

test('a cut mp4 is refused wherever it is cut', async () => {
  const bytes = readFileSync(at('plain.mp4'))
  for (const part of [0.1, 0.5, 0.8, 0.95, 0.999]) {
    writeFileSync(at('cut.mp4'), bytes.subarray(0, bytes.length * part))
    await refuses('truncated', readVideo(at('cut.mp4')), /cut\.mp4: the file is cut off/)
  }
  ffmpeg('-i', at('plain.mp4'), '-c', 'copy', at('tail.mp4')) // without +faststart the index comes last
  truncateSync(at('tail.mp4'), readFileSync(at('tail.mp4')).length - 200)
  await refuses('truncated', readVideo(at('tail.mp4')), /cut off/)
  const whole = readFileSync(at('tail.mp4'))
  writeFileSync(at('tail.mp4'), whole.subarray(0, whole.indexOf('moov') - 4))
  await refuses('truncated', readVideo(at('tail.mp4')), /index \(moov\) is missing/)
  ffmpeg('-i', at('plain.mp4'), '-c', 'copy', at('cut.mkv'))
  truncateSync(at('cut.mkv'), Math.floor(readFileSync(at('cut.mkv')).length * 0.7))
  await refuses('truncated', readVideo(at('cut.mkv')), /cut off or damaged /)
})

test('abort, time bound and a consumer that leaves', async () => {
  await encodeVideo(at('long.mp4'), frames(20, 640, 480), { width: 640, height: 480 })
  const controller = new AbortController()
  const aborting = (async () => {
    for await (const { index } of decodeVideo(at('long.mp4'), { signal: controller.signal }))
      if (index === 2) controller.abort()
  })()
  await refuses('aborted', aborting, /long\.mp4: decoding was aborted/)
  await refuses('aborted', readVideo(at('long.mp4'), { signal: AbortSignal.abort() }), /aborted/)
  await refuses('timeout', readVideo(at('long.mp4'), { timeoutMs: 1 }), /longer than 1 ms/)
  for await (const { index } of decodeVideo(at('long.mp4'))) if (index === 1) break
  async function* failing() {
    yield frame(0)
    throw new Error('renderer failed')
  }
  try {
    await encodeVideo(at('half.mp4'), failing(), { width: 48, height: 32 })
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, /renderer failed/)
  }
  assert.equal(
    readdirSync(folder).filter((name) => /half|\.part$/.test(name)),
    [],
    'nothing is left of a failed encode',
  )
})

test('the encoder refuses what it cannot write', async () => {
  await refuses('bad-frames', encodeVideo(at('odd.mp4'), [frame(0, 33, 32)], { width: 33, height: 32 }), /even sides/)
  await refuses('bad-frames', encodeVideo(at('size.mp4'), [frame(0)], { width: 64, height: 32 }), /not 64·32·3/)
  await refuses('bad-frames', encodeVideo(at('none.mp4'), [], { width: 64, height: 32 }), /no frames/)
  await refuses(
    'write',
    encodeVideo(at('no/such/x.mp4'), frames(40), { width: 48, height: 32 }),
    /could not be written/,
  )
})

test('ffmpeg is found in the stated order', () => {
  const binary = (name: string) => {
    mkdirSync(at(name), { recursive: true })
    writeFileSync(join(at(name), 'ffmpeg'), '#!/bin/sh\n')
    chmodSync(join(at(name), 'ffmpeg'), 0o755)
    return join(at(name), 'ffmpeg')
  }
  const [option, path, bin, fixed, installer, onPath] = ['o', 'p', 'b', 's', 'i', 'path'].map(binary)
  const packages: Record<string, string> = { 'ffmpeg-static': fixed, '@ffmpeg-installer/ffmpeg': installer }
  const fromPackage = (name: string) => packages[name]
  const env: Record<string, string | undefined> = { FFMPEG_PATH: path, FFMPEG_BIN: bin, PATH: at('path') }
  assert.is(findFfmpeg({ ffmpeg: option, env, fromPackage }), option)
  assert.is(findFfmpeg({ env, fromPackage }), path)
  delete env.FFMPEG_PATH
  assert.is(findFfmpeg({ env, fromPackage }), bin)
  delete env.FFMPEG_BIN
  assert.is(findFfmpeg({ env, fromPackage }), fixed)
  packages['ffmpeg-static'] = at('not downloaded')
  assert.is(findFfmpeg({ env, fromPackage }), installer)
  delete packages['@ffmpeg-installer/ffmpeg']
  assert.is(findFfmpeg({ env, fromPackage }), onPath)
  assert.throws(() => findFfmpeg({ env: { PATH: at('bare') }, fromPackage: () => undefined }), /npm run setup/)
  assert.throws(
    () => findFfmpeg({ env: { ...env, FFMPEG_PATH: at('gone') }, fromPackage }),
    /gone: FFMPEG_PATH names no/,
  )
})

test.run()
