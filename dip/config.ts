/**
 * One configuration for model, losses, training and augmentation. Plain data: it stands in checkpoints as JSON. Symbols are
 * the paper's. Every key can be given nested (`{ idm: { diffuse: 'power' } }`) or by its path (`{ 'idm.diffuse': 'power' }`).
 *
 * The schema says what a key may be, what it is in `base`, and what it means; `diptych config` prints it.
 */
import { z } from 'zod'
import { nearestName } from './nearest.ts'

const most = 65535

const count = (initial: number, least = 1) => {
  const wanted = `a whole number from ${least} to ${most}`
  return z.int(wanted).min(least, wanted).max(most, wanted).default(initial)
}
const positive = (initial: number) => z.number('a number > 0').gt(0, 'a number > 0').default(initial)
const nonnegative = (initial: number) => z.number('a number ≥ 0').min(0, 'a number ≥ 0').default(initial)
const share = (initial: number) => {
  const wanted = 'a number from 0 to 1'
  return z.number(wanted).min(0, wanted).max(1, wanted).default(initial)
}
const momentum = (initial: number) => {
  const wanted = 'a number from 0 to below 1'
  return z.number(wanted).min(0, wanted).lt(1, wanted).default(initial)
}
const choice = <const T extends string>(initial: NoInfer<T>, ...values: T[]) =>
  z.enum(values, `one of ${values.map((v) => JSON.stringify(v)).join(', ')}`).default(initial as never)
const flag = (initial: boolean) => z.boolean('true or false').default(initial)
const group = <S extends z.core.$ZodLooseShape>(shape: S) => z.strictObject(shape, 'a group').prefault({} as never)
const kernel = (initial: number) =>
  count(initial).refine((k) => k % 2 === 1 && k <= 31, 'an odd whole number from 1 to 31')

const schema = z.strictObject({
  T: count(16).describe('frames in a clip'),
  M: count(224).describe('side of a frame, pixels'),
  P: count(16).describe('side of a patch, pixels; divides M'),
  E: count(768).describe('embedding width'),
  H: count(12).describe('attention heads; divides E'),
  U: count(3).describe('units of the spatiotemporal encoder'),
  SA: count(3, 0).describe('spatial blocks in a unit'),
  TA: count(1, 0).describe('temporal blocks in a unit'),
  C: count(6, 0).describe('DiCA layers'),
  kn: count(7).describe('neighbourhood of a graph node, Eq. 2: |i − j| ≤ ⌊kn/2⌋'),
  t: count(20).describe('diffusion steps, Eqs. 4 and 5'),
  r: positive(4).describe("width of an MLP's hidden layer over E"),
  init_std: positive(0.02).describe('std of the initial weights; narrow models train faster from 0.02·√(768/E)'),
  pool: choice('mean', 'mean', 'max').describe('directional pooling of Z'),
  encoder: group({
    paradigm: choice('interleaved', 'interleaved', 'spatial-then-temporal', 'one-to-one').describe(
      "order of the U·SA spatial and U·TA temporal blocks; the paper's is interleaved",
    ),
    checkpoint: flag(false).describe(
      'in training keep only the input of every block and compute it again in the backward pass: far less memory, a fifth more arithmetic',
    ),
  }),
  idm: group({
    enabled: flag(true).describe('false leaves the attention bias at 0'),
    diffuse: choice('auto', 'spectral', 'power', 'auto').describe('way to Sᵗ: Eq. 5, Eq. 4, or the faster as measured'),
  }),
  dica: group({ enabled: flag(true).describe('false leaves the cross attention out') }),
  da: group({
    enabled: flag(true).describe('L_da, Eq. 10'),
    reduce: choice('mean', 'mean', 'sum').describe('over the pairs of nodes; Eq. 10 writes a sum'),
    detach: choice('dist', 'dist', 'none').describe('dist stops the gradient in Dist'),
  }),
  lambda_h: nonnegative(0.5).describe("weight of the rows' head in L_cce"),
  lambda_v: nonnegative(0.5).describe("weight of the columns' head in L_cce"),
  d_sti: nonnegative(1).describe('margin of L_sti'),
  alpha: share(0.99).describe("teacher's momentum"),
  student_batch: choice('clean', 'clean', 'matched').describe(
    'what L_cce and L_da see: clean anchors and forgeries, or both augmented',
  ),
  optim: group({
    lr: nonnegative(4e-6).describe('highest learning rate'),
    beta1: momentum(0.9).describe('AdamW, first moment'),
    beta2: momentum(0.999).describe('AdamW, second moment'),
    eps: positive(1e-8).describe('AdamW, ε'),
    weight_decay: nonnegative(0.05).describe('of weights of two or more dimensions'),
    warmup: share(0.05).describe('share of the steps in which the rate rises'),
    clip: positive(1).describe('largest norm of the gradient'),
    epochs: count(30).describe('rounds through the training triplets'),
    batch: count(16).describe('triplets in a batch'),
    micro: count(0, 0).describe('triplets computed at once, their gradients added up; divides the batch, 0: all'),
    precision: choice('f32', 'f32', 'f16').describe(
      'of products and activations; f16 scales the loss and keeps f32 weights',
    ),
  }),
  augment: group({
    blur: group({
      p: share(0.5).describe('probability of Gaussian blur'),
      min: kernel(3).describe('kernel side, pixels (odd)'),
      max: kernel(7),
    }),
    saturation: group({
      p: share(0.5).describe('probability of another saturation'),
      min: nonnegative(0.5).describe('factor on the distance from grey'),
      max: nonnegative(1.5),
    }),
    noise: group({
      p: share(0.5).describe('probability of Gaussian noise'),
      min: nonnegative(2).describe('σ, of 255'),
      max: nonnegative(10),
    }),
    drop: group({
      p: share(0.5).describe('probability of dropping frames (their predecessors fill the gaps)'),
      min: count(1).describe('frames of 16; of shorter clips proportionally fewer'),
      max: count(4),
    }),
    repeat: group({
      p: share(0.5).describe('probability of repeating frames (the last ones fall out)'),
      min: count(1).describe('frames of 16; of shorter clips proportionally fewer'),
      max: count(4),
    }),
  }),
})

