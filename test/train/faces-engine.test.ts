/** UltraFace on the tensor engine: the published graph's values, equal answers in any batch, and no memory left behind. */
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openDevice } from '../../engine/index.ts'
import { ANCHOR_COUNT, decodeBox } from '../../train/faces/anchors.ts'
import { openFaces } from '../../train/faces/engine.ts'
import type { Box } from '../../train/faces/index.ts'
import { drawFaces } from './drawn-face.ts'

interface Golden {
  input: { faces: Box[] }
  anchors: { index: number; score: number; box: [number, number, number, number] }[]
  sums: { scores: number; boxes: number; above: number }
}
const golden: Golden = JSON.parse(readFileSync(new URL('./golden/ultraface.json', import.meta.url), 'utf8'))

/** float32 against the published graph's float32: 1.4e-6 was measured on lavapipe. */
const TOLERANCE = 5e-6

const test = suite('UltraFace on the engine')
const device = await openDevice()
const network = await openFaces()
test.after(() => device.destroy())

const frames = drawFaces(320, 240, [golden.input.faces])
const pixels = 240 * 320
const image = new Float32Array(3 * pixels)
for (let i = 0; i < pixels; i++)
  for (let c = 0; c < 3; c++) image[c * pixels + i] = (frames.data[3 * i + c] - 127) / 128

test('scores and boxes equal those of the published graph', async () => {
  const { scores, offsets } = await network(image, 1)
  assert.is(scores.length, 2 * ANCHOR_COUNT)
  let worst = 0
  for (const want of golden.anchors) {
    worst = Math.max(worst, Math.abs(scores[2 * want.index + 1] - want.score))
    const { left, top, right, bottom } = decodeBox(offsets, want.index)
    for (const [side, got] of [left, top, right, bottom].entries())
      worst = Math.max(worst, Math.abs(got - want.box[side]))
  }
  assert.ok(worst <= TOLERANCE, `largest deviation ${worst}`)
  let scoreSum = 0
  let above = 0
  for (let i = 0; i < ANCHOR_COUNT; i++) {
    scoreSum += scores[2 * i + 1]
    if (scores[2 * i + 1] >= 0.7) above++
  }
  assert.ok(Math.abs(scoreSum - golden.sums.scores) <= 1e-3, `sum of scores ${scoreSum}, not ${golden.sums.scores}`)
  assert.is(above, golden.sums.above)
})

test('an image scores alike in any batch, and runs leave no buffer behind', async () => {
  const alone = await network(image, 1)
  const three = new Float32Array(3 * image.length)
  three.set(image, 2 * image.length)
  const batch = await network(three, 3)
  const owned = device.stats.ownedBytes
  await network(three, 3)
  assert.is(device.stats.ownedBytes, owned)
  const last = batch.scores.subarray(2 * 2 * ANCHOR_COUNT)
  let worst = 0
  for (let i = 0; i < last.length; i++) worst = Math.max(worst, Math.abs(last[i] - alone.scores[i]))
  assert.ok(worst <= TOLERANCE, `scores differ by ${worst}`)
})

test.run()
