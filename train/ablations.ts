/** The settings of the paper's ablation tables (IV to VIII) as configurations; `diptych ablate` trains one after the other. */
import { type DipConfig, makeConfig, type PartialConfig } from '../dip/index.ts'

export const ablationNames = ['ste-ratio', 'ste-paradigm', 'idm', 'did', 'augment'] as const
export type AblationName = (typeof ablationNames)[number]

export interface Ablation {
  readonly label: string
  readonly config: DipConfig
}

type Setting = readonly [label: string, set: PartialConfig]

const operations = ['blur', 'saturation', 'noise', 'drop', 'repeat'] as const

/** Only these operations, with the probabilities that the configuration gives them. */
const only = (...kept: (typeof operations)[number][]): PartialConfig =>
  Object.fromEntries(operations.filter((name) => !kept.includes(name)).map((name) => [`augment.${name}.p`, 0]))

/** SA:TA with as many blocks as the configuration has in all; ratios that do not divide them are left out. */
function ratios({ U, SA, TA }: DipConfig): Setting[] {
  const blocks = U * (SA + TA)
  const pairs = [
    [1, 0],
    [0, 1],
    [1, 3],
    [1, 1],
    [2, 1],
    [3, 1],
    [5, 1],
  ] as const
  return pairs.flatMap(([s, t]): Setting[] =>
    blocks % (s + t) ? [] : [[`${s}:${t}`, { U: blocks / (s + t), SA: s, TA: t }]],
  )
}

function settings(name: AblationName, config: DipConfig): Setting[] {
  switch (name) {
    case 'ste-ratio':
      return ratios(config)
    case 'ste-paradigm':
      return (['spatial-then-temporal', 'one-to-one', 'interleaved'] as const).map((p) => [
        p,
        { encoder: { paradigm: p } },
      ])
    case 'idm':
      return [
        ...[1, 3, 5, 7, 9].map((kn): Setting => [`k_n = ${kn}`, { kn }]),
        ...[1, 5, 10, 20, 40].map((t): Setting => [`t = ${t}`, { t }]),
      ]
    case 'did': {
      const parts = (dica: boolean, idm: boolean, da: boolean): PartialConfig => ({
        dica: { enabled: dica },
        idm: { enabled: idm },
        da: { enabled: da },
      })
      return [
        ['none', parts(false, false, false)],
        ['DiCA', parts(true, false, false)],
        ['DiCA, IDM', parts(true, true, false)],
        ['DiCA, DA loss', parts(true, false, true)],
        ['DiCA, IDM, DA loss', parts(true, true, true)],
      ]
    }
    case 'augment':
      return [
        ['none', only()],
        ['FFhf (blur)', only('blur')],
        ['FFcolor (saturation)', only('saturation')],
        ['FFnoise (Gaussian noise)', only('noise')],
        ['FFta (drop, repeat)', only('drop', 'repeat')],
        ['all', {}],
      ]
  }
}

/** The rows of a table over a configuration, which gives everything that the table does not change. */
export const ablations = (name: AblationName, config: DipConfig): Ablation[] =>
  settings(name, config).map(([label, set]) => ({ label, config: makeConfig({ ...config, ...merged(config, set) }) }))

/** Groups of `set` completed from the configuration, for a spread would drop their other keys. */
function merged(config: DipConfig, set: PartialConfig): PartialConfig {
  return Object.fromEntries(
    Object.entries(set).map(([key, value]) => {
      const group = config[key as keyof DipConfig]
      return [key, typeof group === 'object' && typeof value === 'object' ? { ...group, ...value } : value]
    }),
  ) as PartialConfig
}
