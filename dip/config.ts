/**
 * One configuration for model, losses, training and augmentation. Plain data: it stands in checkpoints as JSON. Symbols are
 * the paper's. Every key can be given nested (`{ idm: { diffuse: 'power' } }`) or by its path (`{ 'idm.diffuse': 'power' }`).
 */

export type Pool = 'mean' | 'max'
export type Diffuse = 'spectral' | 'power' | 'auto'
export type Paradigm = 'interleaved' | 'spatial-then-temporal' | 'one-to-one'

export interface DipConfig {
  /** Frames in a clip. */
  T: number
  /** Side of a frame, pixels. */
  M: number
  /** Side of a patch, pixels; divides M. */
  P: number
  /** Embedding width. */
  E: number
  /** Attention heads; divides E. */
  H: number
  /** Units of the spatiotemporal encoder. */
  U: number
  /** Spatial blocks in a unit. */
  SA: number
  /** Temporal blocks in a unit. */
  TA: number
  /** DiCA layers. */
  C: number
  /** Neighbourhood of a graph node, Eq. 2: |i − j| ≤ ⌊kn/2⌋. */
  kn: number
  /** Diffusion steps, Eqs. 4 and 5. */
  t: number
  /** Width of an MLP's hidden layer over E. */
  r: number
  /** Std of the initial weights. 0.02 suits E = 768; narrow models train faster from 0.02·√(768/E). */
  init_std: number
  /** Directional pooling of Z. */
  pool: Pool
  /** Order of the U·SA spatial and U·TA temporal blocks; the paper's is interleaved. */
  encoder: { paradigm: Paradigm }
  /** `enabled: false` leaves the attention bias at 0. */
  idm: { enabled: boolean; diffuse: Diffuse }
  /** `enabled: false` leaves the cross attention out. */
  dica: { enabled: boolean }
  /** L_da, Eq. 10: `detach: 'dist'` stops the gradient in Dist. */
  da: { enabled: boolean; reduce: 'mean' | 'sum'; detach: 'dist' | 'none' }
  /** Weights of the directional heads in L_cce. */
  lambda_h: number
  lambda_v: number
  /** Margin of L_sti. */
  d_sti: number
  /** Teacher's momentum. */
  alpha: number
  /** What L_cce and L_da see: clean anchors and forgeries, or both augmented. */
  student_batch: 'clean' | 'matched'
  optim: {
    lr: number
    beta1: number
    beta2: number
    eps: number
    weight_decay: number
    /** Share of the steps in which the rate rises linearly. */
    warmup: number
    /** Largest norm of the gradient. */
    clip: number
    epochs: number
    /** Triplets in a batch. */
    batch: number
  }
  augment: {
    /** Probability of each. */
    p: number
    /** Gaussian blur, kernel side in pixels (odd). */
    blur_min: number
    blur_max: number
    saturation_min: number
    saturation_max: number
    /** σ of Gaussian noise, of 255. */
    noise_min: number
    noise_max: number
    /** Frames dropped and refilled, or repeated. */
    frames_min: number
    frames_max: number
  }
}

export type PresetName = 'base' | 'small' | 'micro' | 'tiny'

/** Any part of a configuration; nested or by path. */
export type PartialConfig = {
  [K in keyof DipConfig]?: DipConfig[K] extends object ? Partial<DipConfig[K]> : DipConfig[K]
} & { readonly [path: `${string}.${string}`]: unknown }

export class ConfigError extends Error {
  override name = 'ConfigError'
}

const base: DipConfig = {
  T: 16,
  M: 224,
  P: 16,
  E: 768,
  H: 12,
  U: 3,
  SA: 3,
  TA: 1,
  C: 6,
  kn: 7,
  t: 20,
  r: 4,
  init_std: 0.02,
  pool: 'mean',
  encoder: { paradigm: 'interleaved' },
  idm: { enabled: true, diffuse: 'auto' },
  dica: { enabled: true },
  da: { enabled: true, reduce: 'mean', detach: 'dist' },
  lambda_h: 0.5,
  lambda_v: 0.5,
  d_sti: 1,
  alpha: 0.99,
  student_batch: 'clean',
  optim: {
    lr: 4e-6,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.05,
    warmup: 0.05,
    clip: 1,
    epochs: 30,
    batch: 16,
  },
  augment: {
    p: 0.5,
    blur_min: 3,
    blur_max: 7,
    saturation_min: 0.5,
    saturation_max: 1.5,
    noise_min: 2,
    noise_max: 10,
    frames_min: 1,
    frames_max: 4,
  },
}

