/** Faces: the network against onnxruntime's values of the published graph, then boxes, tracks and crops. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ANCHOR_COUNT, ANCHORS, decodeBox } from '../../train/faces/anchors.ts'
import { interpolate, intersectionOverUnion, squareAround } from '../../train/faces/box.ts'
import { boxToSource } from '../../train/faces/crop.ts'
import type { Box, Detection, FaceNetwork, RgbFrames } from '../../train/faces/index.ts'
import {
  boxAt,
  clipBox,
  covers,
  cropFrames,
  DETECTOR,
  detectFaces,
  framesToSample,
  lastingTracks,
  linkDetections,
  openFaceNetwork,
  suppressOverlaps,
  warpFrame,
} from '../../train/faces/index.ts'
import { drawFaces } from './drawn-face.ts'
import { plainEngine } from './plain-tensor.ts'

const close = (got: number, want: number, tolerance: number, what = '') =>
  assert.ok(Math.abs(got - want) <= tolerance, `${what}: got ${got}, expected ${want} ± ${tolerance}`)
const sides = (box: Box) => [box.left, box.top, box.right, box.bottom]
const face = (x: number, y: number, side: number, score = 0.9): Detection => ({ box: squareAround(x, y, side), score })
const box = (left: number, top: number, right: number, bottom: number): Box => ({ left, top, right, bottom })

// ---------------------------------------------------------------------------------------------------------------- network

interface Golden {
  input: { sha256: string; faces: Box[] }
  anchors: { index: number; score: number; box: [number, number, number, number] }[]
  sums: { scores: number; boxes: number; above: number }
}
const golden: Golden = JSON.parse(readFileSync(new URL('./golden/ultraface.json', import.meta.url), 'utf8'))

const network = suite('UltraFace')

network('the vendored weights are the ones recorded with every crop', () => {
  const file = readFileSync(new URL('../../train/faces/vendor/ultraface-rfb-320.safetensors', import.meta.url))
  assert.is(createHash('sha256').update(file).digest('hex'), DETECTOR.sha256)
})

network('scores and boxes equal those of the published graph', async () => {
  const frames = drawFaces(320, 240, [golden.input.faces])
  assert.is(createHash('sha256').update(frames.data).digest('hex'), golden.input.sha256, 'the drawing changed')
  const image = new Float32Array(3 * 240 * 320)
  for (let i = 0; i < 240 * 320; i++)
    for (let c = 0; c < 3; c++) image[c * 240 * 320 + i] = (frames.data[3 * i + c] - 127) / 128
  const { scores, offsets } = await openFaceNetwork(plainEngine)(image, 1)
  assert.is(scores.length, 2 * ANCHOR_COUNT)
  for (const want of golden.anchors) {
    close(scores[2 * want.index + 1], want.score, 2e-6, `score of anchor ${want.index}`)
    for (const [side, got] of sides(decodeBox(offsets, want.index)).entries())
      close(got, want.box[side], 2e-6, `side ${side} of anchor ${want.index}`)
  }
  let scoreSum = 0
  let boxSum = 0
  let above = 0
  for (let i = 0; i < ANCHOR_COUNT; i++) {
    scoreSum += scores[2 * i + 1]
    if (scores[2 * i + 1] >= 0.7) above++
    for (const side of sides(decodeBox(offsets, i))) boxSum += side
  }
  close(scoreSum, golden.sums.scores, 1e-4, 'sum of all scores')
  close(boxSum, golden.sums.boxes, 1e-2, 'sum of all boxes')
  assert.is(above, golden.sums.above)
})

network('4420 anchors, and no offset gives the anchor itself', () => {
  assert.is(ANCHOR_COUNT, 4420)
  const offsets = new Float32Array(4 * ANCHOR_COUNT)
  for (const index of [0, 3599, 4199, 4359, 4419]) {
    const [x, y, w, h] = ANCHORS.subarray(4 * index, 4 * index + 4)
    const got = decodeBox(offsets, index)
    for (const [i, want] of [x - w / 2, y - h / 2, x + w / 2, y + h / 2].entries()) close(sides(got)[i], want, 1e-7)
  }
})

network.run()

// -------------------------------------------------------------------------------------------------------------- detection

const detection = suite('face detection')

/** A network that scores the anchor `index` of every image with `score` and offsets of zero. */
const anchorNetwork =
  (index: number, score: number, runs: number[] = []): FaceNetwork =>
  async (_, count) => {
    runs.push(count)
    const scores = new Float32Array(count * 2 * ANCHOR_COUNT)
    for (let i = 0; i < count; i++) scores[2 * (i * ANCHOR_COUNT + index) + 1] = score
    return { scores, offsets: new Float32Array(count * 4 * ANCHOR_COUNT) }
  }
