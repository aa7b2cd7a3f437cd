/** A run whose device is lost goes on from its last state and ends as if nothing had happened. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
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
  load: async () => ({
    data: Uint8Array.from(randomArray(clips * 2 * 8 * 8 * 3, i + 1), (x) => Math.floor((x + 1) * 128)),
    clips: Array.from({ length: clips }, () => ({})),
    length: 2,
    size: 8,
  }),
})) as unknown as PreparedEntry<VideoEntry>[]
const videos = await LoadedVideos.load(prepared, config.T)

/** Runs training, destroying the device at the given steps (counted over everything that happens); returns what was said too. */
async function run(name: string, more: Partial<RunOptions>, losses: readonly number[] = []) {
  const said: string[] = []
  let steps = 0
  const out = join(folder, name)
  const result = await trainRun(entries, videos, {
    ...{ config, seed: 3, out, rehearsal: true },
    ...more,
    onStep: () => {
      if (losses.includes(++steps)) currentDevice().gpu.destroy()
    },
    onEpoch: (line) => said.push(line),
  })
  return { result, said, steps, detector: readFileSync(join(out, 'detector.safetensors')) }
}

test('lost twice in mid-epoch, a run ends with the very weights, history and scores of an undisturbed one', async () => {
  const calm = await run('calm', { saveEvery: 1 })
  assert.is(calm.result.steps, 4)
  const shaken = await run('shaken', { saveEvery: 1 }, [1, 3])
  assert.is(
    shaken.said.filter((line) => /device was lost[\s\S]*going on from the state saved last/.test(line)).length,
    2,
  )
  assert.equal(shaken.detector, calm.detector)
  assert.equal(shaken.result.history, calm.result.history)
  assert.equal(shaken.result.validation, calm.result.validation)
  assert.equal(shaken.result.test.rows, calm.result.test.rows)
  assert.is(shaken.steps, 4 + 1, 'the first loss comes before its step is saved, the second after an epoch')
})

test('a run lost before it saved anything starts anew, not from what an older one left', async () => {
  const again = await run('shaken', {}, [1])
  assert.match(again.said[0]!, /going on from the start/)
  assert.equal(again.detector, (await run('calm2', {})).detector)
})

test('a device that is lost again and again ends the run', async () => {
  const error = await run(
    'hopeless',
    {},
    Array.from({ length: 99 }, (_, i) => i + 1),
  ).then(
    () => undefined,
    (e: Error) => e,
  )
  assert.instance(error, DeviceLostError)
  await currentDevice().reopen()
})

test.after(() => {
  currentDevice().destroy()
  rmSync(folder, { recursive: true, force: true })
})
test.run()
