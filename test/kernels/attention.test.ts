/** Attention forward and backward: every variant of every capability set against the float64 references. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { attentionVariants } from '../../kernels/attention/attention.ts'
import { attentionBackwardPrograms } from '../../kernels/attention/gradients.ts'
import type { AttentionOperand, AttentionProblem } from '../../kernels/attention/problem.ts'
import { biasGroups, sequences } from '../../kernels/attention/problem.ts'
import { attentionBackwardReference, attentionReference } from '../../kernels/attention/reference.ts'
import type { Capabilities, Variant } from '../../kernels/kernel.ts'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/attention')
const { device, capabilities } = await openBareDevice()

/** Devices whose variants differ; the GPU's workgroup memory holds two of the smaller tiles at heads of eight: CPU adapters compile the largest for ten seconds. */
const devices: Record<string, Capabilities> = {
  'this device': capabilities,
  'a CPU without subgroups': { ...capabilities, subgroups: false, software: true },
  'a GPU': { ...baselineCapabilities, maxWorkgroupBytes: 6000, maxGrid: 5 },
}

interface Case {
  batch: number[]
  heads: number
  lq: number
  lk: number
  d: number
  causal?: boolean
  /** q, k and v are slices of one buffer [batch.., L, 3, heads, d], and so are dq, dk and dv. */
  packed?: boolean
  /** Which bias axes are broadcast: one flag a batch axis, then one for heads. */
  bias?: boolean[]
  /** Which sequences' keys are all masked; of the others a random half is. */
  mask?: 'last' | 'all'
  /** The bias is −∞ for every key of the first query, and for the first key. */
  barred?: boolean
}

/** The first variant of this device runs them. */
const cases: Record<string, Case> = {
  'no bias, no mask': { batch: [2], heads: 3, lq: 7, lk: 5, d: 5 },
  'packed, bias broadcast over heads': {
    batch: [3],
    heads: 2,
    lq: 15,
    lk: 15,
    d: 16,
    packed: true,
    bias: [false, true],
  },
  'packed ragged, three batch axes, mask': {
    batch: [2, 1, 2],
    heads: 3,
    lq: 7,
    lk: 7,
    d: 7,
    packed: true,
    mask: 'last',
  },
  'causal, more queries than keys, a query that sees nothing among those that do': {
    ...{ batch: [2, 2], heads: 2, lq: 131, lk: 70, d: 64 },
    ...{ causal: true, bias: [true, false, false], barred: true },
  },
  'wide head, cross': { batch: [1], heads: 2, lq: 13, lk: 41, d: 128, mask: 'last' },
}

/** Widths beside multiples of four and beside 64, and the widest; [d, lq, lk]. */
const widths = [
  [1, 1, 1],
  [1, 5, 3],
  [5, 7, 5],
  [33, 3, 7],
  [65, 8, 7],
  [63, 2, 7],
  [64, 7, 3],
  [127, 5, 8],
] as const

/** 1, primes, one more and one less than 8 (lanes, tiles), 16, 32 and 64, and rows of thousands: [lq, lk]. */
const lengths: [lq: number, lk: number][] = [
  [1, 1], [1, 7], [2, 3], [3, 8], [7, 9], [8, 8], [9, 7], [5, 16], [16, 5], [13, 17], [15, 16], [16, 15], [17, 33], [31, 32],
  [32, 31], [33, 17], [63, 65], [65, 63], [97, 101], [3, 4099], [4099, 3], [211, 1009],
] // biome-ignore format: a table

/** Row-major strides of `sizes` in elements, starting from `inner`. */
function strides(sizes: number[], inner: number): number[] {
  let stride = inner
  return [...sizes]
    .reverse()
    .map((size) => {
      const here = stride
      stride *= size
      return here
    })
    .reverse()
}

