/** How a line of the op tables is run: values, views, gradients and second derivatives against a float64 reference. */
import { topological } from '../../../engine/autograd.ts'
import { type DType, floatToHalf, halfToFloat } from '../../../engine/dtype.ts'
import { gradcheck, gradgradcheck } from '../../../engine/gradcheck.ts'
import { Tensor, tensor } from '../../../engine/index.ts'
import { shapeRules } from '../../../engine/ops/shapes.ts'
import { formatShape } from '../../../engine/shape.ts'
import type { Case } from '../case.ts'
import { b, grad } from './engine.ts'
import { build, coordinates, count, get, type Nd, offset } from './reference.ts'

export interface OpCase {
  readonly op: string
  readonly shapes: readonly (readonly number[])[]
  /** Uniform input range; for integers both ends are included. Default [−2, 2]. */
  readonly range?: readonly [number, number]
  /** Distinct values 0.17 apart, for ops with kinks or order. */
  readonly spaced?: boolean
  /** Values of the inputs given by hand, in place of `range`. */
  readonly values?: readonly (readonly number[] | undefined)[]
  readonly dtypes?: readonly DType[]
  /** Of the value, relative to max(1, |expected|). Default 2e-6. */
  readonly tolerance?: number
  readonly f: (...inputs: Tensor[]) => Tensor
  readonly reference: (...inputs: Nd[]) => Nd
  /** Dtype of the output; default f32. */
  readonly dtype?: DType
  /** False where there is none to check; a number is its tolerance. */
  readonly gradient?: boolean | number
  /** Step of the gradient check; smaller where kinks are near. */
  readonly epsilon?: number
  /** False where the second derivative is not checked. */
  readonly second?: boolean
  /** False: inputs are given as they are only. */
  readonly views?: boolean
}

/** Ops that some case has recorded. */
export const recorded = new Set<string>()

/** Counts the ops that tensors were computed by as recorded. */
export function note(...tensors: Tensor[]): void {
  for (const node of topological(tensors.map((t) => t.node))) recorded.add(node.op)
}

let seed = 1
/** [0, 1), the same on every run: a Lehmer generator. */
function uniform(): number {
  seed = (seed * 48271) % 2147483647
  return seed / 2147483647
}

function shuffled(n: number): number[] {
  const out = Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1))
    ;[out[i], out[j]] = [out[j]!, out[i]!]
  }
  return out
}

/** Random input i of a case; a `reseed` starts the generator anew. */
export function makeInput(c: OpCase, i: number, reseed?: number): Nd {
  if (reseed !== undefined) seed = 1000003 + reseed * 7919
  const shape = c.shapes[i]!
  const dtype = c.dtypes?.[i] ?? 'f32'
  const n = count(shape)
  const [low, high] = c.range ?? [-2, 2]
  const given = c.values?.[i]
  let data: number[]
  if (given) data = Array.from({ length: n }, (_, k) => given[k % given.length]!)
  else if (c.spaced && (dtype === 'f32' || dtype === 'f16'))
    data = shuffled(n).map((v) => Math.fround((v - n / 2 + 0.3) * 0.17))
  else if (dtype === 'f32' || dtype === 'f16')
    data = Array.from({ length: n }, () => Math.fround(low + (high - low) * uniform()))
  else if (dtype === 'bool') data = Array.from({ length: n }, () => (uniform() < 0.5 ? 1 : 0))
  else data = Array.from({ length: n }, () => Math.floor(low + (high - low + 1) * uniform()))
  const exact = (v: number) => (dtype === 'f32' ? Math.fround(v) : dtype === 'f16' ? halfToFloat(floatToHalf(v)) : v)
  return { shape, data: Float64Array.from(data, exact) }
}

export const asTensor = (x: Nd, dtype: DType = 'f32'): Tensor => tensor(x.data, x.shape, dtype)

/** Fails with the first element that differs. */
export async function expectValues(got: Tensor, expected: Nd, tolerance: number, what: string): Promise<void> {
  if (formatShape(got.shape) !== formatShape(expected.shape))
    throw new Error(`${what}: got shape ${formatShape(got.shape)}, expected ${formatShape(expected.shape)}`)
  const values = await got.data()
  for (let i = 0; i < expected.data.length; i++) {
    const [g, e] = [values[i]!, expected.data[i]!]
    const fits = Number.isFinite(e) ? Math.abs(g - e) <= tolerance * Math.max(1, Math.abs(e)) : Object.is(g, e)
    if (!fits) {
      const at = [...coordinates(expected.shape)][i]
      throw new Error(`${what}: at [${at}]: got ${g}, expected ${e} (tolerance ${tolerance})`)
    }
  }
}

interface View {
  /** What stands in memory. */
  readonly base: Nd
  readonly view: (base: Tensor) => Tensor
}

const reversed = (shape: readonly number[]) => shape.map((_, i) => shape.length - 1 - i)

const place = (shape: readonly number[], x: Nd, to: (at: number[]) => number[]): Nd => {
  const base: Nd = { shape, data: new Float64Array(count(shape)).fill(0.375) }
  let i = 0
  for (const at of coordinates(x.shape)) base.data[offset(shape, to(at))] = x.data[i++]!
  return base
}

