/**
 * Kernels against their float64 references, on whatever adapter there is: what the heuristic chooses for it, at ragged sizes; products
 * also as it would choose for a GPU of the same limits. test/kernels/ runs every variant on more shapes. Relative errors in the norm; f32:
 * 5e-6 for products and sums over a row, 1e-5 for gradients of attention.
 */
import {
  type AttentionOperand,
  type AttentionProblem,
  adamwHyperWords,
  adamwReference,
  adamwVariants,
  attentionBackwardPrograms,
  attentionBackwardReference,
  attentionReference,
  attentionVariants,
  type Capabilities,
  directionalPoolBackwardReference,
  directionalPoolBackwardVariants,
  directionalPoolReference,
  directionalPoolVariants,
  jacobiReference,
  jacobiVariants,
  layerNormBackwardInputVariants,
  layerNormBackwardParamsVariants,
  layerNormBackwardReference,
  layerNormReference,
  layerNormVariants,
  type MatmulOperand,
  type MatmulProblem,
  matmulReference,
  matmulVariants,
  softmaxBackwardReference,
  softmaxBackwardVariants,
  softmaxReference,
  softmaxVariants,
  type Variant,
} from '../../kernels/index.ts'
import { relativeError, type Words } from '../support/program.ts'
import { openSharedDevice } from './bare.ts'
import type { Case } from './case.ts'
import { randomArray } from './random.ts'

type Variants = (caps: Capabilities) => Variant[]

const blank = (count: number): Float32Array => new Float32Array(count).fill(Number.NaN)

function close(what: string, got: Float32Array, want: ArrayLike<number>, tolerance: number): void {
  const finite = (v: number) => (v === -Infinity ? -1e9 : v)
  const error = relativeError(got.map(finite), Array.from(want, finite))
  if (!(error <= tolerance)) throw new Error(`${what}: relative error ${error}, at most ${tolerance}`)
}

/** The first choice for this adapter, and with `gpu` for a GPU of its limits, with and without subgroups; equal programs once. */
async function choices(variants: Variants, gpu: boolean): Promise<Variant[]> {
  const { capabilities } = await openSharedDevice()
  const discrete = { ...capabilities, software: false }
  const plain = { ...discrete, subgroups: false, subgroupMinSize: 0, subgroupMaxSize: 0 }
  const first = (gpu ? [capabilities, discrete, plain] : [capabilities]).map((caps) => variants(caps)[0]!)
  return [...new Map(first.map((variant) => [variant.program().wgsl, variant])).values()]
}

interface Check {
  readonly tolerance?: number
  readonly gpu?: boolean
}

/** Runs the choices on `inputs` and as many blank outputs as `want` has arrays. */
async function check(what: string, variants: Variants, inputs: Words[], want: ArrayLike<number>[], how: Check = {}) {
  const { run } = await openSharedDevice()
  const { tolerance = 5e-6, gpu = false } = how
  for (const variant of await choices(variants, gpu)) {
    const outputs = await run(variant.program(), [...inputs, ...want.map((w) => blank(w.length))])
    want.forEach((expected, i) => {
      close(`${what}, ${variant.name}, output ${i}`, outputs[i]!, expected, tolerance)
    })
  }
}

function matmul(m: number, n: number, k: number, aTransposed: boolean, bTransposed: boolean): Case {
  const operand = (rows: number, cols: number, transposed: boolean): MatmulOperand => ({
    batchStrides: [rows * cols],
    rowStride: transposed ? 1 : cols,
    colStride: transposed ? rows : 1,
    offset: 0,
  })
  const name = `kernels: matmul ${m}×${n}×${k} of ${aTransposed ? 'Aᵀ' : 'A'}·${bTransposed ? 'Bᵀ' : 'B'}`
  const problem: MatmulProblem = {
    ...{ batch: [2], m, n, k },
    a: operand(m, k, aTransposed),
    b: operand(k, n, bTransposed),
  }
  return {
    name,
    async run() {
      const [a, b] = [randomArray(2 * m * k, 1), randomArray(2 * n * k, 2)]
      const variants: Variants = (caps) => matmulVariants(problem, caps)
      await check(name, variants, [a, b], [matmulReference(problem, a, b)], { gpu: true })
    },
  }
}