const presets: Record<PresetName, Partial<DipConfig>> = {
  base: {},
  small: { E: 384, H: 6 },
  micro: { M: 64, P: 8, T: 8, E: 96, H: 3, U: 2, C: 2, kn: 3 },
  tiny: { T: 4, M: 32, P: 8, E: 48, H: 3, U: 1, C: 2, kn: 3 },
}

export const presetNames = Object.keys(presets) as PresetName[]

interface NumberRule {
  readonly whole: boolean
  readonly min: number
  readonly max: number
  /** The bounds themselves are not allowed. */
  readonly open?: boolean
}
type Rule = NumberRule | readonly (string | boolean)[]

const count: Rule = { whole: true, min: 1, max: 65535 }
const countOrNone: Rule = { whole: true, min: 0, max: 65535 }
const positive: Rule = { whole: false, min: 0, max: Number.POSITIVE_INFINITY, open: true }
const nonnegative: Rule = { whole: false, min: 0, max: Number.MAX_VALUE }
const share: Rule = { whole: false, min: 0, max: 1 }
const flag: Rule = [true, false]

/** What each key may be, by path. */
const rules: Readonly<Record<string, Rule>> = {
  T: count,
  M: count,
  P: count,
  E: count,
  H: count,
  U: count,
  SA: countOrNone,
  TA: countOrNone,
  C: countOrNone,
  kn: count,
  t: count,
  r: positive,
  init_std: positive,
  pool: ['mean', 'max'],
  'encoder.paradigm': ['interleaved', 'spatial-then-temporal', 'one-to-one'],
  'idm.enabled': flag,
  'idm.diffuse': ['spectral', 'power', 'auto'],
  'dica.enabled': flag,
  'da.enabled': flag,
  'da.reduce': ['mean', 'sum'],
  'da.detach': ['dist', 'none'],
  lambda_h: nonnegative,
  lambda_v: nonnegative,
  d_sti: nonnegative,
  alpha: share,
  student_batch: ['clean', 'matched'],
  'optim.lr': nonnegative,
  'optim.beta1': { whole: false, min: 0, max: 0.999999 },
  'optim.beta2': { whole: false, min: 0, max: 0.999999999 },
  'optim.eps': positive,
  'optim.weight_decay': nonnegative,
  'optim.warmup': share,
  'optim.clip': positive,
  'optim.epochs': count,
  'optim.batch': count,
  'augment.p': share,
  'augment.blur_min': count,
  'augment.blur_max': count,
  'augment.saturation_min': nonnegative,
  'augment.saturation_max': nonnegative,
  'augment.noise_min': nonnegative,
  'augment.noise_max': nonnegative,
  'augment.frames_min': count,
  'augment.frames_max': count,
}

export const configKeys: readonly string[] = Object.keys(rules)

/** Levenshtein distance: insertions, deletions and substitutions from one word to the other. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]!
}

function unknownKey(key: string): ConfigError {
  const last = (path: string) => path.slice(path.lastIndexOf('.') + 1).toLowerCase()
  const known = ['preset', ...configKeys]
  const distance = (k: string) =>
    Math.min(editDistance(key.toLowerCase(), k.toLowerCase()), editDistance(last(key), last(k)) + 0.5)
  const nearest = known.reduce((best, k) => (distance(k) < distance(best) ? k : best))
  return new ConfigError(`config: unknown key '${key}'; the nearest known one is '${nearest}'`)
}

function wanted(rule: Rule): string {
  if (!('whole' in rule)) return `one of ${rule.map((v) => JSON.stringify(v)).join(', ')}`
  const kind = rule.whole ? 'a whole number' : 'a number'
  if (rule.open) return `${kind} > ${rule.min}`
  return rule.max >= Number.MAX_VALUE ? `${kind} ≥ ${rule.min}` : `${kind} from ${rule.min} to ${rule.max}`
}

function fits(rule: Rule, value: unknown): boolean {
  if (!('whole' in rule)) return (rule as readonly unknown[]).includes(value)
  if (typeof value !== 'number' || !Number.isFinite(value) || (rule.whole && !Number.isInteger(value))) return false
  return rule.open ? value > rule.min && value < rule.max : value >= rule.min && value <= rule.max
}

const isPlain = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x)

/** Pairs of path and value; groups (`idm`, `optim`, …) are walked into. */
function entries(partial: Readonly<Record<string, unknown>>, prefix = ''): [string, unknown][] {
  return Object.entries(partial).flatMap(([key, value]): [string, unknown][] => {
    const path = prefix + key
    if (value === undefined) return []
    if (Object.hasOwn(rules, path)) return [[path, value]]
    const isGroup = configKeys.some((k) => k.startsWith(`${path}.`))
    if (!isGroup) throw unknownKey(path)
    if (!isPlain(value)) throw new ConfigError(`config: '${path}' is a group of settings, got ${JSON.stringify(value)}`)
    return entries(value, `${path}.`)
  })
}