function setUp(c: Case) {
  const { batch, heads, lq, lk, d } = c
  const count = batch.reduce((a, b) => a * b, 1)
  const rows = (length: number, slot: number): AttentionOperand =>
    c.packed
      ? {
          batchStrides: strides(batch, length * 3 * heads * d),
          headStride: d,
          rowStride: 3 * heads * d,
          offset: slot * heads * d,
        }
      : { batchStrides: strides(batch, length * heads * d), headStride: length * d, rowStride: d, offset: 0 }
  const qkv = c.packed ? randomArray(count * lq * 3 * heads * d, 1, 2) : undefined
  const inputs: Record<string, Float32Array> = {
    q: qkv ?? randomArray(count * lq * heads * d, 2, 2),
    k: qkv ?? randomArray(count * lk * heads * d, 3, 2),
    v: qkv ?? randomArray(count * lk * heads * d, 4),
  }
  let bias: AttentionOperand | undefined
  if (c.bias) {
    const sizes = [...batch, heads].map((size, axis) => (c.bias![axis] ? 1 : size))
    const full = strides(sizes, lq * lk).map((stride, axis) => (c.bias![axis] ? 0 : stride))
    bias = { batchStrides: full.slice(0, -1), headStride: full.at(-1)!, rowStride: lk, offset: 2 }
    inputs.bias = randomArray(2 + sizes.reduce((a, b) => a * b, 1) * lq * lk, 5, 2)
    if (c.barred)
      inputs.bias.forEach((_, at, bias) => {
        const entry = at - 2
        if (entry >= 0 && (entry % (lq * lk) < lk || entry % lk === 0)) bias[at] = -Infinity
      })
  }
  let keyMask: AttentionOperand | undefined
  if (c.mask) {
    keyMask = { batchStrides: strides(batch, lk), headStride: 0, rowStride: 1, offset: 0 }
    inputs.keyMask = randomArray(count * lk, 6).fill(0, c.mask === 'all' ? 0 : (count - 1) * lk)
  }
  const p: AttentionProblem = {
    batch,
    heads,
    lq,
    lk,
    d,
    scale: 1 / Math.sqrt(d),
    causal: c.causal ?? false,
    q: rows(lq, 0),
    k: rows(lk, 1),
    v: rows(lk, 2),
    ...(bias && { bias }),
    ...(keyMask && { keyMask }),
    ...(c.packed && { dqOut: rows(lq, 0), dkOut: rows(lk, 1), dvOut: rows(lk, 2), dkdvTogether: true }),
  }
  const optional = [inputs.bias, inputs.keyMask].filter((x) => x !== undefined)
  return {
    p,
    inputs: inputs as Record<'q' | 'k' | 'v', Float32Array> & { keyMask?: Float32Array },
    data: [inputs.q!, inputs.k!, inputs.v!, ...optional],
  }
}

/** What a launch left in slices `slots` of a packed gradient [rows, 3, width]; fails if it wrote to another slice. */
function unpack(packed: Float32Array, width: number, slots: number[]): Float32Array[] {
  const rows = packed.length / (3 * width)
  const slices = [0, 1, 2].map((slot) => {
    const slice = new Float32Array(rows * width)
    for (let row = 0; row < rows; row++) {
      const at = (3 * row + slot) * width
      slice.set(packed.subarray(at, at + width), row * width)
    }
    return slice
  })
  slices.forEach((slice, slot) => {
    if (!slots.includes(slot)) assert.ok(slice.every(Number.isNaN), `slice ${slot} was written`)
  })
  return slots.map((slot) => slices[slot]!)
}

const blank = (count: number): Float32Array => new Float32Array(count).fill(NaN)

/** Compares finite values by relative error and requires the infinities to be in the same places. */
function close(name: string, got: Float32Array, want: Float64Array, tolerance: number): void {
  const finite = want.map((v) => (v === -Infinity ? 0 : v))
  got.forEach((v, i) => {
    if ((v === -Infinity) !== (want[i] === -Infinity)) assert.unreachable(`${name}[${i}] is ${v}, expected ${want[i]}`)
  })
  const error = relativeError(
    got.map((v) => (v === -Infinity ? 0 : v)),
    finite,
  )
  assert.ok(error <= tolerance, `${name}: relative error ${error}`)
}

