/**
 * AdamW against float64: the kernel over flat storage of any size, and the optimiser with the moving average behind it, over several steps.
 *
 * f32: relative to the norm of what is expected, 1e-6 after one step and as much again for every further one. The rates that a kernel
 * sees are f32, and the reference gets the same ones: 1 − β₂ would otherwise differ by 1e-5 of itself. Values are of the size of an
 * update, so that rounding them does not hide what the update lacks.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { nn, openDevice, optim, tensor } from '../../engine/index.ts'
import { baselineCapabilities, type Capabilities } from '../../kernels/kernel.ts'
import { type AdamwHyper, adamwHyperWords, adamwReference, adamwVariants } from '../../kernels/optimizer/adamw.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/adamw')
const { device, capabilities } = await openBareDevice()
/** The second folds every grid of more than three workgroups. */
const capabilitySets: Capabilities[] = [capabilities, { ...baselineCapabilities, maxGrid: 3 }]
const block = 64
const rates = { lr: 0.01, beta1: Math.fround(0.9), beta2: Math.fround(0.999), epsilon: 1e-8, weightDecay: 0.1 }

interface Flat {
  readonly count: number
  /** The kernel's: parameters' elements in each block, negative without decay. */
  readonly blocks: Float32Array
  /** The reference's, one an element. */
  readonly decay: Float32Array
}

/** Parameters of these sizes one after the other, each from a block's start on; negative: without decay. */
function layout(sizes: readonly number[]): Flat {
  const blocks = sizes.flatMap((size) => {
    const all = Math.ceil(Math.abs(size) / block)
    return Array.from({ length: all }, (_, i) => Math.sign(size) * Math.min(block, Math.abs(size) - i * block))
  })
  const decay = Float32Array.from({ length: blocks.length * block }, (_, i) => {
    const inside = blocks[Math.floor(i / block)]!
    return i % block >= Math.abs(inside) ? -1 : Number(inside > 0)
  })
  return { count: decay.length, blocks: Float32Array.from(blocks), decay }
}

/** `values` inside parameters, NaN in the gaps: nothing there may be read into a result, or written. */
const gapped = ({ decay }: Flat, values: Float32Array): Float32Array =>
  values.map((v, i) => (decay[i]! < 0 ? Number.NaN : v))

const inside = ({ decay }: Flat, values: ArrayLike<number>): number[] =>
  Array.from(values).filter((_, i) => decay[i]! >= 0)

/** Runs `hypers` one step after another from zero moments, the kernel on what it left itself. */
async function steps(flat: Flat, hypers: readonly AdamwHyper[], scale = 1): Promise<void> {
  const { count, blocks, decay } = flat
  const start = gapped(flat, randomArray(count, 1, 0.05))
  for (const caps of capabilitySets)
    for (const variant of adamwVariants({ count }, caps)) {
      let want: { p: ArrayLike<number>; m: ArrayLike<number>; v: ArrayLike<number> } = {
        p: start,
        m: new Float32Array(count),
        v: new Float32Array(count),
      }
      let got = [start, gapped(flat, new Float32Array(count)), gapped(flat, new Float32Array(count))]
      for (const [i, hyper] of hypers.entries()) {
        const g = gapped(flat, randomArray(count, 2 + i, scale))
        // An element without gradient, and one far from the others.
        ;[g[0], g[block * (blocks.length - 1)]] = [0, 100 * scale]
        want = adamwReference(want.p, want.m, want.v, g, decay, hyper)
        // The factor and the scale of `hyper` together are the clip.
        const given = [adamwHyperWords({ ...hyper, clip: 0.5 }), Float32Array.of(2 * hyper.clip), blocks]
        got = await runProgram(device, variant.program(), [...got, g, ...given] as Float32Array[])
        for (const [at, name] of (['p', 'm', 'v'] as const).entries()) {
          const error = relativeError(inside(flat, got[at]!), inside(flat, want[name]))
          assert.ok(error <= 1e-6 * (i + 1), `${variant.name}, ${count}, step ${i + 1}: ${name} ${error}`)
          assert.ok(
            got[at]!.every((x, k) => decay[k]! >= 0 || Number.isNaN(x)),
            `${variant.name}, ${count}: ${name} changed in a gap`,
          )
        }
      }
    }
}

const first = (clip: number): AdamwHyper => ({ ...rates, step: 1, clip })

for (const sizes of [[1], [-1], [61], [64], [65], [-127, 1, 193], [4099], [64 * 13, -(64 * 16), 3, -5]])
  test(`parameters of ${sizes.join(', ')} elements`, () => steps(layout(sizes), [first(1)]))

