/** The switches of Tables IV to VIII: each changes what it should and nothing else, and trains a step. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { DIP, type DipConfig, type DipOutput, makeConfig, type PartialConfig } from '../../dip/index.ts'
import { type Device, grad, nn, openDevice, type Tensor, tensor } from '../../engine/index.ts'
import { ablationNames, ablations } from '../../train/ablations.ts'
import type { Triplet } from '../../train/data/index.ts'
import { makeBatch } from '../../train/training/batch.ts'
import { Trainer } from '../../train/training/trainer.ts'
import { randomArray, relativeError } from '../support/program.ts'

const switches = suite('switches')
let device: Device

switches.before(async () => {
  device = await openDevice()
})
switches.after(() => device.destroy())

const config = (more: PartialConfig = {}): DipConfig =>
  makeConfig({
    ...{ T: 2, M: 12, P: 4, E: 8, H: 2, U: 2, SA: 1, TA: 1, C: 1, kn: 3, t: 4, r: 2, init_std: 0.2 },
    ...{ 'optim.batch': 1, 'optim.lr': 1e-3, 'idm.diffuse': 'power' },
    ...more,
  })
const clip = () => tensor(randomArray(2 * 2 * 12 * 12 * 3, 2).map(Math.abs), [2, 2, 12, 12, 3])

/** Values of what a model makes of the clip; equal seeds give equal weights to parameters of equal order. */
async function outputs(c: DipConfig) {
  nn.seedInit(1, c.init_std)
  const model = new DIP(c)
  const output = model.forward(clip())
  const losses = model.losses(output, [0, 1])
  const wanted = ['Z', 'W', 'dist', 'Rh', 'logits'] as const satisfies readonly (keyof DipOutput)[]
  const logMu = grad(losses.total, [(model.idm as unknown as { log_mu: Tensor }).log_mu])[0]!
  const tensors = [...wanted.map((name) => output[name]), losses.cce, losses.da, logMu]
  await device.realize(tensors.map((x) => x.node))
  const [Z, W, dist, Rh, logits, cce, da, mu] = await Promise.all(tensors.map((x) => x.data()))
  return { Z: Z!, W: W!, dist: dist!, Rh: Rh!, logits: logits!, cce: cce!, da: da!, mu: mu! }
}

/** One step; the student moves and every loss is a number. */
async function trains(c: DipConfig): Promise<void> {
  const trainer = new Trainer(c, 3, { peak: c.optim.lr, steps: 10, warmup: 0 })
  const ref = (i: number) => ({ video: { path: '' }, clip: i }) as Triplet['anchor']
  const source = {
    frames: ({ clip: i }: { clip: number }) =>
      Uint8Array.from(randomArray(2 * 12 * 12 * 3, i + 1), (x) => 127.5 * (x + 1)),
  }
  const triplet: Triplet = { anchor: ref(0), positive: ref(1), negative: ref(2), paired: true }
  const batch = await makeBatch([triplet], source, { frames: c.T, side: c.M }, c.augment, 7, 0)
  const values = async () => [...(await trainer.optimizer.flat.read()).values()].flatMap(({ data }) => [...data])
  const before = await values()
  const losses = await trainer.step(batch)
  assert.ok(Object.values(losses).every(Number.isFinite))
  assert.ok(losses.gradientNorm > 0)
  const after = await values()
  assert.ok(after.every(Number.isFinite) && relativeError(after, before) > 1e-4)
}

const blocks = (c: DipConfig) =>
  [...nn.namedParameters(new DIP(c)).keys()].flatMap(
    (name) => name.match(/^encoder\.(units.*)\.norm1\.weight/)?.[1] ?? [],
  )

switches('SA:TA: the blocks that it names, and none of the other kind at 0', async () => {
  assert.equal(blocks(config({ U: 1, SA: 3, TA: 1 })), [
    ...['units.0.spatial.0', 'units.0.spatial.1', 'units.0.spatial.2'],
    'units.0.temporal.0',
  ])
  for (const [SA, TA] of [
    [2, 0],
    [0, 2],
    [1, 3],
  ] as const)
    await trains(config({ U: 1, SA, TA }))
})

