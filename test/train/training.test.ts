/** A training step: one plan, the teacher by its moving average alone, what each student batch sees, parts of a batch, resuming. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type DipConfig, decays, makeConfig, type PartialConfig } from '../../dip/index.ts'
import { concat, type Device, nn, openDevice, useDevice } from '../../engine/index.ts'
import type { Triplet, VideoEntry } from '../../train/data/index.ts'
import { type Batch, makeBatch } from '../../train/training/batch.ts'
import { loadState, saveState } from '../../train/training/checkpoint.ts'
import { learningRate } from '../../train/training/schedule.ts'
import { Trainer } from '../../train/training/trainer.ts'
import { randomArray, relativeError } from '../support/program.ts'

const training = suite('training step')
const folder = mkdtempSync(join(tmpdir(), 'diptych-training-'))
let device: Device

training.before(async () => {
  device = await openDevice()
})
training.after(() => {
  device.destroy()
  rmSync(folder, { recursive: true, force: true })
})

const config = (more: PartialConfig = {}): DipConfig =>
  makeConfig({
    ...{ T: 2, M: 8, P: 4, E: 8, H: 2, U: 1, SA: 1, TA: 1, C: 1, kn: 3, t: 4, r: 2, init_std: 0.2 },
    ...{ 'optim.batch': 2, 'optim.lr': 1e-3, 'idm.diffuse': 'power' },
    ...more,
  })
const still: PartialConfig = Object.fromEntries(
  ['blur', 'saturation', 'noise', 'drop', 'repeat'].map((name) => [`augment.${name}.p`, 0]),
)

const video = (id: string, label: 0 | 1): VideoEntry => ({
  ...{ dataset: 'x', id, path: id, label, method: label ? 'swap' : 'real', compression: null },
  ...{ identity: id, partner: null, split: 'train' },
})
const triplet = (i: number): Triplet => ({
  anchor: { video: video('a', 0), clip: i },
  positive: { video: video('a', 0), clip: i + 10 },
  negative: { video: video('f', 1), clip: i },
  paired: true,
})
const source = {
  frames: ({ video: { id }, clip }: { video: VideoEntry; clip: number }) =>
    Uint8Array.from(randomArray(2 * 8 * 8 * 3, clip + (id === 'f' ? 50 : 1)), (x) => Math.floor((x + 1) * 128)),
}
const batch = (c: DipConfig, step = 0): Promise<Batch> =>
  makeBatch([triplet(0), triplet(1)], source, { frames: c.T, side: c.M }, c.augment, 7, step)

const newTrainer = (c: DipConfig) => new Trainer(c, 3, { peak: c.optim.lr, steps: 100, warmup: 0 })
type State = Map<string, { data: Float32Array }>
const student = (t: Trainer): Promise<State> => t.optimizer.flat.read()
const teacher = (t: Trainer): Promise<State> => t.teacherStorage.read()
const flat = (state: State) => [...state.values()].flatMap(({ data }) => [...data])

for (const mode of ['clean', 'matched'] as const)
  training(`${mode}: one plan, one submit, nothing new after the second step; the teacher only averages`, async () => {
    const c = config({ student_batch: mode })
    const trainer = newTrainer(c)
    await device.realize([]) // the teacher becomes a copy of the student
    const submits = device.submits
    await trainer.step(await batch(c, 0))
    assert.is(device.submits - submits, 1, 'the step is one submit, which brings its losses home')
    await trainer.step(await batch(c, 1))
    const before = { plans: device.plansBuilt, submits: device.submits, buffers: device.stats.buffersCreated }
    const pipelines = device.pipelines.created
    const [s0, t0] = [flat(await student(trainer)), flat(await teacher(trainer))]
    const reads = device.submits - before.submits
    const losses = await trainer.step(await batch(c, 2))
    assert.is(device.plansBuilt, before.plans)
    assert.is(device.pipelines.created, pipelines)
    assert.is(device.submits - before.submits - reads, 1)
    const [s1, t1] = [flat(await student(trainer)), flat(await teacher(trainer))]
    const largest = device.stats.buffersCreated
    await trainer.step(await batch(c, 3))
    assert.is(device.stats.buffersCreated, largest)
    for (const value of Object.values(losses)) assert.ok(Number.isFinite(value))
    assert.ok(losses.gradientNorm > 1e-3)
    assert.ok(Math.abs(losses.loss - losses.cce - losses.sti - losses.da) < 1e-5)
    assert.ok(s1.some((x, i) => x !== s0[i]))
    const averaged = t0.map((x, i) => c.alpha * x + (1 - c.alpha) * s1[i]!)
    assert.ok(relativeError(t1, averaged) < 1e-7, `${relativeError(t1, averaged)}`)
    assert.ok(relativeError(t1, t0) > 1e-6)
  })

training('momentum 1 leaves the teacher as it was, whatever the losses', async () => {
  const c = config({ alpha: 1 })
  const trainer = newTrainer(c)
  const before = flat(await teacher(trainer))
  for (let i = 0; i < 3; i++) await trainer.step(await batch(c, i))
  assert.equal(flat(await teacher(trainer)), before)
})

for (const mode of ['clean', 'matched'] as const)
  training(`${mode}: the losses are those of the clips that it names`, async () => {
    const c = config({ ...still, student_batch: mode })
    const trainer = newTrainer(c)
    const { anchors, others } = await batch(c)
    const [positives, negatives] = others.split(2) as [typeof others, typeof others]
    const seen = trainer.student.forward(mode === 'matched' ? others : concat([anchors, negatives], 0))
    const of = (clips: typeof others) => trainer.teacher.forward(clips).features
    const losses = trainer.student.losses(seen, [0, 0, 1, 1], {
      anchor: trainer.student.forward(anchors).features,
      positive: of(positives),
      negative: of(negatives),
    })
    const want = await Promise.all([losses.total, losses.cce, losses.sti, losses.da].map((x) => x.item()))
    const got = await trainer.step(await batch(c))
    const error = relativeError([got.loss, got.cce, got.sti, got.da], want)
    assert.ok(error < 1e-6, `${error}`)
  })

training('a batch in parts, and blocks computed again, give the losses and the update of the whole', async () => {
  const run = async (micro: number, checkpoint: boolean) => {
    const c = config({ ...still, optim: { micro, batch: 2, lr: 1e-3, eps: 1e-3 }, encoder: { checkpoint } })
    const trainer = newTrainer(c)
    const losses = await trainer.step(await batch(c))
    return { losses: Object.values(losses), state: flat(await student(trainer)) }
  }
  const whole = await run(0, false)
  for (const [micro, checkpoint] of [
    [1, false],
    [0, true],
  ] as const) {
    const other = await run(micro, checkpoint)
    assert.ok(relativeError(other.losses, whole.losses) < 1e-5)
    assert.ok(relativeError(other.state, whole.state) < 1e-6, `${relativeError(other.state, whole.state)}`)
  }
})

training('a batch in parts takes the memory of a part, and less when blocks are computed again', async () => {
  const peak = async (micro: number, checkpoint: boolean) => {
    // Planned only, so that nothing needs to be compiled; on a device each, for a step that never runs waits to be part of a plan.
    const planner = await openDevice({ adapter: 'null' })
    const c = makeConfig({ preset: 'tiny', optim: { micro, batch: 4 }, encoder: { checkpoint } })
    const black = { frames: () => new Uint8Array(c.T * c.M * c.M * 3) }
    const four = await makeBatch([0, 1, 2, 3].map(triplet), black, { frames: c.T, side: c.M }, c.augment, 7, 0)
    const { peakLiveBytes } = planner.plan([newTrainer(c).record(four).node])
    planner.destroy()
    return peakLiveBytes
  }
  const [whole, part] = [await peak(0, false), await peak(1, false)]
  assert.ok(part < 0.5 * whole, `${part} of ${whole} bytes`)
  const again = await peak(1, true)
  assert.ok(again < 0.8 * part, `${again} of ${part} bytes`)
  useDevice(device)
})

training('a run that goes on from its state takes the very steps that it would have taken', async () => {
  const c = config()
  const file = join(folder, 'state.safetensors')
  const first = newTrainer(c)
  await first.step(await batch(c, 0))
  await saveState(file, first, { epoch: 1 })
  await first.step(await batch(c, 1))
  const second = newTrainer(c)
  assert.equal(await loadState(file, second), { epoch: 1 })
  await second.step(await batch(c, 1))
  assert.equal(flat(await student(second)), flat(await student(first)))
  assert.equal(flat(await teacher(second)), flat(await teacher(first)))

  const other = newTrainer(makeConfig({ ...c, optim: { ...c.optim, lr: 0.25 }, kn: 1 }))
  const refusal = await loadState(file, other).catch((error: Error) => error.message)
  assert.match(
    String(refusal),
    /state\.safetensors belongs to a run with other settings: kn 3, now 1; optim\.lr \S+, now 0\.25\. /,
  )
})

training('matrices decay; biases, norms, tokens, positions and the log-scalars do not', () => {
  const named = nn.namedParameters(newTrainer(config()).student)
  const decaying = [...named].filter(([name, p]) => decays(name, p.shape)).map(([name]) => name)
  assert.is(decaying.length, 1 + 2 * 4 + 2 * 4 + 3)
  for (const name of decaying) assert.match(name, /(proj|qkv|fc1|fc2|head|head_h|head_v)\.weight$/)
})

training('the rate rises linearly over the first share of the steps, then follows a cosine to 0', () => {
  const schedule = { peak: 2, steps: 100, warmup: 0.05 }
  const rates = Array.from({ length: 100 }, (_, i) => learningRate(schedule, i))
  assert.equal(
    rates.slice(0, 5).map((r) => +r.toFixed(6)),
    [0.4, 0.8, 1.2, 1.6, 2],
  )
  for (let i = 5; i < 100; i++) assert.ok(Math.abs(rates[i]! - (1 + Math.cos((Math.PI * (i - 5)) / 95))) < 1e-12)
  assert.ok(learningRate(schedule, 100) < 1e-12)
})

training.run()