function softmax(count: number, width: number): Case {
  const problem = { rows: count, width, log: false }
  return {
    name: `kernels: softmax of ${count} × ${width}, a row that sees nothing`,
    async run() {
      const x = randomArray(count * width, 1, 4).fill(-Infinity, (count - 1) * width)
      const y = softmaxReference(problem, x)
      await check('softmax', (caps) => softmaxVariants(problem, caps), [x], [y])
      const dy = randomArray(count * width, 2)
      const given = [Float32Array.from(y), dy]
      const want = softmaxBackwardReference(problem, y, dy)
      await check('softmax gradient', (caps) => softmaxBackwardVariants(problem, caps), given, [want])
    },
  }
}

function layerNorm(count: number, width: number): Case {
  const problem = { rows: count, width, epsilon: 1e-5 }
  return {
    name: `kernels: layer norm of ${count} × ${width}`,
    async run() {
      const [x, dy] = [randomArray(count * width, 1, 4), randomArray(count * width, 2)]
      const [gamma, beta] = [randomArray(width, 3), randomArray(width, 4)]
      const { y, mean, rstd } = layerNormReference(problem, x, gamma, beta)
      await check('layer norm', (caps) => layerNormVariants(problem, caps), [x, gamma, beta], [y, mean, rstd])
      const [m, r] = [Float32Array.from(mean), Float32Array.from(rstd)]
      const { dx, dgamma, dbeta } = layerNormBackwardReference(problem, x, gamma, dy, m, r)
      await check('gradient', (caps) => layerNormBackwardInputVariants(problem, caps), [x, gamma, dy, m, r], [dx])
      const parameters: Variants = (caps) => layerNormBackwardParamsVariants(problem, caps)
      await check('parameters', parameters, [x, dy, m, r], [dgamma, dbeta])
    },
  }
}

/** Self-attention of two sequences, the second with every key masked, and a bias broadcast over heads. */
function attention(heads: number, length: number, d: number): Case {
  const name = `kernels: attention of ${heads} heads × ${length} × ${d}, bias and mask`
  const dense: AttentionOperand = {
    batchStrides: [length * heads * d],
    headStride: d,
    rowStride: heads * d,
    offset: 0,
  }
  const p: AttentionProblem = {
    ...{ batch: [2], heads, lq: length, lk: length, d, scale: 1 / Math.sqrt(d), causal: false },
    ...{ q: dense, k: dense, v: dense },
    bias: { batchStrides: [length * length], headStride: 0, rowStride: length, offset: 0 },
    keyMask: { batchStrides: [length], headStride: 0, rowStride: 1, offset: 0 },
  }
  return {
    name,
    async run() {
      const random = (seed: number) => randomArray(2 * length * heads * d, seed)
      const [q, k, v, dout] = [random(1), random(2), random(3), random(4)]
      const bias = randomArray(2 * length * length, 5)
      const keyMask = randomArray(2 * length, 6).fill(0, length)
      const inputs = { q, k, v, bias, keyMask }
      const { o, lse } = attentionReference(p, inputs)
      const given = [q, k, v, bias, keyMask]
      await check(name, (caps) => attentionVariants(p, caps), given, [o, lse])
      const want = attentionBackwardReference(p, inputs, dout)
      const saved = [...given, dout, Float32Array.from(lse), Float32Array.from(want.delta)]
      const how = { tolerance: 1e-5 }
      await check(`${name}: dq`, (caps) => attentionBackwardPrograms(p, caps).dq, saved, [want.dq], how)
      await check(`${name}: dk, dv`, (caps) => attentionBackwardPrograms(p, caps).dkv, saved, [want.dk, want.dv], how)
      await check(`${name}: dbias`, (caps) => attentionBackwardPrograms(p, caps).dbias, saved, [want.dbias], how)
    },
  }
}