const show = (value: unknown) => (typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value))

/** Checks that hold between keys. */
function checkTogether(c: DipConfig): void {
  const fail = (what: string): never => {
    throw new ConfigError(`config: ${what}`)
  }
  if (c.M % c.P) fail(`P must divide M into whole patches, got M = ${c.M}, P = ${c.P}`)
  if (c.E % c.H) fail(`H must divide E into whole heads, got E = ${c.E}, H = ${c.H}`)
  if (c.SA + c.TA < 1) fail('a unit needs at least one block, got SA = 0, TA = 0')
  if (!Number.isInteger(c.r * c.E)) fail(`r·E must be whole, got r = ${c.r}, E = ${c.E}`)
  const blocks = c.U * (c.SA + c.TA)
  if (c.encoder.paradigm === 'one-to-one' && blocks % 2)
    fail(`encoder.paradigm 'one-to-one' needs an even number of blocks, got U·(SA + TA) = ${blocks}`)
  for (const name of ['blur', 'saturation', 'noise', 'frames'] as const)
    if (c.augment[`${name}_min`] > c.augment[`${name}_max`])
      fail(
        `augment.${name}_min must not be above augment.${name}_max, got ${c.augment[`${name}_min`]} and ${c.augment[`${name}_max`]}`,
      )
}

/** A preset's configuration, a fresh copy. @throws ConfigError for an unknown name. */
export function presetConfig(name: PresetName): DipConfig {
  if (!Object.hasOwn(presets, name))
    throw new ConfigError(`config: unknown preset ${show(name)}; known are ${presetNames.join(', ')}`)
  return { ...structuredClone(base), ...presets[name] }
}

/**
 * A whole configuration from a part of one: what is not given comes from `preset` (base unless named).
 * @throws ConfigError naming the key, what was wanted and what was given.
 */
export function makeConfig(partial: PartialConfig & { preset?: PresetName } = {}): DipConfig {
  const { preset = 'base', ...rest } = partial
  const config = presetConfig(preset)
  for (const [path, value] of entries(rest)) {
    const rule = rules[path]!
    if (!fits(rule, value)) throw new ConfigError(`config: '${path}' must be ${wanted(rule)}, got ${show(value)}`)
    const [group, key] = path.includes('.') ? (path.split('.') as [string, string]) : [undefined, path]
    const target = (group ? config[group as keyof DipConfig] : config) as Record<string, unknown>
    target[key] = value
  }
  checkTogether(config)
  return config
}

const goldenSymbols = ['T', 'M', 'P', 'E', 'H', 'U', 'SA', 'TA', 'C', 'kn', 't', 'r'] as const

/**
 * The configuration of a golden file: its metadata's `config` names every symbol, and B; whatever else it names are options.
 * @throws ConfigError when it is missing, is not JSON or lacks a symbol.
 */
export function configFromGolden(metadata: Readonly<Record<string, string>>): { config: DipConfig; B: number } {
  const text = metadata['config']
  if (text === undefined) throw new ConfigError("golden file: its metadata have no 'config'")
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw new ConfigError(`golden file: metadata 'config' is not JSON: ${(error as Error).message}`)
  }
  if (!isPlain(parsed)) throw new ConfigError("golden file: metadata 'config' is not an object")
  const { B, ...rest } = parsed
  const missing = goldenSymbols.filter((key) => !(key in rest))
  if (missing.length) throw new ConfigError(`golden file: metadata 'config' lacks ${missing.join(', ')}`)
  if (!fits(count, B)) throw new ConfigError(`golden file: 'B' must be ${wanted(count)}, got ${show(B)}`)
  return { config: makeConfig(rest as PartialConfig), B: B as number }
}

/** Patches along a side of a frame, L = M/P. */
export const patchesPerSide = ({ M, P }: Pick<DipConfig, 'M' | 'P'>): number => M / P

/** Numbers of spatial and temporal blocks of each encoder unit, in order. */
export function encoderUnits({ U, SA, TA, encoder }: DipConfig): { spatial: number; temporal: number }[] {
  switch (encoder.paradigm) {
    case 'interleaved':
      return Array.from({ length: U }, () => ({ spatial: SA, temporal: TA }))
    case 'spatial-then-temporal':
      return [{ spatial: U * SA, temporal: U * TA }]
    case 'one-to-one':
      return Array.from({ length: (U * (SA + TA)) / 2 }, () => ({ spatial: 1, temporal: 1 }))
  }
}