const blank = (count: number, width: number, height: number): RgbFrames => ({
  data: new Uint8Array(count * width * height * 3),
  count,
  width,
  height,
})

detection('boxes come out in pixels of the source, whatever its shape', async () => {
  const index = 4200 // first of head 2: 64×64 input pixels around (16, 15)
  for (const [width, height] of [
    [320, 240],
    [640, 360],
    [90, 160],
  ]) {
    const [[face]] = await detectFaces(anchorNetwork(index, 0.9), blank(1, width, height))
    const want = [(-16 * width) / 320, (-17 * height) / 240, (48 * width) / 320, (47 * height) / 240]
    for (const [i, side] of sides(face.box).entries()) close(side, want[i], 1e-4, `${width}×${height}, side ${i}`)
  }
})

detection('only scores from the threshold on count', async () => {
  const frames = blank(1, 32, 24)
  assert.is((await detectFaces(anchorNetwork(7, 0.69), frames))[0].length, 0)
  assert.is((await detectFaces(anchorNetwork(7, 0.71), frames))[0].length, 1)
  assert.is((await detectFaces(anchorNetwork(7, 0.69), frames, [0], { threshold: 0.5 }))[0].length, 1)
  assert.is((await detectFaces(anchorNetwork(7, Number.NaN), frames))[0].length, 0)
})

detection('frames go in batches of one size, each answer to its frame', async () => {
  const runs: number[] = []
  // Scores the anchor whose number is the brightness of the frame.
  const byBrightness: FaceNetwork = async (images, count) => {
    runs.push(count)
    const scores = new Float32Array(count * 2 * ANCHOR_COUNT)
    for (let i = 0; i < count; i++) {
      const brightness = Math.round(images[i * 3 * 240 * 320] * 128 + 127)
      scores[2 * (i * ANCHOR_COUNT + brightness) + 1] = 0.9
    }
    return { scores, offsets: new Float32Array(count * 4 * ANCHOR_COUNT) }
  }
  const frames = blank(7, 8, 6)
  for (let frame = 0; frame < 7; frame++) frames.data.fill(30 * frame + 1, frame * 144, (frame + 1) * 144)
  const looked = [0, 2, 3, 5, 6]
  const found = await detectFaces(byBrightness, frames, looked, { batch: 2 })
  assert.equal(runs, [2, 2, 2])
  assert.is(found.length, 5)
  for (const [i, frame] of looked.entries()) {
    const [x, , w] = ANCHORS.subarray(4 * (30 * frame + 1))
    assert.is(found[i].length, 1)
    const { left, right } = found[i][0].box
    close((left + right) / 2, x * 8, 1e-4, `frame ${frame}, centre`)
    close(right - left, w * 8, 1e-4, `frame ${frame}, width`)
  }
  assert.equal(await detectFaces(byBrightness, frames, []), [])
  for (const wrong of [7, -1, 0.5]) {
    const error = await detectFaces(byBrightness, frames, [wrong]).catch((e: Error) => e)
    assert.ok(error instanceof Error && /frame .* of a clip of 7/.test(error.message))
  }
})

detection('a drawn face is found where it was drawn, an empty scene is empty', async () => {
  const drawn = box(250, 60, 370, 220)
  const found = await detectFaces(openFaceNetwork(plainEngine), drawFaces(640, 360, [[drawn], []]))
  assert.is(found[0].length, 1)
  const overlap = intersectionOverUnion(found[0][0].box, drawn)
  assert.ok(overlap > 0.6, `overlap ${overlap}`)
  assert.is(found[1].length, 0)
})

detection('intersection over union', () => {
  assert.is(intersectionOverUnion(box(0, 0, 2, 2), box(0, 0, 2, 2)), 1)
  assert.is(intersectionOverUnion(box(0, 0, 2, 2), box(1, 1, 3, 3)), 1 / 7)
  assert.is(intersectionOverUnion(box(0, 0, 2, 2), box(2, 0, 4, 2)), 0)
  assert.is(intersectionOverUnion(box(0, 0, 4, 4), box(1, 1, 3, 3)), 1 / 4)
  assert.is(intersectionOverUnion(box(1, 1, 1, 1), box(1, 1, 1, 1)), 0)
})

