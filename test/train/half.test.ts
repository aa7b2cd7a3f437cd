/**
 * The whole of DIP trained in half precision: it follows f32, goes on from its state bit by bit, and skips what overflows. Halves as the
 * device stores them: packed two a word where shaders have no f16.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type DipConfig, makeConfig } from '../../dip/index.ts'
import { openDevice } from '../../engine/index.ts'
import { loadState, saveState } from '../../train/training/checkpoint.ts'
import { type StepLosses, Trainer } from '../../train/training/trainer.ts'
import { stepBatch } from './steps.ts'

const test = suite('training in half precision')
const folder = mkdtempSync(join(tmpdir(), 'diptych-half-'))
const device = await openDevice()
const steps = 20
/** Steps of a second run, which must be those of the first. */
const again = 2

const config = (precision: 'f32' | 'f16'): DipConfig =>
  makeConfig({
    preset: 'tiny',
    ...{ 'optim.batch': 2, 'optim.lr': 1e-3, 'idm.diffuse': 'power', 'optim.precision': precision },
  })
const newTrainer = (c: DipConfig) => new Trainer(c, 3, { peak: c.optim.lr, steps, warmup: 0 })

/** Steps `from` up to `to` of a trainer. */
async function take(trainer: Trainer, from: number, to: number): Promise<StepLosses[]> {
  const losses: StepLosses[] = []
  for (let i = from; i < to; i++) losses.push(await trainer.step(await stepBatch(trainer.config, i)))
  return losses
}

/** Every bit that a run goes on from. */
const everything = async (trainer: Trainer) => ({
  student: await trainer.optimizer.flat.read(),
  teacher: await trainer.teacherStorage.read(),
  optimizer: await trainer.optimizer.state(),
})

/** A whole run, and its state after the first few steps. */
async function curve(precision: 'f32' | 'f16') {
  const trainer = newTrainer(config(precision))
  const begun = await take(trainer, 0, again)
  const early = await everything(trainer)
  const losses = [...begun, ...(await take(trainer, again, steps))]
  return { losses, early, trainer }
}
const curves = { f32: await curve('f32'), f16: await curve('f16') }

test('a tiny DIP in f16 follows the loss curve in f32 within 5 % at every step', async () => {
  const [a, b] = [curves.f32.losses, curves.f16.losses]
  a.forEach(({ loss }, i) => {
    const difference = Math.abs(b[i]!.loss / loss - 1)
    assert.ok(difference < 0.05, `step ${i}: loss ${b[i]!.loss} in f16, ${loss} in f32`)
  })
  const last = (curve: StepLosses[]) => curve.slice(-4).reduce((sum, { loss }) => sum + loss / 4, 0)
  assert.ok(last(a) < 0.5 * a[0]!.loss && last(b) < 0.5 * b[0]!.loss, `learns: ${last(a)}, ${last(b)}`)
  assert.not.equal(b, a, 'it is not f32')
  assert.equal(
    (await curves.f16.trainer.optimizer.state()).scaling,
    { scale: 2 ** 16, good: steps },
    'no step was skipped',
  )
})

test('steps that overflow are skipped; a run that goes on from its state takes the very steps, scales and losses', async () => {
  const c = config('f16')
  const file = join(folder, 'state.safetensors')
  const first = newTrainer(c)
  // More than halves hold of any gradient here: the first steps overflow.
  first.optimizer.scaler!.load({ scale: 2 ** 24, good: 3 })
  await take(first, 0, 1)
  const skipped = await first.optimizer.state()
  assert.equal(skipped.scaling, { scale: 2 ** 23, good: 0 })
  assert.equal([skipped.steps, skipped.corrections], [1, [0, 0]], 'it ran, and changed nothing')
  first.optimizer.scaler!.load({ scale: 2 ** 16, good: 3 })
  await take(first, 1, 3)
  await saveState(file, first, { step: 3 })
  const second = newTrainer(c)
  assert.equal(await loadState(file, second), { step: 3 })
  assert.equal(await take(second, 3, 6), await take(first, 3, 6))
  const [a, b] = [await everything(first), await everything(second)]
  assert.equal(b, a)
  assert.equal(a.optimizer.scaling, { scale: 2 ** 16, good: 8 })
  assert.ok(Math.abs(a.optimizer.corrections[0] - (1 - 0.9 ** 5)) < 1e-6, `${a.optimizer.corrections}`)
})

test('two runs from one seed give the same bits: losses, parameters, teacher, moments, scale', async () => {
  for (const precision of ['f32', 'f16'] as const) {
    const trainer = newTrainer(config(precision))
    assert.equal(await take(trainer, 0, again), curves[precision].losses.slice(0, again), precision)
    assert.equal(await everything(trainer), curves[precision].early, precision)
  }
})

test.after(() => {
  device.destroy()
  rmSync(folder, { recursive: true, force: true })
})
test.run()
