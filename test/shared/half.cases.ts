/**
 * Half precision as the adapter stores it (f16 where shaders have it), and packed two a word (`without: ['shader-f16']`): a case of every
 * kind of launch from the op tables with f16 inputs, gradients against those in f32, rounding, overflow, odd sizes.
 */
import type { DType } from '../../engine/dtype.ts'
import { type Device, openDevice, type Tensor, tensor } from '../../engine/index.ts'
import { type Case, same } from './case.ts'
import { grad } from './ops/engine.ts'
import { attentionCases, layerCases, productCases } from './ops/linear.ts'
import { binaryCases, unaryCases } from './ops/pointwise.ts'
import { reductionCases } from './ops/reduce.ts'
import { indexCases, viewCases } from './ops/shape.ts'
import { asTensor, expectValues, makeInput, type OpCase } from './ops/table.ts'

/**
 * Storing a value costs up to 2⁻¹¹ of it (2⁻¹⁰ where a driver rounds towards zero). A case stores a handful of values on its way,
 * whose errors add up: four such roundings. A gradient stores the forward values as well.
 */
const tolerance = 4 * 2 ** -10
const gradientTolerance = 8 * 2 ** -10

type Place = 'as the adapter stores it' | 'packed'
let place: Place | undefined
let device: Device

async function openAs(wanted: Place): Promise<Device> {
  if (place !== wanted) device = await openDevice(wanted === 'packed' ? { without: ['shader-f16'] } : {})
  place = wanted
  return device
}

const all = [
  ...[unaryCases, binaryCases, viewCases, indexCases].flat(),
  ...[reductionCases, productCases, layerCases, attentionCases].flat(),
]

/** Kernels that read and write halves themselves, and two that get f32 from the planner; with their gradients. */
const kernels = [
  ...['matmul', 'softmax', 'layerNorm', 'attention with bias', 'conv2d stride 2 padding 0,1,2,1 dilation 1 groups 2'],
  ...['directionalPool max', 'cumsum', 'sum of outer axes'],
]
/** Generated launches, and further kernels without halves of their own. */
const others = [
  ...['gelu', 'add row and column', 'where', 'less', 'reshape of a permutation', 'pad', 'concat', 'slice', 'gather'],
  ...['scatterAdd', 'argmax', 'sort', 'sum of many', 'mean', 'directionalPool mean', 'eigh values'],
]

function named(op: string): OpCase {
  const found = all.find((c) => c.op === op)
  if (!found) throw new Error(`half.cases.ts: the op tables have no case '${op}'`)
  return found
}

const dtypesOf = (c: OpCase): DType[] =>
  c.shapes.map((_, i) => ((c.dtypes?.[i] ?? 'f32') === 'f32' ? 'f16' : c.dtypes![i]!))

async function value(c: OpCase): Promise<void> {
  const dtypes = dtypesOf(c)
  const inputs = c.shapes.map((_, i) => makeInput({ ...c, dtypes }, i, i === 0 ? 1 : undefined))
  const got = c.f(...inputs.map((x, i) => asTensor(x, dtypes[i])))
  await expectValues(got, c.reference(...inputs), tolerance, c.op)
}

/** d(Σ w·f)/d(inputs) from halves against the same from f32, both of inputs that are exact in half precision. */
async function gradient(c: OpCase): Promise<void> {
  const dtypes = dtypesOf(c)
  const inputs = c.shapes.map((_, i) => makeInput({ ...c, dtypes }, i, i === 0 ? 1 : undefined))
  const gradients = async (half: boolean): Promise<Float32Array[]> => {
    const given = inputs.map((x, i) => asTensor(x, half || dtypes[i] !== 'f16' ? dtypes[i] : 'f32'))
    const out = c.f(...given)
    const weights = tensor(
      Float32Array.from({ length: out.size }, (_, i) => Math.cos(i)),
      out.shape,
    )
    const wrt = given.filter((_, i) => dtypes[i] === 'f16')
    const grads = grad(out.cast('f32').mul(weights).sum(), wrt)
    for (const [i, g] of grads.entries()) same(g.dtype, wrt[i]!.dtype, `dtype of gradient ${i}`)
    return Promise.all(grads.map(async (g) => (await g.data()) as Float32Array))
  }
  const [wide, half] = [await gradients(false), await gradients(true)]
  wide.forEach((want, i) => {
    const error = Math.hypot(...half[i]!.map((v, j) => v - want[j]!)) / Math.hypot(...want)
    if (!(error <= gradientTolerance)) throw new Error(`gradient ${i} of ${c.op}: relative error ${error}`)
  })
}