export type DipConfig = z.infer<typeof schema>
export type Pool = DipConfig['pool']
export type Diffuse = DipConfig['idm']['diffuse']
export type Paradigm = DipConfig['encoder']['paradigm']

const presets = {
  base: {},
  small: { E: 384, H: 6 },
  micro: { M: 64, P: 8, T: 8, E: 96, H: 3, U: 2, C: 2, kn: 3 },
  tiny: { T: 4, M: 32, P: 8, E: 48, H: 3, U: 1, C: 2, kn: 3 },
} satisfies Record<string, Partial<DipConfig>>

export type PresetName = keyof typeof presets
export const presetNames = Object.keys(presets) as PresetName[]

type DeepPartial<T> = T extends object ? { [K in keyof T]?: DeepPartial<T[K]> } : T

/** Any part of a configuration, nested or by path, over a preset. */
export type PartialConfig = DeepPartial<DipConfig> & { readonly [path: `${string}.${string}`]: unknown }

export class ConfigError extends Error {
  override name = 'ConfigError'
}

type Plain = Record<string, unknown>
const isPlain = (x: unknown): x is Plain => typeof x === 'object' && x !== null && !Array.isArray(x)
const show = (value: unknown) => (typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value))

/** What a key means, by path. */
export const configKeys: ReadonlyMap<string, string> = new Map(keysOf(schema, ''))

function keysOf(object: z.ZodObject, prefix: string): [string, string][] {
  return Object.entries(object.shape).flatMap(([key, field]): [string, string][] => {
    const inner = field instanceof z.ZodPrefault ? field.unwrap() : undefined
    return inner instanceof z.ZodObject
      ? keysOf(inner, `${prefix}${key}.`)
      : [[prefix + key, (field as z.ZodType).description ?? '']]
  })
}