test('five steps: rates that change, clipping, no decay, no momentum', () =>
  steps(layout([61, -127, 193]), [
    first(0.25),
    { ...rates, lr: 0.02, step: 2, clip: 1 },
    { ...rates, weightDecay: 0, step: 3, clip: 0.5 },
    { ...rates, beta1: 0, step: 4, clip: 1 },
    { ...rates, lr: 0.001, epsilon: 1e-3, step: 1000, clip: 1 },
  ]))

test('gradients whose squares are near either end of what f32 holds', async () => {
  for (const scale of [1e-15, 1e16]) await steps(layout([61, -127]), [first(1)], scale)
})

test('a factor of 0, an infinite one and NaN leave every bit as it was', async () => {
  const flat = layout([61, -127, 193])
  const { count, blocks } = flat
  const before = [1, 2, 3].map((seed) => randomArray(count, seed))
  for (const variant of adamwVariants({ count }, capabilities))
    for (const factor of [0, Infinity, -Infinity, Number.NaN]) {
      const given = [randomArray(count, 4), adamwHyperWords(first(1)), Float32Array.of(factor), blocks]
      assert.equal(await runProgram(device, variant.program(), [...before, ...given]), before, `${factor}`)
    }
})

test('the optimiser and the teacher behind it: clipped by the norm of all buffers, decay on matrices, in one buffer and in several', async () => {
  const shapes = { one: [1], prime: [61], matrix: [31, 29], odd: [3, 67], long: [997], last: [17, 1] }
  const names = Object.keys(shapes) as (keyof typeof shapes)[]
  const sizes = names.map((name) => shapes[name].reduce((a, b) => a * b))
  const module = (seed: number) =>
    Object.fromEntries(
      names.map((name, i) => [name, new nn.Parameter(randomArray(sizes[i]!, seed + i, 0.05), shapes[name])]),
    )
  const engine = await openDevice()
  for (const chunkBytes of [undefined, 4 * nn.rowLength]) {
    const options = chunkBytes ? { chunkBytes } : {}
    const student = nn.flatten(module(1), options)
    const teacher = nn.flatten(module(20), options)
    assert.is(student.nodes.length, chunkBytes ? 5 : 1)
    const wanted = names.map((_, i) => ({
      p: randomArray(sizes[i]!, 1 + i, 0.05) as ArrayLike<number>,
      m: new Float32Array(sizes[i]!) as ArrayLike<number>,
      v: new Float32Array(sizes[i]!) as ArrayLike<number>,
      average: Float64Array.from(randomArray(sizes[i]!, 20 + i, 0.05)),
    }))
    const { lr, beta1, beta2, weightDecay } = rates
    const limit = 3
    const adam = optim.adamW(Object.fromEntries(student.byName), {
      lr,
      betas: [beta1, beta2],
      weightDecay,
      clip: limit,
    })
    for (let step = 1; step <= 4; step++) {
      const alpha = [0.9, 0, 1, 0.5][step - 1]!
      const grads = names.map((_, i) => randomArray(sizes[i]!, 40 + 10 * step + i, step === 2 ? 0.01 : 1))
      adam.step(new Map(names.map((name, i) => [name, tensor(grads[i]!, shapes[name])])))
      optim.emaUpdate(teacher, student, alpha)
      const norm = Math.hypot(...grads.flatMap((g) => [...g]))
      const clip = Math.min(1, limit / norm)
      assert.is(clip < 1, step !== 2, 'clipped, except in the second step')
      const near = (what: string, got: ArrayLike<number>, want: ArrayLike<number>) => {
        const error = relativeError(got, want)
        assert.ok(error <= 1e-6 * step, `step ${step}, ${chunkBytes} bytes a buffer, ${what}: ${error}`)
      }
      const [got, average, { m, v }] = [await student.read(), await teacher.read(), await adam.state()]
      near('norm', [await adam.gradientNorm!.item()], [norm])
      for (const [i, name] of names.entries()) {
        const mine = wanted[i]!
        const decay = new Float32Array(sizes[i]!).fill(shapes[name].length >= 2 ? 1 : 0)
        Object.assign(mine, adamwReference(mine.p, mine.m, mine.v, grads[i]!, decay, { ...rates, step, clip }))
        mine.average.forEach((x, k) => {
          mine.average[k] = alpha * x + (1 - alpha) * mine.p[k]!
        })
        near(`${name}: m`, m.get(name)!.data, mine.m)
        near(`${name}: v`, v.get(name)!.data, mine.v)
        near(name, got.get(name)!.data, mine.p)
        near(`${name}, averaged`, average.get(name)!.data, mine.average)
      }
    }
  }
  engine.destroy()
})

test.after(() => device.destroy())
test.run()