const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]
const halves = (list: number[]): Tensor => tensor(Float32Array.from(list), [list.length], 'f16')

/** Rounding to nearest even, subnormals, overflow, infinities and NaN; an odd count. */
const sources = [1, 65504, 65519, 65520, -1e9, Infinity, NaN, 2 ** -24, 1.5 * 2 ** -24, 1 + 2 ** -11, 1 + 3 * 2 ** -11]
const roundedTo = [1, 65504, 65504, Infinity, -Infinity, Infinity, NaN, 2 ** -24, 2 ** -23, 1, 1 + 2 ** -9]

const special: Record<string, () => Promise<void>> = {
  'uploads and reads odd sizes': async () => {
    for (const n of [1, 3, 4, 7]) {
      const list = Array.from({ length: n }, (_, i) => i - 1.5)
      same(await values(halves(list)), list, `${n} values uploaded`)
      same(await values(halves(list).mul(2)), list.map((v) => 2 * v), `${n} values computed`) // biome-ignore format: short
      same(await values((await halves(list).mul(2).realize()).add(1)), list.map((v) => 2 * v + 1), 'read again') // biome-ignore format: short
    }
  },
  'casts round to nearest, overflow to infinity, keep NaN': async () => {
    const x = tensor(Float32Array.from(sources))
    const stored = await x.cast('f16').realize()
    // Object.is inside JSON: infinities and NaN as text.
    same((await values(stored)).map(String), roundedTo.map(String), 'stored')
    same((await values(stored.mul(1).cast('f32'))).map(String), roundedTo.map(String), 'read by a kernel')
    same((await values(x.cast('f16').cast('f32'))).map(String), roundedTo.map(String), 'in registers')
  },
  'sums are kept in f32': async () => {
    // Half precision stops counting at 2048.
    same(await values(tensor(new Float32Array(4099).fill(1), [4099], 'f16').cast('f32').sum()), [4099], 'sum') // biome-ignore format: short
    const row = tensor(new Float32Array(4099).fill(1), [1, 4099], 'f16')
    same(await values(row.matmul(row.transpose())), [4100], 'product, stored as a half (spacing 4)')
    same(
      await values(tensor(new Float32Array(3000).fill(100), [3000], 'f16').mean()),
      [100],
      'mean of what sums to 3e5',
    )
  },
}

export function cases(): Case[] {
  const on = (where: Place, name: string, run: () => Promise<void>): Case => ({
    name: `half, ${where}: ${name}`,
    async run() {
      await openAs(where)
      await run()
    },
  })
  const places: Place[] = ['packed', 'as the adapter stores it']
  return [
    {
      name: 'half: a feature can be done without',
      async run() {
        same((await openAs('packed')).caps.f16, false, 'f16 of a device opened without it')
        same(device.gpu.features.has('shader-f16'), false, 'the feature')
      },
    },
    ...others.map((op) => on('packed', op, () => value(named(op)))),
    // The device that later files use is the last one opened: the adapter's own.
    ...places.flatMap((where) => [
      ...Object.entries(special).map(([name, run]) => on(where, name, run)),
      ...kernels.map((op) =>
        on(where, op, async () => {
          await value(named(op))
          await gradient(named(op))
        }),
      ),
    ]),
  ]
}