const unknownKey = (path: string) =>
  new ConfigError(
    `config: unknown key '${path}'; the nearest known one is '${nearestName(path, ['preset', ...configKeys.keys()])}'`,
  )

/** Puts the settings of `from`, nested or by path, into the nested `into`; undefined leaves what is there. */
function overlay(into: Plain, from: Plain): Plain {
  for (const [key, value] of Object.entries(from)) {
    if (value === undefined) continue
    const dot = key.indexOf('.')
    const [head, rest] = dot < 0 ? [key, undefined] : [key.slice(0, dot), key.slice(dot + 1)]
    const old = Object.hasOwn(into, head) ? into[head] : undefined
    const next = rest === undefined ? value : { [rest]: value }
    // Defined, not assigned: a key named '__proto__' is an unknown one like any other.
    const whole = isPlain(next) ? overlay(isPlain(old) ? { ...old } : {}, next) : next
    Object.defineProperty(into, head, { value: whole, enumerable: true, writable: true, configurable: true })
  }
  return into
}

/** Turns what the schema complains of first into words. */
function complaint(issue: z.core.$ZodIssue, given: Plain): ConfigError {
  const path = issue.path.join('.')
  if (issue.code === 'unrecognized_keys') return unknownKey([...issue.path, issue.keys[0]].join('.'))
  const value = issue.path.reduce<unknown>((x, key) => (x as Plain)[key as string], given)
  return new ConfigError(
    issue.message === 'a group'
      ? `config: '${path}' is a group of settings, got ${show(value)}`
      : `config: '${path}' must be ${issue.message}, got ${show(value)}`,
  )
}

/** Checks that hold between keys. */
function checkTogether(c: DipConfig): void {
  const fail = (what: string): never => {
    throw new ConfigError(`config: ${what}`)
  }
  if (c.M % c.P) fail(`P must divide M into whole patches, got M = ${c.M}, P = ${c.P}`)
  if (c.E % c.H) fail(`H must divide E into whole heads, got E = ${c.E}, H = ${c.H}`)
  if (c.SA + c.TA < 1) fail('a unit needs at least one block, got SA = 0, TA = 0')
  if (!Number.isInteger(c.r * c.E)) fail(`r·E must be whole, got r = ${c.r}, E = ${c.E}`)
  if (c.optim.micro && c.optim.batch % c.optim.micro)
    fail(`optim.micro must divide optim.batch, got ${c.optim.micro} and ${c.optim.batch}`)
  const blocks = c.U * (c.SA + c.TA)
  if (c.encoder.paradigm === 'one-to-one' && blocks % 2)
    fail(`encoder.paradigm 'one-to-one' needs an even number of blocks, got U·(SA + TA) = ${blocks}`)
  for (const [name, { min, max }] of Object.entries(c.augment))
    if (min > max) fail(`augment.${name}.min must not be above augment.${name}.max, got ${min} and ${max}`)
}

/** A preset's configuration, a fresh copy. @throws ConfigError for an unknown name. */
export const presetConfig = (name: PresetName): DipConfig => makeConfig({ preset: name })

/**
 * A whole configuration from a part of one: what is not given comes from `preset` (base unless named).
 * @throws ConfigError naming the key, what was wanted and what was given.
 */
export function makeConfig(partial: PartialConfig & { preset?: PresetName | undefined } = {}): DipConfig {
  const { preset = 'base', ...rest } = partial
  if (!Object.hasOwn(presets, preset))
    throw new ConfigError(`config: unknown preset ${show(preset)}; known are ${presetNames.join(', ')}`)
  const given = overlay({ ...presets[preset] }, rest)
  const { success, data, error } = schema.safeParse(given)
  if (!success) throw complaint(error.issues[0]!, given)
  checkTogether(data)
  return data
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
  const batch = count(1).safeParse(B ?? Number.NaN)
  if (!batch.success)
    throw new ConfigError(`golden file: 'B' must be ${batch.error.issues[0]!.message}, got ${show(B)}`)
  return { config: makeConfig(rest as PartialConfig), B: batch.data }
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
