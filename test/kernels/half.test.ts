/** Matrix products, rows and attention over half-precision arrays, against float64 references of the same (rounded) inputs. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { attentionVariants } from '../../kernels/attention/attention.ts'
import { attentionBackwardPrograms } from '../../kernels/attention/gradients.ts'
import type { AttentionProblem } from '../../kernels/attention/problem.ts'
import { attentionBackwardReference, attentionReference } from '../../kernels/attention/reference.ts'
import type { Capabilities, Program } from '../../kernels/kernel.ts'
import * as backward from '../../kernels/layernorm/backward.ts'
import { layerNormReference, layerNormVariants } from '../../kernels/layernorm/layernorm.ts'
import { type MatmulProblem, matmulReference, matmulVariants } from '../../kernels/matmul/matmul.ts'
import { splitProgram } from '../../kernels/matmul/splitk.ts'
import { tiledProgram, tiledShapes } from '../../kernels/matmul/tiled.ts'
import * as softmax from '../../kernels/softmax/softmax.ts'
import type { FloatType } from '../../kernels/storage.ts'
import { blank, checker, exactArray, fromWords, halfStorages, type Output, rounded, toWords } from '../support/half.ts'
import { openBareDevice, runProgram } from '../support/program.ts'

const test = suite('kernels, half precision')
const { device, capabilities } = await openBareDevice()
const storages = halfStorages(capabilities)
const check = checker(device)

/** Workgroup memory that only the smallest tiles of attention fit into. */
const smallTileBytes = 6000

type Types = readonly [a: FloatType, b: FloatType, c: FloatType]

function product(m: number, n: number, k: number, [at, bt, ct]: Types, transposed = false): MatmulProblem {
  return {
    batch: [],
    m,
    n,
    k,
    a: { batchStrides: [], rowStride: k, colStride: 1, offset: 0, type: at },
    b: { batchStrides: [], rowStride: transposed ? 1 : n, colStride: transposed ? k : 1, offset: 0, type: bt },
    output: ct,
  }
}

/** Tiers for GPUs, in the text that CPU adapters compile in reason. */
const tiled = (p: MatmulProblem, caps: Capabilities): Program =>
  tiledProgram(p, { ...caps, software: true }, tiledShapes.small)
const split = (p: MatmulProblem, caps: Capabilities): Program => splitProgram(p, { ...caps, software: true }, 2)
const chosen = (p: MatmulProblem, caps: Capabilities): Program =>
  matmulVariants(p, { ...caps, software: true })[0]!.program()