/** Where a row of the reference is exactly zero, so must the rows of `got` be: returns how many are. */
function sameZeros(name: string, got: Float32Array, want: Float64Array, width: number, like = want): number {
  let count = 0
  for (let row = 0; row < got.length / width; row++) {
    const [from, to] = [row * width, (row + 1) * width]
    if (like.subarray(from, to).some((x) => x !== 0)) continue
    count++
    if (got.subarray(from, to).some((x) => x !== 0)) assert.unreachable(`${name}: row ${row} of ${width} is not zero`)
  }
  return count
}

/** Of each entry of the bias, whether some query sees some key through it: 1, else 0. */
function takingPart(c: Case, p: AttentionProblem, keyMask: Float32Array | undefined): Float64Array {
  const seen = new Float64Array(biasGroups(p).groups * p.lq * p.lk)
  for (let sequence = 0; sequence < sequences(p); sequence++) {
    let rest = sequence
    const at = [...p.batch].reverse().reduce((sum, size, axis) => {
      const here = rest % size
      rest = Math.floor(rest / size)
      return sum + here * p.bias!.batchStrides[p.batch.length - 1 - axis]!
    }, 0)
    for (let head = 0; head < p.heads; head++)
      for (let query = 0; query < p.lq; query++)
        for (let key = 0; key < p.lk; key++) {
          const masked = keyMask && !(keyMask[sequence * p.lk + key]! > 0)
          if (masked || (c.causal && key > query) || (c.barred && (query === 0 || key === 0))) continue
          seen[at + head * p.bias!.headStride + query * p.lk + key] = 1
        }
  }
  return seen
}

/**
 * Relative errors in the norm, f32: 2e-6 for a forward pass, whose sums of up to 128 products and averages of rows round by some 1e-7
 * each; 1e-5 for gradients, which are differences of such sums.
 */
const tolerances = { forward: 2e-6, backward: 1e-5 }

