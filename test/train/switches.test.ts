/** The switches of Tables IV to VIII: each changes what it should and nothing else, and its training step can be planned. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { DIP, type DipConfig, type DipOutput, makeConfig, type PartialConfig } from '../../dip/index.ts'
import { grad, nn, openDevice, type Tensor, tensor, useDevice } from '../../engine/index.ts'
import { ablationNames, ablations, ablationTable, runAblations } from '../../train/ablations.ts'
import { undefinedMetric } from '../../train/metrics/ranking.ts'
import { randomArray, relativeError } from '../support/program.ts'

const switches = suite('switches')
const device = await openDevice()
switches.after(() => device.destroy())

const config = (more: PartialConfig = {}): DipConfig =>
  makeConfig({
    ...{ T: 2, M: 12, P: 4, E: 8, H: 2, U: 1, SA: 1, TA: 1, C: 1, kn: 3, t: 4, r: 2, init_std: 0.2 },
    ...{ 'idm.diffuse': 'power' },
    ...more,
  })
const clip = () => tensor(randomArray(2 * 2 * 12 * 12 * 3, 2).map(Math.abs), [2, 2, 12, 12, 3])

/** Values of what a model makes of the clip; equal seeds give equal weights to parameters of equal order. */
async function outputs(more: PartialConfig = {}) {
  const c = config(more)
  nn.seedInit(1, c.init_std)
  const model = new DIP(c)
  // A wide kernel, so that nodes are near and the bias is felt.
  const flat = nn.flatten(model)
  const state = await flat.read()
  state.set('idm.log_mu', { shape: [], data: Float32Array.of(-4) })
  state.set('dica.log_tau', { shape: [], data: Float32Array.of(-2) })
  flat.write(state)
  const output = model.forward(clip())
  const losses = model.losses(output, [0, 1])
  const names = ['Z', 'W', 'dist', 'Rh', 'logits'] as const satisfies readonly (keyof DipOutput)[]
  const tensors: Tensor[] = [...names.map((name) => output[name]), losses.cce, losses.da]
  await device.realize(tensors.map((x) => x.node))
  const [Z, W, dist, Rh, logits, cce, da] = await Promise.all(tensors.map((x) => x.data()))
  return { model, losses, Z: Z!, W: W!, dist: dist!, Rh: Rh!, logits: logits!, cce: cce!, da: da! }
}
const base = await outputs()

const blocks = (c: DipConfig) =>
  [...nn.namedParameters(new DIP(c)).keys()].flatMap(
    (name) => name.match(/^encoder\.(units.*)\.norm1\.weight/)?.[1] ?? [],
  )

switches('SA:TA: the blocks that it names, and none of the other kind at 0', () => {
  const kinds = (SA: number, TA: number) => blocks(config({ U: 2, SA, TA })).map((name) => name.split('.')[2])
  assert.equal(blocks(config({ U: 1, SA: 3, TA: 1 })), [
    ...['units.0.spatial.0', 'units.0.spatial.1', 'units.0.spatial.2'],
    'units.0.temporal.0',
  ])
  assert.equal(kinds(2, 0), new Array(4).fill('spatial'))
  assert.equal(kinds(0, 1), new Array(2).fill('temporal'))
  assert.equal(kinds(1, 2), [...['spatial', 'temporal', 'temporal'], ...['spatial', 'temporal', 'temporal']])
})

switches('paradigms: as many blocks in another order', () => {
  const order = (paradigm: DipConfig['encoder']['paradigm']) =>
    blocks(config({ U: 2, 'encoder.paradigm': paradigm, SA: 2, TA: 2 })).map((name) => name.split('.')[2])
  assert.equal(order('spatial-then-temporal'), [...new Array(4).fill('spatial'), ...new Array(4).fill('temporal')])
  assert.equal(order('one-to-one'), new Array(4).fill(['spatial', 'temporal']).flat())
  assert.equal(order('interleaved'), new Array(2).fill(['spatial', 'spatial', 'temporal', 'temporal']).flat())
})

switches('k_n: the windows; t: the distances alone', async () => {
  const edges = (W: ArrayLike<number>) => Array.from(W).filter((x) => x !== 0).length
  // L = 3: 7 pairs of |i − j| ≤ 1 in each of four blocks of two graphs; 3 of i = j; 9 of all.
  assert.is(edges(base.W), 2 * 4 * 7)
  const [alone, all, slow] = [await outputs({ kn: 1 }), await outputs({ kn: 9 }), await outputs({ t: 8 })]
  assert.is(edges(alone.W), 2 * 4 * 3)
  assert.is(edges(all.W), 2 * 4 * 9)
  assert.equal(alone.Z, base.Z)
  assert.equal(slow.W, base.W)
  assert.ok(relativeError(slow.dist, base.dist) > 1e-3)
})

