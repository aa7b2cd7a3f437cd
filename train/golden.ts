/**
 * Checks the model against a golden file: values, losses and the gradient of every parameter, computed here in float32 on the
 * device and elsewhere in float64.
 *
 *   metadata config   JSON with T, M, P, E, H, U, SA, TA, C, kn, t, r, B, and options where they differ from the defaults
 *   param.<name>, in.clip, in.label, in.F_pos, in.F_neg → out.*, grad.<name>
 *
 * Z_h, Z_v are the mean pooling of Z and Z_h.max, Z_v.max the max pooling, whichever the model uses.
 */
import { anchorFeatures, configFromGolden, DIP, type Diffuse, type DipConfig, poolDirections } from '../dip/index.ts'
import { formatShape, getDevice, grad, nn, type Tensor, tensor, zeros } from '../engine/index.ts'
import { parseSafetensors, type SafetensorsTensor } from '../engine/safetensors.ts'

export const outputLimit = 1e-4
export const gradientLimit = 1e-3

export type DiffuseWay = Diffuse

export interface GoldenRow {
  /** Name in the file: `out.…` or `grad.…`. */
  readonly name: string
  readonly diffuse: DiffuseWay
  /** ‖a − b‖/‖b‖ in float64, or ‖a − b‖ where float32 has no normal number for ‖b‖. NaN where a value is. */
  readonly error: number
  /** `error` is ‖a − b‖. */
  readonly absolute: boolean
  readonly limit: number
  readonly ok: boolean
}

export interface GoldenReport {
  readonly config: DipConfig
  readonly batch: number
  readonly rows: readonly GoldenRow[]
  /** Every output below 1e-4 and every gradient below 1e-3. */
  readonly ok: boolean
}

/** What is wrong with a golden file. */
export class GoldenError extends Error {
  override name = 'GoldenError'
}

const inputNames = ['in.clip', 'in.label', 'in.F_pos', 'in.F_neg']

/** Tensors of the file whose name begins with `prefix`, by the rest of the name. */
function group(tensors: ReadonlyMap<string, SafetensorsTensor>, prefix: string): Map<string, SafetensorsTensor> {
  return new Map(
    [...tensors].flatMap(([name, t]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), t] as const] : [])),
  )
}

function checkNames(what: string, found: Iterable<string>, expected: Iterable<string>): string[] {
  const [have, want] = [new Set(found), new Set(expected)]
  const missing = [...want].filter((n) => !have.has(n))
  const extra = [...have].filter((n) => !want.has(n))
  const list = (title: string, names: string[]) =>
    names.length ? [`  ${title}:`, ...names.map((n) => `    ${what}${n}`)] : []
  return [...list('missing in the file', missing), ...list('not known', extra)]
}

function wrongShapes(model: DIP, params: ReadonlyMap<string, SafetensorsTensor>): string[] {
  return nn.compareState(model, params).wrongShape.map((line) => `  of another shape: param.${line}`)
}

function compare(ours: ArrayLike<number>, theirs: ArrayLike<number>): { error: number; absolute: boolean } {
  let difference = 0
  let norm = 0
  for (let i = 0; i < theirs.length; i++) {
    difference += (ours[i]! - theirs[i]!) ** 2
    norm += theirs[i]! ** 2
  }
  const absolute = Math.sqrt(norm) < 2 ** -126
  return { error: Math.sqrt(absolute ? difference : difference / norm), absolute }
}

/** Values of the model by their names in the file, the loss, and its gradients by parameter. */
function evaluate(model: DIP, tensors: ReadonlyMap<string, SafetensorsTensor>, labels: number[]) {
  const input = (name: string): Tensor => {
    const { data, shape } = tensors.get(name)!
    return tensor(Float32Array.from(data as Float32Array), shape)
  }
  const output = model.forward(input('in.clip'))
  const losses = model.losses(output, labels, { positive: input('in.F_pos'), negative: input('in.F_neg') })
  const [mean, max] = [poolDirections(output.Z, 'mean'), poolDirections(output.Z, 'max')]
  const values = new Map<string, Tensor>([
    ['Z', output.Z],
    ['Z_h', mean.zh],
    ['Z_v', mean.zv],
    ['z_cls', output.zcls],
    ['Z_h.max', max.zh],
    ['Z_v.max', max.zv],
    ['W', output.W],
    ['dist', output.dist],
    ['logits_h', output.logitsH],
    ['logits_v', output.logitsV],
    ['logits', output.logits],
    ['F_anc', anchorFeatures(output.features, labels) ?? zeros([0, 2 * model.config.E])],
    ['loss_cce', losses.cce],
    ['loss_sti', losses.sti],
    ['loss_da', losses.da],
    ['loss', losses.total],
  ])
  return { values, gradients: grad(losses.total, model as object) }
}

