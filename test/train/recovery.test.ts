/** A run whose device is lost goes on from its last state and ends as if nothing had happened. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { makeConfig } from '../../dip/index.ts'
import { currentDevice, DeviceLostError, openDevice } from '../../engine/index.ts'
import type { VideoEntry } from '../../train/data/index.ts'
import type { PreparedEntry } from '../../train/preprocess/index.ts'
import { LoadedVideos } from '../../train/training/dataset.ts'
import { type RunOptions, trainRun } from '../../train/training/run.ts'
import { randomArray } from '../support/program.ts'

const test = suite('recovery')
const folder = mkdtempSync(join(tmpdir(), 'diptych-recovery-'))
await openDevice({ adapter: 'software' })

const config = makeConfig({
  ...{ T: 2, M: 8, P: 4, E: 8, H: 2, U: 1, SA: 1, TA: 1, C: 1, kn: 3, t: 4, r: 2, init_std: 0.2 },
  ...{ 'optim.batch': 4, 'optim.lr': 1e-3, 'optim.epochs': 2, 'idm.diffuse': 'power' },
})

const entries = (['train', 'val', 'test'] as const).flatMap((split) =>
  [0, 1].map((label): VideoEntry => {
    const id = `${split}${label}`
    return {
      ...{ dataset: 'x', id, path: id, label: label as 0 | 1, method: label ? 'swap' : 'real', compression: null },
      ...{ identity: split, partner: null, split },
    }
  }),
)
const clips = 4
const prepared = entries.map((entry, i) => ({
  entry,
  clips,
  load: async () => ({
    data: Uint8Array.from(randomArray(clips * 2 * 8 * 8 * 3, i + 1), (x) => Math.floor((x + 1) * 128)),
    clips: Array.from({ length: clips }, () => ({})),
    length: 2,
    size: 8,
  }),
})) as unknown as PreparedEntry<VideoEntry>[]
const videos = new LoadedVideos(prepared, config.T)

/** Destroys the current device when it has just been given its next work, which it cannot have done yet. */
function destroyUnderWay() {
  const { gpu } = currentDevice()
  const { queue } = gpu
  const { submit } = queue
  queue.submit = (buffers) => {
    submit.call(queue, buffers)
    gpu.destroy()
  }
}

/** Runs training, destroying the device at the given steps (counted over everything that happens); returns what was said too. */
async function run(
  name: string,
  more: Partial<RunOptions>,
  losses: readonly number[] = [],
  destroy: () => void = () => currentDevice().gpu.destroy(),
) {
  const said: string[] = []
  let steps = 0
  const out = join(folder, name)
  const result = await trainRun(entries, videos, {
    ...{ config, seed: 3, out, rehearsal: true },
    ...more,
    onStep: () => {
      if (losses.includes(++steps)) destroy()
    },
    onEpoch: (line) => said.push(line),
  })
  return { result, said, steps, detector: readFileSync(join(out, 'detector.safetensors')) }
}

test('lost before and after it saved its state, a run ends with the very weights, history and scores of a calm one', async () => {
  const calm = await run('calm', { saveEvery: 1 })
  assert.is(calm.result.steps, 4)
  // A state that an older run left here is not taken for one of this run.
  mkdirSync(join(folder, 'shaken'))
  copyFileSync(join(folder, 'calm', 'state.safetensors'), join(folder, 'shaken', 'state.safetensors'))
  const shaken = await run('shaken', { saveEvery: 1 }, [1, 5])
  const told = shaken.said.filter((line) => line.includes('device was lost'))
  assert.is(told.length, 2, shaken.said.join('\n'))
  assert.match(told[0]!, /\(1 of at most 5 times\), going on from the start/)
  assert.match(told[1]!, /\(2 of at most 5 times\), going on from the state saved last/)
  // Step 1; then 1, 2, 3 and 4, whose end the second loss prevents from being saved; then 4 again.
  assert.is(shaken.steps, 6)
  assert.equal(shaken.detector, calm.detector)
  assert.equal(shaken.result.history, calm.result.history)
  assert.equal(shaken.result.validation, calm.result.validation)
  assert.equal(shaken.result.test.rows, calm.result.test.rows)
})

for (const [when, destroy, message] of [
  ['between two steps', undefined, /^The GPU device was lost[. ](?!while)/],
  ['in the middle of a step', destroyUnderWay, /^The GPU device was lost while running training step/],
] as const)
  test(`a device that stays lost, ${when}, ends the run with the error, which says what was running`, async () => {
    const error = await run('hopeless', { reopenings: 0 }, [1], destroy).then(
      () => undefined,
      (e: Error) => e,
    )
    assert.instance(error, DeviceLostError)
    assert.match(error!.message, message)
    await openDevice({ adapter: 'software' })
  })

test.after(() => {
  currentDevice().destroy()
  rmSync(folder, { recursive: true, force: true })
})
test.run()