switches('paradigms: as many blocks in another order', async () => {
  const order = (paradigm: DipConfig['encoder']['paradigm']) => blocks(config({ encoder: { paradigm }, SA: 2, TA: 2 }))
  assert.equal(
    order('spatial-then-temporal').map((name) => name.split('.')[2]),
    [...new Array(4).fill('spatial'), ...new Array(4).fill('temporal')],
  )
  assert.equal(
    order('one-to-one').map((name) => name.split('.')[2]),
    new Array(4).fill(['spatial', 'temporal']).flat(),
  )
  assert.is(order('interleaved').length, 8)
  await trains(config({ encoder: { paradigm: 'spatial-then-temporal' } }))
})

switches('k_n: the windows; t: the distances alone', async () => {
  const base = await outputs(config())
  const edges = (W: ArrayLike<number>) => Array.from(W).filter((x) => x !== 0).length
  // L = 3: 7 pairs of |i − j| ≤ 1 in each of four blocks of two graphs; 3 of i = j; 9 of all.
  assert.is(edges(base.W), 2 * 4 * 7)
  const [alone, all, slow] = [
    await outputs(config({ kn: 1 })),
    await outputs(config({ kn: 9 })),
    await outputs(config({ t: 9 })),
  ]
  assert.is(edges(alone.W), 2 * 4 * 3)
  assert.is(edges(all.W), 2 * 4 * 9)
  assert.equal(alone.Z, base.Z)
  assert.equal(slow.W, base.W)
  assert.ok(relativeError(slow.dist, base.dist) > 1e-3)
  await trains(config({ kn: 1, t: 9 }))
})

switches('DiCA, IDM and DA loss, off', async () => {
  const base = await outputs(config())
  const noDica = await outputs(config({ dica: { enabled: false } }))
  assert.not.ok(
    [...nn.namedParameters(new DIP(config({ dica: { enabled: false } }))).keys()].some((n) =>
      n.startsWith('dica.layers'),
    ),
  )
  assert.equal(noDica.Z, base.Z)
  assert.equal(noDica.dist, base.dist)
  assert.ok(relativeError(noDica.Rh, base.Rh) > 1e-3)

  const noIdm = await outputs(config({ idm: { enabled: false } }))
  assert.equal(noIdm.dist, base.dist, 'the distances are still there for L_da')
  assert.ok(relativeError(noIdm.logits, base.logits) > 1e-5)
  assert.equal([...noIdm.mu], [0], 'and the classifier hears nothing of them')
  assert.ok(base.mu[0] !== 0)

  const noDa = await outputs(config({ da: { enabled: false } }))
  assert.equal([...noDa.da], [0])
  assert.ok(base.da[0]! > 0)
  assert.equal([...noDa.cce], [...base.cce])
  await trains(config({ dica: { enabled: false }, idm: { enabled: false }, da: { enabled: false } }))
})

switches('each augmentation alone trains a step', async () => {
  for (const { label, config: c } of ablations('augment', config())) {
    const on = Object.entries(c.augment).flatMap(([name, { p }]) => (p > 0 ? [name] : []))
    const want = {
      none: [],
      all: ['blur', 'saturation', 'noise', 'drop', 'repeat'],
      'FFta (drop, repeat)': ['drop', 'repeat'],
    }
    if (label in want) assert.equal(on, want[label as keyof typeof want])
    else assert.is(on.length, 1)
  }
  await trains(ablations('augment', config())[0]!.config)
})

switches('every table keeps what it does not vary', () => {
  for (const name of ablationNames) {
    const rows = ablations(name, makeConfig({ preset: 'small', optim: { epochs: 2 }, augment: { blur: { max: 5 } } }))
    assert.ok(rows.length >= 3, name)
    assert.is(new Set(rows.map(({ label }) => label)).size, rows.length)
    assert.is(
      new Set(rows.map(({ config: c }) => JSON.stringify(c))).size,
      name === 'idm' ? rows.length - 1 : rows.length,
    )
    for (const { config: c } of rows) {
      assert.is(c.U * (c.SA + c.TA), 12)
      assert.equal([c.E, c.optim.epochs, c.augment.blur.max], [384, 2, 5])
    }
  }
})

switches.run()
