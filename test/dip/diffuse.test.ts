/** `idm.diffuse: auto` takes the way that was measured faster, in the model too. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { resolveDiffuse } from '../../dip/diffuse.ts'
import { Idm } from '../../dip/idm.ts'
import { makeConfig } from '../../dip/index.ts'
import { openDevice, type TuneOptions, tensor } from '../../engine/index.ts'
import { randomArray } from '../support/program.ts'

const test = suite('diffuse: auto')

test('matrix products before tuning, then what the clock says, for near sizes', async () => {
  assert.is(resolveDiffuse('spectral', 1, 8, 20), 'spectral')
  assert.is(resolveDiffuse('auto', 1, 8, 20), 'power')
  const device = await openDevice({ tune: 'off' })
  device.tuner.mode = 'cached'
  const idm = new Idm(makeConfig({ preset: 'tiny', 'idm.diffuse': 'auto' }))
  const features = (seed: number) => tensor(randomArray(4 * 48, seed), [1, 4, 48])
  const dist = () => idm.call(features(1), features(2)).dist
  const launches = () => device.plan([dist().node]).steps.map((s) => s.program.label)
  assert.not.ok(launches().some((l) => l.startsWith('jacobi')))
  const plain = await dist().data()

  // Kernels are not what this is about: they all take as long, and nothing is compiled for them.
  const clock: TuneOptions['clock'] = async (_, way) => (way === 'power' ? 2e6 : 1e6)
  const report = await device.tune(
    async () => {
      dist()
    },
    { clock },
  )
  const found = report.problems.find((p) => p.kernel === 'dip.diffuse')!
  assert.equal(found.choice, { winner: 'spectral', times: { power: 2000, spectral: 1000 }, rejected: {} })
  assert.is(found.example, 'batch=1 n=8 t=20')
  assert.is(resolveDiffuse('auto', 1, 8, 20), 'spectral')
  assert.is(resolveDiffuse('auto', 1, 28, 20), 'power')
  assert.ok(
    launches().some((l) => l.startsWith('jacobi')),
    launches().join(),
  )
  const spectral = await dist().data()
  spectral.forEach((v, i) =>
    assert.ok(Math.abs(v - plain[i]!) <= 1e-4 * Math.max(1e-3, plain[i]!), `${i}: ${v}, ${plain[i]}`),
  )
})

test.run()