export interface GoldenOptions {
  /** Stands in messages. */
  file?: string
  /** Ways to Sᵗ to check; spectral and power unless told otherwise. */
  diffuse?: readonly DiffuseWay[]
}

/**
 * Runs the model of a golden file on the default device.
 * @throws SafetensorsError, ConfigError or GoldenError when the file is none or lacks or adds a name.
 */
export async function runGolden(bytes: Uint8Array | ArrayBuffer, options: GoldenOptions = {}): Promise<GoldenReport> {
  const { file = 'golden file', diffuse = ['spectral', 'power'] } = options
  const { metadata, tensors } = parseSafetensors(bytes, { file })
  const { config, B } = configFromGolden(metadata)
  const faults = checkNames(
    'in.',
    group(tensors, 'in.').keys(),
    inputNames.map((n) => n.slice(3)),
  )
  const strangers = [...tensors.keys()].filter((n) => !/^(param|in|out|grad)\./.test(n))
  if (strangers.length) faults.push('  not known:', ...strangers.map((n) => `    ${n}`))
  if (faults.length) throw new GoldenError(`${file} is no golden file of this model:\n${faults.join('\n')}`)
  const labels = Array.from(tensors.get('in.label')!.data as ArrayLike<number | bigint>, Number)
  if (labels.length !== B || tensors.get('in.clip')!.shape[0] !== B)
    throw new GoldenError(
      `${file}: B is ${B}, in.label has ${labels.length} and in.clip ${tensors.get('in.clip')!.shape[0]}`,
    )

  const device = await getDevice()
  const params = group(tensors, 'param.')
  const expected = { out: group(tensors, 'out.'), grad: group(tensors, 'grad.') }
  const rows: GoldenRow[] = []
  for (const way of diffuse) {
    const model = new DIP({ ...config, idm: { ...config.idm, diffuse: way } })
    const unfit = [
      ...checkNames('param.', params.keys(), nn.namedParameters(model).keys()),
      ...wrongShapes(model, params),
    ]
    if (unfit.length) throw new GoldenError(`${file} is no golden file of this model:\n${unfit.join('\n')}`)
    nn.loadState(model, new Map([...params].map(([name, p]) => [name, { ...p, data: p.data as Float32Array }])), file)
    const { values, gradients } = evaluate(model, tensors, labels)
    const wrong = [
      ...checkNames('out.', expected.out.keys(), values.keys()),
      ...checkNames('grad.', expected.grad.keys(), gradients.keys()),
    ]
    if (wrong.length) throw new GoldenError(`${file} is no golden file of this model:\n${wrong.join('\n')}`)
    const wanted = [
      ...[...expected.out].map(([name, theirs]) => ({
        name: `out.${name}`,
        ours: values.get(name)!,
        theirs,
        limit: outputLimit,
      })),
      ...[...expected.grad].map(([name, theirs]) => ({
        name: `grad.${name}`,
        ours: gradients.get(name)!,
        theirs,
        limit: gradientLimit,
      })),
    ]
    for (const { name, ours, theirs } of wanted)
      if (ours.shape.join() !== theirs.shape.join())
        throw new GoldenError(
          `${file}: ${name} is ${formatShape(theirs.shape)}, the model's is ${formatShape(ours.shape)}`,
        )
    await device.realize(wanted.filter(({ ours }) => ours.size).map(({ ours }) => ours.node))
    for (const { name, ours, theirs, limit } of wanted) {
      const { error, absolute } = compare(ours.size ? await ours.data() : [], theirs.data as Float64Array)
      rows.push({ name, diffuse: way, error, absolute, limit, ok: error < limit })
    }
  }
  return { config, batch: B, rows, ok: rows.every((row) => row.ok) }
}

/** The report as lines of text, one a value. */
export function formatGolden({ rows, ok }: GoldenReport): string {
  const width = Math.max(...rows.map((row) => row.name.length))
  const lines = rows.map(({ name, diffuse, error, absolute, limit, ok }) => {
    const value = `${error.toExponential(2)}${absolute ? ' absolute' : ''}`
    return `${diffuse.padEnd(8)}  ${name.padEnd(width)}  ${value}${ok ? '' : `  FAILED, the limit is ${limit}`}`
  })
  const failed = rows.filter((row) => !row.ok).length
  return [...lines, ok ? `${rows.length} values agree` : `${failed} of ${rows.length} values are off`].join('\n')
}