detection('suppression keeps the best of those that overlap', () => {
  const faces: Detection[] = [
    { box: box(0, 0, 10, 10), score: 0.8 },
    { box: box(1, 0, 11, 10), score: 0.9 }, // 0.82 with the first
    { box: box(8, 0, 18, 10), score: 0.75 }, // 0.18 with the second
    { box: box(50, 50, 60, 60), score: 0.7 },
  ]
  assert.equal(
    suppressOverlaps(faces, 0.3).map(({ score }) => score),
    [0.9, 0.75, 0.7],
  )
  assert.is(suppressOverlaps(faces, 0.1).length, 2)
  assert.is(suppressOverlaps(faces, 0.9).length, 4)
  assert.equal(suppressOverlaps([], 0.3), [])
  const nested = [face(2, 2, 4), face(2, 2, 2)] // exactly 1/4
  assert.is(suppressOverlaps(nested, 0.25).length, 2)
  assert.is(suppressOverlaps(nested, 0.24).length, 1)
})

detection('what suppression keeps never overlaps more than allowed, and what it drops always does', () => {
  const anyFace = fc
    .tuple(fc.nat(50), fc.nat(50), fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }), fc.nat(1000))
    .map(([x, y, w, h, score]): Detection => ({ box: box(x, y, x + w, y + h), score: score / 1000 }))
  fc.assert(
    fc.property(fc.array(anyFace, { maxLength: 25 }), (faces) => {
      const kept = suppressOverlaps(faces, 0.3)
      for (const face of faces) {
        const rivals = kept.filter((k) => k !== face && intersectionOverUnion(k.box, face.box) > 0.3)
        if (kept.includes(face)) assert.is(rivals.length, 0)
        else assert.ok(rivals.some((rival) => rival.score >= face.score))
      }
    }),
    { numRuns: 100, seed: 1 },
  )
})

detection.run()

// ----------------------------------------------------------------------------------------------------------------- tracks

const tracks = suite('face tracks')

const sample = (frame: number, ...detections: Detection[]) => ({ frame, detections })

tracks('sampling looks at every k-th frame and the last', () => {
  assert.equal(framesToSample(11, 5), [0, 5, 10])
  assert.equal(framesToSample(13, 5), [0, 5, 10, 12])
  assert.equal(framesToSample(1, 5), [0])
  assert.equal(framesToSample(3, 1), [0, 1, 2])
  assert.equal(framesToSample(0, 5), [])
  assert.throws(() => framesToSample(10, 0))
})

tracks('no faces, no tracks', () => {
  assert.equal(linkDetections([]), [])
  assert.equal(linkDetections([sample(0), sample(5), sample(10)]), [])
})

tracks('two faces give two tracks, the larger first, in any order of detection', () => {
  const samples = [0, 5, 10, 15].map((frame, i) => {
    const pair = [face(60 + i, 50, 40), face(200 - 3 * i, 60, 80)]
    return sample(frame, ...(i % 2 ? pair.reverse() : pair))
  })
  const found = linkDetections(samples)
  assert.is(found.length, 2)
  assert.equal(
    found[0].sightings.map(({ box }) => (box.left + box.right) / 2),
    [200, 197, 194, 191],
  )
  assert.equal(
    found[1].sightings.map(({ frame }) => frame),
    [0, 5, 10, 15],
  )
})

tracks('a detection goes to the track it overlaps most', () => {
  const found = linkDetections([sample(0, face(50, 50, 40), face(75, 50, 40)), sample(5, face(72, 50, 40))], {
    overlap: 0.2,
  })
  assert.is(found[0].sightings[0].box.left, 55)
  assert.is(found[0].sightings.length, 2)
  assert.is(found[1].sightings.length, 1)
})

tracks('a long-lived face comes before a large but brief one', () => {
  const samples = framesToSample(60, 5).map((frame) => sample(frame, face(50, 50, 40)))
  samples[3] = sample(15, face(50, 50, 40), face(200, 100, 100))
  const found = linkDetections(samples)
  assert.is(found.length, 2)
  assert.is(found[0].sightings.length, samples.length)
  assert.equal(lastingTracks(found), [found[0]])
})

tracks('a short gap is bridged and interpolated, a long one ends the track', () => {
  const before = sample(0, face(100, 50, 40))
  const after = (frame: number) => sample(frame, face(110, 50, 60))
  const [bridged, ...others] = linkDetections([before, sample(5), sample(10), sample(15), after(20)], { maxGap: 20 })
  assert.is(others.length, 0)
  assert.equal(boxAt(bridged, 10), squareAround(105, 50, 50))
  assert.equal(boxAt(bridged, 0), squareAround(100, 50, 40))
  assert.equal(boxAt(bridged, -3), squareAround(100, 50, 40))
  assert.equal(boxAt(bridged, 20), squareAround(110, 50, 60))
  assert.equal(boxAt(bridged, 99), squareAround(110, 50, 60))
  assert.is(linkDetections([before, sample(5), after(20)], { maxGap: 15 }).length, 2)
})