for (const [index, [storage, caps]] of storages.entries()) {
  test(`matmul, ${storage}`, async () => {
    // Sizes of a line share their kernels' texts; over the lines every tier has its turn.
    for (const [types, transposed, tiers, sizes] of [
      [['f16', 'f16', 'f32'], true, [chosen], [[13, 7, 5], [1, 1, 1], [1, 3, 2], [31, 33, 67], [9, 2, 1009]]],
      [['f16', 'f32', 'f16'], false, [chosen, tiled], [[68, 36, 20], [4, 4, 4], [32, 32, 16], [28, 132, 252]]],
      [['f32', 'f16', 'f16'], false, [chosen, split], [[12, 9, 520], [1, 1, 4], [7, 17, 1028], [9, 7, 256]]],
    ] as const) // biome-ignore format: one line a layout
      for (const [m, n, k] of sizes) {
        const problem = product(m, n, k, types, transposed)
        const [at, bt] = types
        const [a, b] = [exactArray(m * k, 1, at), exactArray(k * n, 2, bt)]
        const outputs = [{ want: matmulReference(problem, a, b), type: types[2] }]
        for (const tier of tiers) await check(tier(problem, caps), [toWords(a, at), toWords(b, bt)], outputs, storage)
      }
  })

  test(`sums are kept in f32, ${storage}`, async () => {
    // 4099 ones: half precision would stop counting at 2048.
    const problem = product(4, 4, 4099, ['f16', 'f16', 'f32'])
    const ones = toWords(new Float32Array(4 * 4099).fill(1), 'f16')
    const want = new Float64Array(16).fill(4099)
    for (const tier of [chosen, split])
      await check(tier(problem, caps), [ones, ones], [{ want, tolerance: 0 }], storage)
  })

  test(`overflow is an infinity, NaN stays, ${storage}`, async () => {
    for (const n of [4, 3]) {
      const problem = product(1, n, 1, ['f32', 'f32', 'f16'])
      const b = Float32Array.of(65519, -1e6, NaN, Infinity).slice(0, n)
      const [got] = await runProgram(device, chosen(problem, caps), [Float32Array.of(1), b, blank(n, 'f16')])
      assert.equal([...fromWords(got!, n, 'f16')], [65504, -Infinity, NaN, Infinity].slice(0, n))
    }
  })

  test(`softmax and its gradient, ${storage}`, async () => {
    for (const [rows, width, input, output] of [
      [5, 13, 'f16', 'f16'],
      [37, 64, 'f16', 'f32'],
      [7, 64, 'f32', 'f16'],
      [3, 1027, 'f16', 'f16'],
      [1, 1, 'f16', 'f16'],
      [3, 1, 'f16', 'f16'],
      [1, 2, 'f16', 'f16'],
      [67, 31, 'f16', 'f16'],
      [9, 4099, 'f16', 'f16'],
      [1, 100003, 'f16', 'f16'],
    ] as const) {
      const problem = { rows, width, log: width === 13, input, output }
      const [x, y, dy] = [1, 2, 3].map((seed) => exactArray(rows * width, seed, input, 4)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ]
      const [forward] = softmax.softmaxVariants(problem, caps)
      const outputs = (want: Float64Array): Output[] => [{ want, type: output }]
      await check(forward!.program(), [toWords(x, input)], outputs(softmax.softmaxReference(problem, x)), storage)
      const [gradient] = softmax.softmaxBackwardVariants(problem, caps)
      const want = softmax.softmaxBackwardReference(problem, y, dy)
      await check(gradient!.program(), [toWords(y, input), toWords(dy, input)], outputs(want), storage)
    }
  })

  test(`layer norm and its gradients, ${storage}`, async () => {
    for (const [rows, width] of [
      [5, 13],
      [33, 64],
      [1, 1],
      [3, 1],
      [1, 2],
      [67, 31],
      [9, 4099],
      [1, 100003],
    ] as const) {
      const problem = { rows, width, epsilon: 1e-5, input: 'f16', gradient: 'f16', output: 'f16' } as const
      const x = exactArray(rows * width, 1, 'f16')
      const [gamma, beta] = [exactArray(width, 2, 'f32'), exactArray(width, 3, 'f32')]
      const dy = exactArray(rows * width, 4, 'f16')
      const want = layerNormReference(problem, x, gamma, beta)
      const [mean, rstd] = [Float32Array.from(want.mean), Float32Array.from(want.rstd)]
      const grads = backward.layerNormBackwardReference(problem, x, gamma, dy, mean, rstd)
      const [xs, dys] = [toWords(x, 'f16'), toWords(dy, 'f16')]
      const outputs: Output[] = [{ want: want.y, type: 'f16' }, { want: want.mean }, { want: want.rstd }]
      // Of two elements little is left but what their terms, rounded in f32, differ by (layernorm.test.ts).
      const terms = dy.reduce((sum, g, i) => sum + Math.abs(g * gamma[i % width]!) * rstd[Math.floor(i / width)]!, 0)
      const tolerance = 2 ** -10 + (width === 2 ? (2 ** -21 * terms) / Math.hypot(...grads.dx) : 0)
      for (const variant of layerNormVariants(problem, caps).slice(0, 1))
        await check(variant.program(), [xs, gamma, beta], outputs, storage)
      for (const variant of backward.layerNormBackwardInputVariants(problem, caps).slice(0, 1))
        await check(
          variant.program(),
          [xs, gamma, dys, mean, rstd],
          [{ want: grads.dx, type: 'f16', tolerance }],
          storage,
        )
      for (const variant of backward.layerNormBackwardParamsVariants(problem, caps))
        await check(variant.program(), [xs, dys, mean, rstd], [{ want: grads.dgamma }, { want: grads.dbeta }], storage)
    }
  })

  test(`attention and its gradients, ${storage}`, async () => {
    // Rows of an odd width, of whole vec4s, and of pairs (the subgroup kernel's own loads). Tiles, of them the smallest, which CPU
    // adapters compile for half a minute, in one storage; a GPU's kernels for short rows once in another.
    for (const [d, lq, lk, gpu] of [
      [5, 7, 11, false],
      ...(index === 0 ? [[32, 9, 6, true] as const] : []),
      ...(caps.software ? [[12, 5, 9, false] as const] : []),
    ] as const) {
      const own = gpu ? { ...caps, software: false, maxWorkgroupBytes: smallTileBytes } : caps
      const [heads, batch] = [2, 2]
      const rows = (length: number) =>
        ({ batchStrides: [length * heads * d], headStride: d, rowStride: heads * d, offset: 0, type: 'f16' }) as const
      const bias = { batchStrides: [0], headStride: lq * lk, rowStride: lk, offset: 0 }
      const problem: AttentionProblem = {
        ...{ batch: [batch], heads, lq, lk, d, scale: 0.4, causal: false, output: 'f16', gradient: 'f16' },
        ...{ q: rows(lq), k: rows(lk), v: rows(lk), bias },
      }
      const random = (length: number, seed: number) => exactArray(batch * length * heads * d, seed, 'f16')
      const x = { q: random(lq, 1), k: random(lk, 2), v: random(lk, 3), bias: exactArray(heads * lq * lk, 4, 'f32') }
      const dout = random(lq, 5)
      const { o, lse } = attentionReference(problem, x)
      const want = attentionBackwardReference(problem, x, dout)
      const inputs = [toWords(x.q, 'f16'), toWords(x.k, 'f16'), toWords(x.v, 'f16'), x.bias]
      const half = (values: Float64Array): Output => ({ want: values, type: 'f16' })
      const [forward] = attentionVariants(problem, own)
      await check(forward!.program(), inputs, [half(o), { want: lse }], storage)

      const { delta, dq, dkv, dbias } = attentionBackwardPrograms(problem, own)
      const kept = rounded(o)
      const sums = new Float64Array(lse.length)
      for (let i = 0; i < o.length; i++) {
        const [row, head] = [Math.floor(i / (heads * d)), Math.floor(i / d) % heads]
        sums[(Math.floor(row / lq) * heads + head) * lq + (row % lq)]! += kept[i]! * dout[i]!
      }
      await check(delta[0]!.program(), [toWords(kept, 'f16'), toWords(dout, 'f16')], [{ want: sums }], storage)
      const all = [...inputs, toWords(dout, 'f16'), Float32Array.from(lse), Float32Array.from(want.delta)]
      await check(dq[0]!.program(), all, [half(want.dq)], storage)
      await check(dkv[0]!.program(), all, [half(want.dk), half(want.dv)], storage)
      await check(dbias[0]!.program(), all, [{ want: want.dbias, tolerance: 1e-5 }], storage)
    }
  })
}

test.after(() => device.destroy())
test.run()