/** Forward and backward of the variants that `some` picks on a device; rows that see nothing are exactly zero. */
async function check(c: Case, caps: Capabilities, some: (variants: Variant[]) => Variant[]): Promise<void> {
  const { p, inputs, data } = setUp(c)
  const count = sequences(p) * p.heads
  const want = attentionReference(p, inputs)
  const dout = randomArray(want.o.length, 7)
  const gradients = attentionBackwardReference(p, inputs, dout)
  const shape = `${c.lq}×${c.lk}×${c.d}`
  const near = (name: string, got: Float32Array, wanted: Float64Array, pass: keyof typeof tolerances): void =>
    close(`${name} ${shape}`, got, wanted, tolerances[pass])

  for (const variant of some(attentionVariants(p, caps))) {
    const outputs = [blank(want.o.length), blank(want.lse.length)]
    const [o, lse] = await runProgram(device, variant.program(), [...data, ...outputs])
    near(`${variant.name} o`, o!, want.o, 'forward')
    near(`${variant.name} lse`, lse!, want.lse, 'forward')
    const dead = sameZeros(`${variant.name} o ${shape}`, o!, want.o, p.d)
    if (c.mask === 'all') assert.is(dead, count * p.lq)
    if (c.mask === 'last' || c.barred) assert.ok(dead > 0)
  }

  const programs = attentionBackwardPrograms(p, caps)
  const delta = Float32Array.from(gradients.delta)
  for (const variant of programs.delta) {
    const [got] = await runProgram(device, variant.program(), [Float32Array.from(want.o), dout, blank(delta.length)])
    near(`${variant.name} delta`, got!, gradients.delta, 'backward')
  }
  const saved = [...data, dout, Float32Array.from(want.lse), delta]
  const keys = gradients.dk.length
  for (const variant of some(programs.dq)) {
    const got = await runProgram(device, variant.program(), [...saved, blank((c.packed ? 3 : 1) * want.o.length)])
    const [dq] = c.packed ? unpack(got[0]!, p.heads * p.d, [0]) : got
    near(`${variant.name} dq`, dq!, gradients.dq, 'backward')
    sameZeros(`${variant.name} dq ${shape}`, dq!, gradients.dq, p.d, want.o)
  }
  for (const variant of some(programs.dkv)) {
    const buffers = c.packed ? [blank(3 * keys)] : [blank(keys), blank(keys)]
    const got = await runProgram(device, variant.program(), [...saved, ...buffers])
    const [dk, dv] = c.packed ? unpack(got[0]!, p.heads * p.d, [1, 2]) : got
    near(`${variant.name} dk`, dk!, gradients.dk, 'backward')
    near(`${variant.name} dv`, dv!, gradients.dv, 'backward')
    // Keys that no query sees have neither.
    sameZeros(`${variant.name} dk ${shape}`, dk!, gradients.dk, p.d, gradients.dv)
    sameZeros(`${variant.name} dv ${shape}`, dv!, gradients.dv, p.d)
  }
  assert.is(programs.dbias.length > 0, c.bias !== undefined)
  for (const variant of programs.dbias) {
    const [dbias] = await runProgram(device, variant.program(), [...saved, blank(gradients.dbias.length)])
    assert.is(gradients.dbias.length, biasGroups(p).groups * p.lq * p.lk)
    near(`${variant.name} dbias`, dbias!, gradients.dbias, 'backward')
    sameZeros(`${variant.name} dbias ${shape}`, dbias!, gradients.dbias, 1, takingPart(c, p, inputs.keyMask))
  }
}

const first = (variants: Variant[]): Variant[] => variants.slice(0, 1)
const all = (variants: Variant[]): Variant[] => variants

for (const [title, c] of Object.entries(cases)) test(title, () => check(c, capabilities, first))

/** A problem whose texts do not depend on its lengths, but for what is staged whole. */
const sized = (lq: number, lk: number, d: number, mask: 'last' | 'all'): Case => ({
  ...{ batch: [2], heads: 2, lq, lk, d, bias: [false, false], mask },
})

test('head widths: ragged, and the widest', async () => {
  for (const [d, lq, lk] of widths) await check(sized(lq, lk, d, 'last'), capabilities, first)
})

test('lengths: 1, primes, beside every tile, thousands', async () => {
  for (const [lq, lk] of lengths) await check(sized(lq, lk, 8, 'last'), capabilities, first)
})

for (const [name, caps] of Object.entries(devices))
  test(`every variant of ${name}, every key of a sequence or of the problem masked`, async () => {
    for (const mask of ['last', 'all'] as const) await check(sized(15, 9, 8, mask), caps, all)
    // Whole heads in workgroup memory have a text for every length.
    const others = (variants: Variant[]) => variants.filter((variant) => !variant.name.includes('heads'))
    for (const [lq, lk] of [[1, 1], [17, 7], [7, 17], [31, 33], [65, 63], [3, 1031], [1031, 3]] as const) // biome-ignore format: a table
      await check(sized(lq, lk, 8, 'last'), caps, others)
  })

test('bias: of its own, broadcast over heads, either batch axis, both, all', async () => {
  for (const [outer, inner, heads] of [
    [0, 0, 0],
    [0, 0, 1],
    [1, 0, 0],
    [0, 1, 0],
    [1, 1, 0],
    [0, 1, 1],
    [1, 1, 1],
  ]) {
    // biome-ignore format: a table
    const bias = [outer === 1, inner === 1, heads === 1]
    await check({ batch: [2, 3], heads: 2, lq: 7, lk: 5, d: 8, bias, mask: 'last' }, capabilities, first)
  }
})

test.after(() => device.destroy())
test.run()