tracks('a jump across the frame is another face', () => {
  assert.is(linkDetections([sample(0, face(50, 50, 40)), sample(5, face(250, 50, 40))]).length, 2)
})

tracks('a clip is covered from the first sighting to the last, give or take the reach', () => {
  const [track] = linkDetections([5, 10, 15, 20, 25].map((frame) => sample(frame, face(50, 50, 40))))
  assert.ok(covers(track, 5, 21))
  assert.not.ok(covers(track, 4, 16))
  assert.not.ok(covers(track, 12, 16))
  assert.ok(covers(track, 12, 16, 4))
})

tracks('the box of a clip is square, on the face, and enlarged', () => {
  const tall = { box: box(100, 40, 160, 140), score: 0.9 } // 60×100 around (130, 90)
  const [track] = linkDetections([0, 5, 10, 15].map((frame) => sample(frame, tall)))
  for (const [i, side] of sides(clipBox(track, 0, 16)).entries())
    close(side, sides(squareAround(130, 90, 130))[i], 1e-9, `side ${i}`)
  for (const [i, side] of sides(clipBox(track, 0, 16, 1)).entries())
    close(side, sides(squareAround(130, 90, 100))[i], 1e-9, `side ${i}, not enlarged`)
})

tracks('a face moving evenly is centred on the middle of the clip', () => {
  const [track] = linkDetections(framesToSample(41, 5).map((frame) => sample(frame, face(100 + frame, 50, 80))))
  const { left, right } = clipBox(track, 10, 16)
  close((left + right) / 2, 117.5, 1e-9)
})

tracks('jitter of detections is averaged, and one stray detection does not pull the box', () => {
  const jitter = [3, -2, 1, -3, 2, -1, 3, -3]
  const steady = framesToSample(36, 5).map((frame, i) => sample(frame, face(100 + jitter[i], 80 - jitter[i], 60)))
  const [track] = linkDetections(steady)
  const centre = ({ left, right }: Box) => (left + right) / 2
  for (const start of [0, 8, 16, 20]) close(centre(clipBox(track, start, 16)), 100, 1.5, `clip from ${start}`)
  const stray = steady.map((s, i) => (i === 4 ? sample(s.frame, face(120, 80, 90)) : s))
  const [pulled, ...others] = linkDetections(stray)
  assert.is(others.length, 0)
  close(centre(clipBox(pulled, 12, 16)), 100, 3, 'with a stray detection')
  const side = clipBox(pulled, 12, 16, 1)
  close(side.right - side.left, 60, 5, 'side with a stray detection')
})

tracks('interpolation ends at its ends', () => {
  const [a, b] = [box(0, 1, 2, 3), box(10, 21, 32, 43)]
  assert.equal(interpolate(a, b, 0), a)
  assert.equal(interpolate(a, b, 1), b)
})

tracks.run()

// ------------------------------------------------------------------------------------------------------------------ crops

const crops = suite('face crops')

/** Frames whose value is a function of frame, row, column and channel. */
function paint(count: number, width: number, height: number, value: (...at: number[]) => number): RgbFrames {
  const frames = blank(count, width, height)
  for (let i = 0; i < frames.data.length; i++) {
    const pixel = Math.floor(i / 3)
    const row = Math.floor(pixel / width) % height
    frames.data[i] = value(Math.floor(pixel / (width * height)), row, pixel % width, i % 3)
  }
  return frames
}
const scatter = (frame: number, row: number, column: number, channel: number) =>
  (frame * 101 + row * 57 + column * 31 + channel * 83) % 251
const scattered = paint(2, 12, 10, scatter)
const at = (crop: Uint8Array, size: number, frame: number, row: number, column: number, channel: number) =>
  crop[((frame * size + row) * size + column) * 3 + channel]

/** Checks every value of a crop against a function of frame, row, column and channel. */
function checkCrop(crop: Uint8Array, count: number, size: number, want: (...at: number[]) => number) {
  assert.is(crop.length, count * size * size * 3)
  for (let f = 0; f < count; f++)
    for (let r = 0; r < size; r++)
      for (let c = 0; c < size; c++)
        for (let k = 0; k < 3; k++) assert.is(at(crop, size, f, r, c, k), want(f, r, c, k), `(${f}, ${r}, ${c}, ${k})`)
}

