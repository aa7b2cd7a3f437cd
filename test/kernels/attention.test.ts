/** Attention forward and backward: every variant of every capability set against the float64 references. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { attentionVariants } from '../../kernels/attention/attention.ts'
import { attentionBackwardPrograms } from '../../kernels/attention/gradients.ts'
import type { AttentionOperand, AttentionProblem } from '../../kernels/attention/problem.ts'
import { biasGroups, sequences } from '../../kernels/attention/problem.ts'
import { attentionBackwardReference, attentionReference } from '../../kernels/attention/reference.ts'
import type { Capabilities } from '../../kernels/kernel.ts'
import { baselineCapabilities } from '../../kernels/kernel.ts'
import { openBareDevice, randomArray, relativeError, runProgram } from '../support/program.ts'

const test = suite('kernels/attention')
const { device, capabilities } = await openBareDevice()
const capabilitySets: Capabilities[] = [
  capabilities,
  { ...capabilities, subgroups: false, software: true },
  { ...baselineCapabilities, maxGrid: 5 },
]

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
  mask?: boolean
}

const cases: Record<string, Case> = {
  'one token': { batch: [1], heads: 1, lq: 1, lk: 1, d: 1 },
  'primes, cross, bias of its own': { batch: [2], heads: 3, lq: 7, lk: 11, d: 5, bias: [false, false] },
  'packed, bias broadcast over heads': {
    batch: [3],
    heads: 2,
    lq: 15,
    lk: 15,
    d: 16,
    packed: true,
    bias: [false, true],
  },
  'causal, bias broadcast over batch': {
    batch: [2, 2],
    heads: 2,
    lq: 37,
    lk: 37,
    d: 8,
    causal: true,
    bias: [true, false, false],
  },
  'masked keys, bias broadcast over everything': {
    batch: [2, 3],
    heads: 1,
    lq: 5,
    lk: 19,
    d: 13,
    mask: true,
    bias: [true, true, true],
  },
  'packed ragged, three batch axes, mask': {
    batch: [2, 1, 2],
    heads: 3,
    lq: 17,
    lk: 17,
    d: 7,
    packed: true,
    mask: true,
  },
  'wide head, cross': { batch: [1], heads: 2, lq: 13, lk: 41, d: 128, mask: true },
  'long, causal': { batch: [1], heads: 1, lq: 131, lk: 70, d: 64, causal: true, bias: [true, true] },
  'model: packed with bias': { batch: [2], heads: 3, lq: 50, lk: 50, d: 32, packed: true, bias: [true, false] },
}

/** Cases on which every variant of every capability set runs; the others run the first variant of this device: pipelines are slow to compile. */
/** Of the two, `narrow` takes the smallest tiles of GPUs, as on a device of little workgroup memory. */
const narrow = 'primes, cross, bias of its own'
const thorough = new Set([narrow, 'packed, bias broadcast over heads'])
const setsOf = (title: string) => {
  if (!thorough.has(title)) return [capabilities]
  return title === narrow
    ? capabilitySets.map((caps) => (caps.software ? caps : { ...caps, maxWorkgroupBytes: 6000 }))
    : capabilitySets
}
const some = <T>(title: string, variants: T[]): T[] => (thorough.has(title) ? variants : variants.slice(0, 1))

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
  }
  let keyMask: AttentionOperand | undefined
  if (c.mask) {
    keyMask = { batchStrides: strides(batch, lk), headStride: 0, rowStride: 1, offset: 0 }
    // The last sequence sees no key at all.
    inputs.keyMask = randomArray(count * lk, 6).fill(0, (count - 1) * lk)
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
    inputs: inputs as Record<'q' | 'k' | 'v', Float32Array>,
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

for (const [title, c] of Object.entries(cases)) {
  const { p, inputs, data } = setUp(c)
  const count = sequences(p) * p.heads

  test(`forward, ${title}`, async () => {
    const want = attentionReference(p, inputs)
    for (const caps of setsOf(title))
      for (const variant of some(title, attentionVariants(p, caps))) {
        const [o, lse] = await runProgram(device, variant.program(), [
          ...data,
          blank(count * p.lq * p.d),
          blank(count * p.lq),
        ])
        close(`${variant.name} o`, o!, want.o, 2e-6)
        close(`${variant.name} lse`, lse!, want.lse, 2e-6)
      }
  })

  test(`backward, ${title}`, async () => {
    const { o, lse } = attentionReference(p, inputs)
    const dout = randomArray(o.length, 7)
    const want = attentionBackwardReference(p, inputs, dout)
    const delta = Float32Array.from(want.delta)
    const saved = [...data, dout, Float32Array.from(lse), delta]
    const keys = count * p.lk * p.d
    for (const caps of setsOf(title)) {
      const programs = attentionBackwardPrograms(p, caps)
      for (const variant of programs.delta) {
        const [got] = await runProgram(device, variant.program(), [Float32Array.from(o), dout, blank(delta.length)])
        close(`${variant.name} delta`, got!, want.delta, 1e-5)
      }
      for (const variant of some(title, programs.dq)) {
        const got = await runProgram(device, variant.program(), [...saved, blank((c.packed ? 3 : 1) * o.length)])
        const [dq] = c.packed ? unpack(got[0]!, p.heads * p.d, [0]) : got
        close(`${variant.name} dq`, dq!, want.dq, 1e-5)
      }
      for (const variant of some(title, programs.dkv)) {
        const buffers = c.packed ? [blank(3 * keys)] : [blank(keys), blank(keys)]
        const got = await runProgram(device, variant.program(), [...saved, ...buffers])
        const [dk, dv] = c.packed ? unpack(got[0]!, p.heads * p.d, [1, 2]) : got
        close(`${variant.name} dk`, dk!, want.dk, 1e-5)
        close(`${variant.name} dv`, dv!, want.dv, 1e-5)
      }
      assert.is(programs.dbias.length > 0, c.bias !== undefined)
      for (const variant of programs.dbias) {
        const [dbias] = await runProgram(device, variant.program(), [...saved, blank(want.dbias.length)])
        assert.is(want.dbias.length, biasGroups(p).groups * p.lq * p.lk)
        close(`${variant.name} dbias`, dbias!, want.dbias, 1e-5)
      }
    }
  })
}

test.after(() => device.destroy())
test.run()