switches('DiCA, IDM and DA loss, off', async () => {
  const noDica = await outputs({ dica: { enabled: false } })
  assert.not.ok([...nn.namedParameters(noDica.model).keys()].some((name) => name.startsWith('dica.layers')))
  assert.equal(noDica.Z, base.Z)
  assert.equal(noDica.dist, base.dist)
  assert.ok(relativeError(noDica.Rh, base.Rh) > 1e-3)

  const noIdm = await outputs({ idm: { enabled: false } })
  assert.equal(noIdm.dist, base.dist, 'the distances are still there for L_da')
  // Class tokens have no bias of their own: with one layer only the others differ.
  assert.ok(relativeError(noIdm.Rh, base.Rh) > 1e-3)
  const { log_mu } = noIdm.model.idm as unknown as { log_mu: Tensor }
  assert.equal([...(await grad(noIdm.losses.total, log_mu).data())], [0], 'and the classifier hears nothing of them')

  const noDa = await outputs({ da: { enabled: false } })
  assert.equal([...noDa.da], [0])
  assert.ok(base.da[0]! > 0)
  assert.equal([...noDa.cce], [...base.cce])
})

switches('augmentations: those that the row names', () => {
  const on = Object.fromEntries(
    ablations('augment', config({ 'augment.drop.p': 0.3 })).map(({ label, config: { augment } }) => [
      label,
      Object.entries(augment).flatMap(([name, { p }]) => (p > 0 ? [`${name} ${p}`] : [])),
    ]),
  )
  assert.equal(on, {
    none: [],
    'FFhf: blur': ['blur 0.5'],
    'FFcolor: saturation': ['saturation 0.5'],
    'FFnoise: Gaussian noise': ['noise 0.5'],
    drop: ['drop 0.3'],
    repeat: ['repeat 0.5'],
    'FFta: drop, repeat': ['drop 0.3', 'repeat 0.5'],
    all: ['blur 0.5', 'saturation 0.5', 'noise 0.5', 'drop 0.3', 'repeat 0.5'],
  })
})

switches('every table keeps what it does not vary', () => {
  for (const name of ablationNames) {
    const asked = makeConfig({ preset: 'small', optim: { epochs: 2 }, augment: { blur: { max: 5 } } })
    const rows = ablations(name, asked)
    assert.ok(rows.length >= 3, name)
    assert.is(new Set(rows.map(({ label }) => label)).size, rows.length)
    for (const { config: c, changes } of rows) {
      assert.is(c.U * (c.SA + c.TA), 12)
      assert.equal([c.E, c.optim.epochs, c.augment.blur.max], [384, 2, 5])
      assert.is(changes === '', JSON.stringify(c) === JSON.stringify(asked), `${name}: ${changes}`)
    }
    assert.ok(
      rows.some(({ changes }) => changes === ''),
      'the configuration itself is a row',
    )
  }
  const [, , ratio] = ablations('ste-ratio', makeConfig())
  assert.equal([ratio!.label, ratio!.changes], ['1:3', 'SA=1 TA=3'])
  assert.throws(() => ablations('ste-paradigm', makeConfig({ U: 1, SA: 2, TA: 1 })), /even number of blocks/)
})

switches('the losses of every row reach every parameter that it has', async () => {
  const planner = await openDevice({ adapter: 'null' })
  for (const name of ablationNames.filter((n) => n !== 'augment'))
    for (const { label, config: c } of ablations(name, config({ U: 2 }))) {
      const model = new DIP(c)
      const output = model.forward(clip())
      const features = output.features.detach().narrow(0, 0, 1)
      const { total } = model.losses(output, [0, 1], { positive: features, negative: features })
      const gradients = grad(total, model)
      const plan = planner.plan([total, ...gradients.values()].map((t) => t.node))
      assert.ok(plan.steps.length > 20, `${name} ${label}`)
      // What nothing depends on has zeros for a gradient, which are constants.
      const unreached = [...gradients].filter(([, g]) => g.node.op === 'constant' || g.node.op === 'expand')
      const allowed = new Set([
        ...(c.idm.enabled && c.dica.enabled ? [] : ['idm.log_mu', 'dica.log_tau']),
        ...(c.da.enabled ? [] : ['loss.log_tau2']),
      ])
      assert.equal(
        unreached.map(([n]) => n).filter((n) => !allowed.has(n)),
        [],
        `${name} ${label}`,
      )
    }
  planner.destroy()
  useDevice(device)
})

switches('a table is trained row by row, equal rows once, and written after each', async () => {
  const rows = ablations('idm', config({ kn: 5, t: 20 }))
  const trained: string[] = []
  const sizes: number[] = []
  const level = { auc: { value: 0.75 }, accuracy: undefinedMetric('one class') }
  const done = await runAblations(
    rows,
    async ({ label }) => {
      trained.push(label)
      return { test: { rows: [{ method: 'all', video: level, clip: level }] }, bestEpoch: 2, seconds: 3 } as never
    },
    async (so) => void sizes.push(so.length),
  )
  assert.equal(sizes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  assert.is(trained.length, 9)
  assert.not.ok(trained.includes('t = 20'), 'k_n = 5 is the same')
  const table = ablationTable(done)
  assert.is(table.length, 11)
  assert.equal(table[1], ['k_n = 1', 'kn=1', '0.7500', '0.7500', '', '2', '3'])
})

switches.run()
