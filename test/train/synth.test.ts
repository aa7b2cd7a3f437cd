/** The rendered data set: layout, splits, determinism, and that a forgery differs from its target in the face alone. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { detectFaces, openFaceNetwork } from '../../train/faces/index.ts'
import { type Clip, METHODS } from '../../train/synth/forge.ts'
import { type SynthesizeOptions, splitPairs, synthesize } from '../../train/synth/index.ts'
import { expose } from '../../train/synth/noise.ts'
import { place } from '../../train/synth/render.ts'
import { finishFrame, framesOf, makeClip } from '../../train/synth/synthesize.ts'
import { readVideo } from '../../train/video/index.ts'
import { plainEngine } from './plain-tensor.ts'

const test = suite('synth')
const out = mkdtempSync(join(tmpdir(), 'diptych-synth-'))
test.after(() => rmSync(out, { recursive: true, force: true }))

const SIZE = 128
const FRAMES = 3
const clips: Clip[] = [0, 1].map((identity) => makeClip(7, identity, { size: SIZE, frames: FRAMES, fps: 25 }))
const finished = (method?: (typeof METHODS)[number], strength = 1) => {
  const picture = framesOf(7, clips[0], clips[1], method ? '000_001' : '000', method, strength)
  return Array.from({ length: FRAMES }, (_, i) => finishFrame(picture(i), 7, 0, i))
}

test('a seed fixes every byte of the frames, another seed gives another person', () => {
  const again = makeClip(7, 0, { size: SIZE, frames: FRAMES, fps: 25 })
  for (const method of [undefined, ...METHODS]) {
    const first = finished(method)
    const picture = framesOf(7, again, clips[1], method ? '000_001' : '000', method)
    for (let i = FRAMES - 1; i >= 0; i--)
      assert.equal(finishFrame(picture(i), 7, 0, i), first[i], `${method} frame ${i}`)
  }
  const other = makeClip(8, 0, { size: SIZE, frames: 1, fps: 25 })
  assert.not.equal(other.clean[4], clips[0].clean[4])
  assert.ok(clips.every(({ clean }) => clean.every((frame) => frame.every(Number.isFinite))))
})

test('a forgery equals its target outside the face and differs inside, more with more strength', () => {
  const real = finished()
  for (const method of METHODS) {
    const means = [1, 2].map((strength) => {
      let sum = 0
      let count = 0
      finished(method, strength).forEach((fake, i) => {
        const head = place(clips[0].motion(i / 25), SIZE)
        for (let at = 0; at < fake.length; at++) {
          const pixel = Math.floor(at / 3)
          const x = ((pixel % SIZE) + 0.5 - head.centerX) / head.radius
          const y = (Math.floor(pixel / SIZE) + 0.5 - head.centerY) / head.radius
          const difference = Math.abs(fake[at] - real[i][at])
          if (x * x + y * y > 1.15) assert.is(difference, 0, `${method} frame ${i} at ${x.toFixed(2)}, ${y.toFixed(2)}`)
          else {
            sum += difference
            count++
          }
        }
      })
      return sum / count
    })
    assert.ok(means[0] > 0.5 && means[0] < 15, `${method} changes the head by ${means[0]} levels on average`)
    assert.ok(means[1] > means[0] * 1.1, `${method}: ${means} levels at strength 1 and 2`)
  }
})

test('the face is where the detector of the pipeline looks for one', async () => {
  const [frame] = finished()
  const image = { count: 1, width: SIZE, height: SIZE, data: frame }
  const [[{ box: face, score }]] = await detectFaces(openFaceNetwork(plainEngine), image)
  const { centerX, centerY, radius } = place(clips[0].motion(0), SIZE)
  assert.ok(score > 0.9, `score ${score}`)
  assert.ok(Math.abs((face.left + face.right) / 2 - centerX) < 0.25 * radius, JSON.stringify(face))
  assert.ok(Math.abs((face.top + face.bottom) / 2 - centerY) < 0.35 * radius, JSON.stringify(face))
  assert.ok(face.right - face.left > radius && face.bottom - face.top > 1.2 * radius, JSON.stringify(face))
})

test('sensor noise has the stated spread and no bias', () => {
  const bytes = expose(new Float32Array(96 * 96 * 3).fill(100), 2, 3)
  const mean = bytes.reduce((a, b) => a + b, 0) / bytes.length
  const variance = bytes.reduce((sum, b) => sum + (b - mean) ** 2, 0) / bytes.length
  assert.ok(Math.abs(mean - 100) < 0.05, `mean ${mean}`)
  // rounding to whole levels adds 1/12
  assert.ok(Math.abs(variance - 4 - 1 / 12) < 0.15, `variance ${variance}`)
})

test('splits cover every identity once, in pairs', () => {
  for (const identities of [6, 8, 24, 100]) {
    const { train, val, test } = splitPairs(identities)
    const ids = [train, val, test].flat(2)
    assert.is(ids.length, identities)
    assert.is(new Set(ids).size, identities)
    assert.ok(train.length >= 1 && val.length >= 1 && test.length >= 1)
  }
  assert.equal(splitPairs(6).train, [['000', '001']])
})

test('a small set: layout, split files, progress, videos that decode to the rendered frames', async () => {
  const settings: SynthesizeOptions = {
    out,
    identities: 6,
    framesPerVideo: 3,
    size: 96,
    seed: 5,
    methods: ['swap', 'texture'],
  }
  const seen: string[] = []
  const onProgress = ({ done, total, path }: { done: number; total: number; path: string }) => {
    assert.equal([done, total], [seen.length + 1, 36])
    seen.push(relative(out, path))
  }
  const summary = await synthesize({ ...settings, compressions: ['raw', 'c40'], onProgress })
  assert.equal([summary.videos, summary.reals, summary.fakes], [36, 12, 24])

  const files = (await readdir(out, { recursive: true })).filter((name) => /\.\w+$/.test(name)).sort()
  const pairs = ['000_001', '001_000', '002_003', '003_002', '004_005', '005_004']
  const expected = ['raw', 'c40'].flatMap((level) => [
    ...pairs.map((pair) => `original_sequences/youtube/${level}/videos/${pair.slice(0, 3)}.mp4`),
    ...['swap', 'texture'].flatMap((m) =>
      pairs.map((pair) => `manipulated_sequences/${m}/${level}/videos/${pair}.mp4`),
    ),
  ])
  assert.equal([...seen].sort(), [...expected].sort())
  const others = ['splits/test.json', 'splits/train.json', 'splits/val.json', 'synth.json']
  assert.equal(files, [...expected, ...others].sort())
  const splits = ['train', 'val', 'test'].map((name) =>
    JSON.parse(readFileSync(join(out, `splits/${name}.json`), 'utf8')),
  )
  assert.equal(splits, [[['000', '001']], [['002', '003']], [['004', '005']]])
  assert.match(readFileSync(join(out, 'synth.json'), 'utf8'), /no number on it is evidence about real deepfakes/)

  const small = [2, 3].map((identity) => makeClip(5, identity, { size: 96, frames: 3, fps: 25 }))
  for (const [path, picture] of [
    ['original_sequences/youtube/raw/videos/002.mp4', framesOf(5, small[0], small[1], '002')],
    ['manipulated_sequences/swap/raw/videos/002_003.mp4', framesOf(5, small[0], small[1], '002_003', 'swap')],
  ] as const) {
    const { frames, width, height, fps } = await readVideo(join(out, path))
    assert.equal([frames.length, width, height, fps], [3, 96, 96, 25])
    frames.forEach(({ data }, i) => {
      const want = finishFrame(picture(i), 5, 2, i)
      const error = data.reduce((sum, value, at) => sum + Math.abs(value - want[at]), 0) / data.length
      assert.ok(error < 4, `${path} frame ${i}: ${error} levels off on average`)
    })
  }
})

test('settings that cannot work are refused, and a signal ends it', async () => {
  const fails = async (options: Partial<SynthesizeOptions>, words: RegExp) => {
    const error = await synthesize({ out: join(out, 'never'), ...options }).catch((e) => e)
    assert.instance(error, Error)
    assert.match(error.message, words)
  }
  await fails({ identities: 5 }, /identities must be even and at least 6 .*got 5/)
  await fails({ size: 97 }, /size must be even/)
  await fails({ framesPerVideo: 0 }, /framesPerVideo/)
  assert.not(existsSync(join(out, 'never')))
  await fails({ framesPerVideo: 2, signal: AbortSignal.abort(new Error('enough')) }, /enough/)
})

test.run()