function pooling(mode: 'mean' | 'max', b: number, t: number, l: number, e: number): Case {
  const name = `kernels: directional pooling, ${mode}, ${b} × ${t} × ${l}² × ${e}`
  const problem = { b, t, l, e, mode }
  return {
    name,
    async run() {
      const z = randomArray(b * t * (l * l + 1) * e, 1)
      const want = directionalPoolReference(problem, z)
      const { run } = await openSharedDevice()
      const max = mode === 'max'
      for (const variant of await choices((caps) => directionalPoolVariants(problem, caps), false)) {
        const sizes = [b * l * e, b * l * e, b * e, ...(max ? [b * l * e, b * l * e] : [])]
        const [zh, zv, zcls, idxh, idxv] = await run(variant.program(), [z, ...sizes.map(blank)])
        close(`${name}: rows`, zh!, want.zh, 1e-6)
        close(`${name}: columns`, zv!, want.zv, 1e-6)
        close(`${name}: class token`, zcls!, want.zcls, 1e-6)
        if (!max) continue
        close(`${name}: places in rows`, Float32Array.from(new Uint32Array(idxh!.buffer)), want.idxh, 0)
        close(`${name}: places in columns`, Float32Array.from(new Uint32Array(idxv!.buffer)), want.idxv, 0)
      }
      const grads = { dzh: randomArray(b * l * e, 2), dzv: randomArray(b * l * e, 3), dzcls: randomArray(b * e, 4) }
      const given: Words[] = [grads.dzh, grads.dzv, grads.dzcls]
      if (max) given.push(Uint32Array.from(want.idxh), Uint32Array.from(want.idxv))
      const variants: Variants = (caps) => directionalPoolBackwardVariants(problem, caps)
      await check(`${name}: gradient`, variants, given, [directionalPoolBackwardReference(problem, grads, want)])
    },
  }
}

/** A random, a zero and a repeated-eigenvalue matrix: λ as the reference has them, QΛQᵀ = S. */
function eigen(n: number): Case {
  const name = `kernels: eigenvalues of ${n} × ${n}`
  return {
    name,
    async run() {
      const batch = 3
      const s = new Float32Array(batch * n * n)
      const random = randomArray(n * n, 1)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          s[i * n + j] = random[Math.min(i, j) * n + Math.max(i, j)]!
          s[2 * n * n + i * n + j] = i === j ? 2 : 1
        }
      const { values } = jacobiReference(s, batch, n)
      const { run } = await openSharedDevice()
      for (const variant of await choices((caps) => jacobiVariants({ batch, n }, caps), false)) {
        const outputs = [blank(batch * n), blank(s.length), blank(2 * batch)]
        const [got, q] = await run(variant.program(), [s, ...outputs])
        close(`${name}, ${variant.name}: values`, got!, values, 2e-6 * Math.sqrt(n))
        const product = s.map((_, at) => {
          const [b, i, j] = [Math.floor(at / (n * n)), Math.floor(at / n) % n, at % n]
          let sum = 0
          for (let r = 0; r < n; r++) sum += q![(b * n + i) * n + r]! * got![b * n + r]! * q![(b * n + j) * n + r]!
          return sum
        })
        close(`${name}, ${variant.name}: QΛQᵀ`, product, s, 2e-6 * Math.sqrt(n))
      }
    },
  }
}

/** Three parameters, of 64, 40 and 3 elements, each in blocks of its own; the second does not decay. */
const adamw: Case = {
  name: 'kernels: AdamW with gaps, and a step that is skipped',
  async run() {
    const count = 192
    const [p, g, m] = [randomArray(count, 1), randomArray(count, 2), randomArray(count, 3, 0.1)]
    const v = randomArray(count, 4, 0.01).map(Math.abs)
    const decay = Float32Array.from({ length: count }, (_, i) =>
      i < 64 ? 1 : i < 104 ? 0 : i < 128 ? -1 : i < 131 ? 1 : -1,
    )
    const rates = { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 }
    const { run } = await openSharedDevice()
    for (const variant of await choices((caps) => adamwVariants({ count }, caps), false))
      for (const factor of [0.5, 0]) {
        const want = adamwReference(p, m, v, g, decay, { ...rates, step: 3, clip: factor })
        const given = [adamwHyperWords({ ...rates, step: 3, clip: 1 }), Float32Array.of(factor)]
        const got = await run(variant.program(), [p, m, v, g, ...given, Float32Array.of(64, -40, 3)])
        for (const [i, name] of (['p', 'm', 'v'] as const).entries())
          close(`${variant.name}, factor ${factor}: ${name}`, got[i]!, want[name], factor ? 1e-6 : 0)
      }
  },
}

export function cases(): Case[] {
  return [
    matmul(13, 37, 17, false, true),
    matmul(36, 40, 68, true, false),
    matmul(197, 196, 12, false, false),
    softmax(7, 13),
    softmax(5, 192),
    layerNorm(5, 65),
    attention(2, 7, 5),
    attention(3, 15, 16),
    pooling('mean', 2, 3, 3, 7),
    pooling('max', 2, 3, 3, 7),
    eigen(7),
    adamw,
  ]
}