/** The same values seen through other strides than their own. */
export const views: Record<string, (x: Nd) => View> = {
  transposed: (x) => ({
    base: place([...x.shape].reverse(), x, (at) => [...at].reverse()),
    view: (t) => t.permute(reversed(x.shape)),
  }),
  sliced: (x) => ({
    base: place(
      x.shape.map((d) => d + 3),
      x,
      (at) => at.map((c) => c + 1),
    ),
    view: (t) => t.slice(x.shape.map((d) => [1, d + 1])),
  }),
  flipped: (x) => ({
    base: place(x.shape, x, (at) => at.map((c, i) => x.shape[i]! - 1 - c)),
    view: (t) => (x.shape.length ? t.flip() : t),
  }),
  reshaped: (x) => ({ base: { shape: [1, x.data.length], data: x.data }, view: (t) => t.reshape(x.shape) }),
  stepped: (x) => ({
    base: place(
      x.shape.map((d) => 2 * d),
      x,
      (at) => at.map((c) => 2 * c + 1),
    ),
    view: (t) =>
      new Tensor(
        b.slice(
          t.node,
          x.shape.map(() => 1),
          x.shape,
          x.shape.map(() => 2),
        ),
      ),
  }),
}

const viewNames = [...Object.keys(views), 'broadcast']

/** x with its first axis of several elements made to repeat its first entry, and what it is broadcast from. */
function repeated(x: Nd): { x: Nd } & View {
  const axis = x.shape.findIndex((d) => d > 1)
  if (axis < 0) return { x, base: x, view: (t) => t }
  const first = (at: number[]) => at.map((c, i) => (i === axis ? 0 : c))
  const shape = x.shape.map((d, i) => (i === axis ? 1 : d))
  return {
    x: build(x.shape, (at) => get(x, ...first(at))),
    base: build(shape, (at) => get(x, ...at)),
    view: (t) => t.expand(x.shape),
  }
}

async function run(c: OpCase, index: number): Promise<void> {
  seed = 1000003 + index * 7919
  const inputs = c.shapes.map((_, i) => makeInput(c, i))
  const dtype = (i: number): DType => c.dtypes?.[i] ?? 'f32'
  const expected = c.reference(...inputs)
  const tolerance = c.tolerance ?? 2e-6
  const tensors = inputs.map((x, i) => asTensor(x, dtype(i)))
  const direct = c.f(...tensors)
  note(direct)
  if (direct.dtype !== (c.dtype ?? 'f32')) throw new Error(`dtype: got ${direct.dtype}, expected ${c.dtype ?? 'f32'}`)
  await expectValues(direct, expected, tolerance, 'value')

  // What has an order or given values would meet ties, where one input repeats.
  const names = c.spaced || c.values ? viewNames.slice(0, -1) : viewNames
  const name = names[index % names.length]!
  const made = inputs.map((x): { x: Nd } & View => {
    if (c.views === false) return { x, base: x, view: (t: Tensor) => t }
    return name === 'broadcast' ? repeated(x) : { x, ...views[name]!(x) }
  })
  const through = (...bases: Tensor[]) => c.f(...bases.map((t, i) => made[i]!.view(t)))
  const bases = () => made.map((m, i) => asTensor(m.base, dtype(i)))
  if (c.views !== false) {
    const seen = name === 'broadcast' ? c.reference(...made.map((m) => m.x)) : expected
    await expectValues(through(...bases()), seen, tolerance, `value of ${name} inputs`)
  }

  const differentiable =
    c.gradient !== false && (c.dtype ?? 'f32') === 'f32' && inputs.some((_, i) => dtype(i) === 'f32')
  if (!differentiable) return
  const gradientTolerance = typeof c.gradient === 'number' ? c.gradient : 2e-3
  const floats = tensors.filter((t) => t.dtype === 'f32')
  const first = grad(direct.sum(), floats)
  note(...first)
  try {
    const options = { directions: 1, ...(c.epsilon ? { epsilon: c.epsilon } : {}) }
    await gradcheck(through, bases(), { tolerance: gradientTolerance, ...options })
    if (c.second !== false) await gradgradcheck(c.f, tensors, { tolerance: 2 * gradientTolerance, ...options })
  } catch (error) {
    throw new Error(`${c.views === false ? '' : `(${name} inputs) `}${(error as Error).message}`)
  }
}

/** Fails when an op of the table was recorded by none of the cases before it. */
export const everyOp: Case = {
  name: 'op: every one of the table has a case',
  run() {
    const missing = Object.keys(shapeRules).filter((op) => !recorded.has(op))
    if (missing.length) throw new Error(`no case records ${missing.join(', ')}`)
  },
}

/** The cases of a table. */
export const casesOf = (table: readonly OpCase[]): Case[] =>
  table.map((c, i) => ({
    name: `op ${c.op} ${c.shapes.map((s) => `[${s}]`).join(' ')}`,
    run: () => run(c, i),
  }))