crops('the identity copies, a shift shifts', () => {
  checkCrop(cropFrames(scattered, box(0, 0, 10, 10), 10), 2, 10, scatter)
  checkCrop(cropFrames(scattered, box(4, 3, 11, 10), 7), 2, 7, (f, r, c, k) => scatter(f, r + 3, c + 4, k))
})

crops('half a pixel aside is the mean of neighbours', () => {
  checkCrop(cropFrames(scattered, box(2.5, 3, 6.5, 7), 4), 2, 4, (f, r, c, k) =>
    Math.floor((scatter(f, r + 3, c + 2, k) + scatter(f, r + 3, c + 3, k)) / 2 + 0.5),
  )
})

crops('shrinking takes the mean of all pixels covered', () => {
  for (const factor of [2, 3, 5]) {
    const size = 10 / factor === 10 / 3 ? 3 : 10 / factor
    checkCrop(cropFrames(scattered, box(0, 0, size * factor, size * factor), size), 2, size, (f, r, c, k) => {
      let sum = 0
      for (let y = 0; y < factor; y++)
        for (let x = 0; x < factor; x++) sum += scatter(f, r * factor + y, c * factor + x, k)
      return Math.floor(sum / factor ** 2 + 0.5)
    })
  }
})

crops('a fine pattern shrunk fades to its mean, as it must not alias', () => {
  const stripes = paint(1, 64, 64, (_, __, column) => 255 * (column % 2))
  for (const value of cropFrames(stripes, box(3.2, 3.2, 60.9, 60.9), 16)) close(value, 127.5, 26)
})

crops('beyond the border the frame goes on with its border pixels', () => {
  checkCrop(cropFrames(scattered, box(-3, -2, 15, 16), 18), 2, 18, (f, r, c, k) =>
    scatter(f, Math.min(Math.max(r - 2, 0), 9), Math.min(Math.max(c - 3, 0), 11), k),
  )
  checkCrop(cropFrames(scattered, box(40, 40, 44, 44), 2), 2, 2, (f, _, __, k) => scatter(f, 9, 11, k))
})

crops('any scale and shift keeps a linear ramp linear', () => {
  const ramp = paint(1, 50, 50, (_, row, column) => 2 * column + 3 * row)
  fc.assert(
    fc.property(
      fc.double({ min: 2, max: 12, noNaN: true }),
      fc.double({ min: 2, max: 12, noNaN: true }),
      fc.double({ min: 1, max: 35, noNaN: true }),
      fc.integer({ min: 1, max: 20 }),
      (left, top, side, size) => {
        const out = new Float32Array(size * size * 3)
        warpFrame(ramp, 0, boxToSource(box(left, top, left + side, top + side), size, size), size, size, out)
        for (let r = 0; r < size; r++)
          for (let c = 0; c < size; c++) {
            const x = left + ((c + 0.5) * side) / size - 0.5
            const y = top + ((r + 0.5) * side) / size - 0.5
            close(out[3 * (r * size + c)], 2 * x + 3 * y, 1e-3, `(${r}, ${c})`)
          }
      },
    ),
    { numRuns: 60, seed: 2 },
  )
})

crops('a quarter turn is an affine map too', () => {
  const out = new Uint8Array(10 * 12 * 3)
  // Output (x, y) of the 10×12 image shows source (12 − y, x).
  warpFrame(scattered, 1, [0, 1, -1, 0, 12, 0], 10, 12, out)
  for (let r = 0; r < 12; r++)
    for (let c = 0; c < 10; c++) assert.is(out[3 * (r * 10 + c)], scatter(1, c, 11 - r, 0), `(${r}, ${c})`)
})

crops('each axis of the output is averaged over what it covers itself', () => {
  const out = new Uint8Array(10 * 6 * 3)
  // Output (x, y) of the 10×6 image shows source (12 − 2y, x): one source row a column, two source columns a row.
  warpFrame(scattered, 0, [0, 1, -2, 0, 12, 0], 10, 6, out)
  for (let r = 0; r < 6; r++)
    for (let c = 0; c < 10; c++) {
      const mean = (scatter(0, c, 11 - 2 * r, 0) + scatter(0, c, 10 - 2 * r, 0)) / 2
      assert.is(out[3 * (r * 10 + c)], Math.floor(mean + 0.5), `(${r}, ${c})`)
    }
})

crops('an empty box or a size that is none is refused', () => {
  assert.throws(() => cropFrames(scattered, box(3, 3, 3, 9), 4), /empty/)
  assert.throws(() => cropFrames(scattered, box(3, 3, Number.NaN, 9), 4), /empty/)
  assert.throws(() => cropFrames(scattered, box(0, 0, 4, 4), 0), /size/)
})

crops.run()
