/** Configurations: presets, and what a mistake is told. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  configFromGolden,
  configKeys,
  encoderUnits,
  makeConfig,
  patchesPerSide,
  presetConfig,
  presetNames,
} from '../../dip/index.ts'

const config = suite('configuration')
const refused = (partial: object, ...patterns: RegExp[]) => {
  let message = ''
  try {
    makeConfig(partial as never)
  } catch (error) {
    message = (error as Error).message
  }
  for (const pattern of patterns) assert.match(message, pattern)
}

config('presets hold together and are copies', () => {
  for (const name of presetNames) assert.equal(makeConfig({ preset: name }), presetConfig(name))
  presetConfig('tiny').optim.lr = 1
  assert.is(presetConfig('tiny').optim.lr, 4e-6)
  assert.is(patchesPerSide(presetConfig('base')), 14)
  assert.equal(presetNames, ['base', 'small', 'micro', 'tiny'])
})

config('every key of a configuration has a rule, and the reverse', () => {
  const pathsOf = (value: object, prefix = ''): string[] =>
    Object.entries(value).flatMap(([key, x]) =>
      typeof x === 'object' ? pathsOf(x, `${prefix}${key}.`) : [prefix + key],
    )
  assert.equal(pathsOf(presetConfig('base')).sort(), [...configKeys.keys()].sort())
})

config('nested and by path are the same', () => {
  const nested = makeConfig({ preset: 'tiny', idm: { diffuse: 'power' }, optim: { lr: 1e-3 } })
  assert.equal(makeConfig({ preset: 'tiny', 'idm.diffuse': 'power', 'optim.lr': 1e-3 }), nested)
  assert.is(nested.optim.beta1, 0.9)
  const mixed = makeConfig({ augment: { blur: { p: 0 } }, 'augment.blur.max': 5, idm: { diffuse: 'power' } })
  assert.equal(mixed.augment.blur, { p: 0, min: 3, max: 5 })
  assert.is(mixed.augment.noise.p, 0.5)
  assert.is(mixed.idm.diffuse, 'power')
  assert.is(makeConfig({ preset: 'tiny', T: undefined as never }).T, 4)
})

config('an unknown key names the nearest one', () => {
  refused({ lamda_h: 1 }, /'lamda_h'/, /'lambda_h'/)
  refused({ optim: { learning: 1, lrr: 1 } }, /'optim\.learning'/)
  refused({ idm: { difuse: 'power' } }, /'idm\.difuse'/, /'idm\.diffuse'/)
  refused({ toString: 1 }, /'toString'/)
  refused(JSON.parse('{"__proto__": {"T": 4}}'), /'__proto__'/)
  refused({ 'augment.blur.sigma': 1 }, /'augment\.blur\.sigma'/)
  refused({ 'T.x': 1 }, /'T'/, /got {"x":1}/)
  refused({ preset: 'tiny', 'idm.diffuse.way': 1 }, /'idm\.diffuse'/, /"spectral", "power", "auto"/)
})

config('a wrong value names key, wanted and got', () => {
  refused({ T: 0 }, /'T'/, /whole number/, /got 0/)
  refused({ E: 7.5 }, /'E'/, /got 7\.5/)
  refused({ alpha: 2 }, /'alpha'/, /from 0 to 1/, /got 2/)
  refused({ pool: 'min' }, /'pool'/, /"mean", "max"/, /"min"/)
  refused({ dica: { enabled: 'yes' } }, /'dica\.enabled'/, /"yes"/)
  refused({ 'augment.blur.max': 8 }, /'augment\.blur\.max' must be an odd whole number/, /got 8/)
  refused({ optim: { beta1: 1 } }, /'optim\.beta1'/, /below 1/)
  refused({ lambda_h: Number.NaN }, /'lambda_h'/, /NaN/)
  refused({ idm: 3 }, /'idm' is a group/)
  refused({ preset: 'huge' }, /"huge"/, /base, small, micro, tiny/)
})

config('keys that disagree are told', () => {
  refused({ preset: 'tiny', P: 7 }, /P must divide M/, /M = 32, P = 7/)
  refused({ preset: 'tiny', H: 5 }, /H must divide E/)
  refused({ augment: { blur: { min: 9 } } }, /augment\.blur\.min/, /augment\.blur\.max/, /9 and 7/)
})

config('paradigms keep the number of blocks', () => {
  const units = (paradigm: string) => encoderUnits(makeConfig({ 'encoder.paradigm': paradigm }))
  assert.equal(units('interleaved'), new Array(3).fill({ spatial: 3, temporal: 1 }))
  assert.equal(units('spatial-then-temporal'), [{ spatial: 9, temporal: 3 }])
  assert.equal(units('one-to-one'), new Array(6).fill({ spatial: 1, temporal: 1 }))
})

config('a golden file says which', () => {
  const symbols = { T: 4, M: 32, P: 8, E: 48, H: 3, U: 1, SA: 3, TA: 1, C: 2, kn: 3, t: 20, r: 4 }
  const golden = (more: object) => configFromGolden({ config: JSON.stringify({ ...symbols, ...more }) })
  assert.equal(golden({ B: 2 }).config, presetConfig('tiny'))
  assert.is(golden({ B: 2, 'da.reduce': 'sum' }).config.da.reduce, 'sum')
  assert.throws(() => golden({}), /'B'/)
})

config.run()
