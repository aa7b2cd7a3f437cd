/** The settings of the paper's ablation tables (IV to VIII) as configurations; `diptych ablate` trains one after the other. */
import { configKeys, type DipConfig, makeConfig, type PartialConfig } from '../dip/index.ts'
import type { RunResult } from './training/run.ts'

/** Tables IV, V, VI, VII and VIII. */
export const ablationNames = ['ste-ratio', 'ste-paradigm', 'idm', 'did', 'augment'] as const
export type AblationName = (typeof ablationNames)[number]

export interface Ablation {
  readonly label: string
  readonly config: DipConfig
  /** What differs from the configuration that the table was asked for with: `SA=1 TA=3`. */
  readonly changes: string
}

/** Values by path. */
type Settings = Readonly<Record<string, unknown>>
type Setting = readonly [label: string, set: Settings]

const operations = ['blur', 'saturation', 'noise', 'drop', 'repeat'] as const

/** These operations alone, with the probabilities that the configuration gives them. */
const only = (...kept: (typeof operations)[number][]): Settings =>
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
      return ['spatial-then-temporal', 'one-to-one', 'interleaved'].map((p) => [p, { 'encoder.paradigm': p }])
    case 'idm':
      return [
        ...[1, 3, 5, 7, 9].map((kn): Setting => [`k_n = ${kn}`, { kn }]),
        ...[1, 5, 10, 20, 40].map((t): Setting => [`t = ${t}`, { t }]),
      ]
    case 'did': {
      const parts = (dica: boolean, idm: boolean, da: boolean): Settings => ({
        'dica.enabled': dica,
        'idm.enabled': idm,
        'da.enabled': da,
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
        ['FFhf: blur', only('blur')],
        ['FFcolor: saturation', only('saturation')],
        ['FFnoise: Gaussian noise', only('noise')],
        ['drop', only('drop')],
        ['repeat', only('repeat')],
        ['FFta: drop, repeat', only('drop', 'repeat')],
        ['all', {}],
      ]
  }
}

/**
 * The rows of a table over a configuration, which gives everything that the table does not change.
 * @throws ConfigError where a row does not fit the configuration
 */
export const ablations = (name: AblationName, config: DipConfig): Ablation[] =>
  settings(name, config).map(([label, set]) => {
    const changed = makeConfig({ ...config, ...set } as PartialConfig)
    return { label, config: changed, changes: differences(config, changed) }
  })

function differences(from: DipConfig, to: DipConfig): string {
  const at = (config: DipConfig, path: string) =>
    path.split('.').reduce<unknown>((x, key) => (x as Record<string, unknown>)[key], config)
  return [...configKeys.keys()]
    .filter((path) => at(from, path) !== at(to, path))
    .map((path) => `${path}=${at(to, path)}`)
    .join(' ')
}

/** What the table tells of a row: the teacher on the split test, at the epoch picked on val. */
export interface AblationRow extends Ablation {
  readonly run: Pick<RunResult, 'test' | 'bestEpoch' | 'seconds'>
}

/** Trains the rows in their order; one of the same configuration as an earlier one has its numbers. `onRow` sees what is done so far. */
export async function runAblations(
  rows: readonly Ablation[],
  train: (row: Ablation, index: number) => Promise<AblationRow['run']>,
  onRow: (done: readonly AblationRow[]) => Promise<void>,
): Promise<AblationRow[]> {
  const known = new Map<string, AblationRow['run']>()
  const done: AblationRow[] = []
  for (const [index, row] of rows.entries()) {
    const key = JSON.stringify(row.config)
    const run = known.get(key) ?? (await train(row, index))
    known.set(key, run)
    done.push({ ...row, run })
    await onRow(done)
  }
  return done
}

const columns = ['setting', 'changes', 'video AUC', 'clip AUC', 'video ACC', 'best epoch', 'seconds'] as const

/** The table as cells, its heading first; a metric that is undefined is an empty cell. */
export function ablationTable(rows: readonly AblationRow[]): string[][] {
  const shown = ({ value }: { value?: number | undefined }) => value?.toFixed(4) ?? ''
  return [
    [...columns],
    ...rows.map(({ label, changes, run }) => {
      const { video, clip } = run.test.rows[0]!
      return [
        ...[label, changes, shown(video.auc), shown(clip.auc), shown(video.accuracy)],
        ...[String(run.bestEpoch), run.seconds.toFixed(0)],
      ]
    }),
  ]
}
