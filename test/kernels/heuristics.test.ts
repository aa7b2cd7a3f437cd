/**
 * What is taken where nothing was measured: for adapters that this suite cannot meet, and DIP's shapes, the first variant is of the
 * tier that the kernels' design notes argue for, and fits the adapter. Nothing runs here.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { attentionVariants } from '../../kernels/attention/attention.ts'
import { attentionBackwardPrograms } from '../../kernels/attention/gradients.ts'
import { affinityBackwardVariants, affinityVariants } from '../../kernels/diffusion/affinities.ts'
import { diffusionBackwardVariants, diffusionVariants } from '../../kernels/diffusion/diffusion.ts'
import { jacobiVariants } from '../../kernels/jacobi/jacobi.ts'
import { baselineCapabilities, type Capabilities, type Variant } from '../../kernels/kernel.ts'
import { layerNormBackwardParamsVariants } from '../../kernels/layernorm/backward.ts'
import { layerNormVariants } from '../../kernels/layernorm/layernorm.ts'
import { matmulVariants } from '../../kernels/matmul/matmul.ts'
import { softmaxVariants } from '../../kernels/softmax/softmax.ts'

const test = suite('heuristics')

const gpu = { ...baselineCapabilities, f16: true, subgroups: true, maxInvocations: 1024, maxStorageBuffers: 10 }
const cpu = { ...gpu, software: true }
const adapters: Record<string, Capabilities> = {
  'RTX 3090': { ...gpu, subgroupMinSize: 32, subgroupMaxSize: 32, maxWorkgroupBytes: 49152 },
  'Apple M1': { ...gpu, subgroupMinSize: 32, subgroupMaxSize: 32, maxWorkgroupBytes: 32768 },
  // The driver picks a subgroup size for each pipeline.
  'Intel integrated': { ...gpu, subgroupMinSize: 8, subgroupMaxSize: 32, maxWorkgroupBytes: 32768 },
  // What WebGPU guarantees, and no more.
  least: baselineCapabilities,
  lavapipe: { ...cpu, subgroupMinSize: 8, subgroupMaxSize: 8, maxWorkgroupBytes: 32768 },
  SwiftShader: { ...cpu, f16: false, subgroupMinSize: 4, subgroupMaxSize: 4, maxInvocations: 256 },
}

/** A [m, k] row-major, times the transpose of weights [n, k]. */
const product =
  (m: number, k: number, n: number, batch = 1) =>
  (caps: Capabilities) =>
    matmulVariants(
      {
        batch: [batch],
        m,
        n,
        k,
        a: { batchStrides: [m * k], rowStride: k, colStride: 1, offset: 0 },
        b: { batchStrides: [batch > 1 ? k * n : 0], rowStride: 1, colStride: k, offset: 0 },
      },
      caps,
    )

/** q, k, v interleaved as a joint projection leaves them. */
const heads = (batch: number, count: number, lq: number, lk: number, d: number) => {
  const operand = (length: number, offset: number) => ({
    batchStrides: [3 * length * count * d],
    headStride: d,
    rowStride: 3 * count * d,
    offset: offset * count * d,
  })
  const [q, k, v] = [operand(lq, 0), operand(lk, 1), operand(lk, 2)]
  return { batch: [batch], heads: count, lq, lk, d, scale: 1, causal: false, q, k, v }
}
const attention =
  (...sizes: Parameters<typeof heads>) =>
  (caps: Capabilities) =>
    attentionVariants(heads(...sizes), caps)
const keyGradient =
  (...sizes: Parameters<typeof heads>) =>
  (caps: Capabilities) =>
    attentionBackwardPrograms(heads(...sizes), caps).dkv

const graphs = { batch: 16, l: 14, e: 768, half: 3 }

interface Row {
  readonly variants: (caps: Capabilities) => Variant[]
  /** Tiers, by kind of adapter: GPUs, and adapters that run on the CPU. */
  readonly gpu: RegExp
  readonly software: RegExp
  /** Where an adapter has a tier of its own. */
  readonly other?: Record<string, RegExp>
}

const subgroup = /^subgroup/
const table: Record<string, Row> = {
  // Enough 128² tiles for every multiprocessor.
  'qkv of 16 frames, 3152×768×2304': { variants: product(3152, 768, 2304), gpu: /^tiled\.large/, software: subgroup },
  'MLP in, 3152×768×3072': { variants: product(3152, 768, 3072), gpu: /^tiled\.large/, software: subgroup },
  'MLP out, 3152×3072×768': { variants: product(3152, 3072, 768), gpu: /^tiled\.large/, software: subgroup },
  // One frame: smaller tiles, so that there are enough of them.
  'one frame, 197×768×768': { variants: product(197, 768, 768), gpu: /^tiled\.small/, software: subgroup },
  'DiCA, 240×768×768': { variants: product(240, 768, 768), gpu: /^tiled\.small/, software: subgroup },
  'tiny, 1088×48×192': { variants: product(1088, 48, 192), gpu: /^tiled\.small/, software: subgroup },
  // Two outputs a row: no tile is full, and k is what there is to share.
  'logits, 16×768×2': { variants: product(16, 768, 2), gpu: /^split/, software: /^register/ },
  'graph powers, 16 of 28×28×28': { variants: product(28, 28, 28, 16), gpu: /^tiled\.small/, software: subgroup },
  'spatial attention, 12 heads × 197 × 64': {
    variants: attention(16, 12, 197, 197, 64),
    gpu: /^tile\./,
    software: subgroup,
  },
  'temporal attention, 9408 of 16 × 64': {
    variants: attention(784, 12, 16, 16, 64),
    gpu: /^tile\.16/,
    software: subgroup,
  },
  'DiCA, 15 tokens': { variants: attention(16, 12, 15, 15, 64), gpu: /^tile\.16/, software: subgroup },
  'temporal attention of tiny, 4 × 16': {
    variants: attention(256, 3, 4, 4, 16),
    gpu: /^row\.heads/,
    software: subgroup,
  },
  'gradient of spatial keys and values': {
    variants: keyGradient(16, 12, 197, 197, 64),
    gpu: /^tile\./,
    software: subgroup,
  },
  'gradient of a bias of 197 tokens that all share': {
    variants: (caps) => {
      const bias = { batchStrides: [0], headStride: 0, rowStride: 197, offset: 0 }
      return attentionBackwardPrograms({ ...heads(16, 12, 197, 197, 64), bias }, caps).dbias
    },
    gpu: /^tile\.16x16/,
    software: subgroup,
    other: { least: /^tile\.16x8/ },
  },
  'gradient of γ and β, 3152×768': {
    variants: (caps) => layerNormBackwardParamsVariants({ rows: 3152, width: 768 }, caps),
    gpu: /^columns8x32$/,
    software: subgroup,
  },
  'LayerNorm 3152×768': {
    variants: (caps) => layerNormVariants({ rows: 3152, width: 768, epsilon: 1e-6 }, caps),
    gpu: /^lanes64.*vec4.*kept/,
    software: subgroup,
  },
  'softmax 2364×197': {
    variants: (caps) => softmaxVariants({ rows: 2364, width: 197, log: false }, caps),
    gpu: /^lanes64.*kept/,
    software: subgroup,
  },
  // Time is that of one matrix, round by round, until there are several for every multiprocessor.
  'eigenproblems, 64 of 28×28': {
    variants: (caps) => jacobiVariants({ batch: 64, n: 28 }, caps),
    gpu: /^workgroup\.256/,
    software: /^rows/,
  },
  'eigenproblems, 4096 of 28×28': {
    variants: (caps) => jacobiVariants({ batch: 4096, n: 28 }, caps),
    gpu: /^rows/,
    software: /^rows/,
    other: { least: /^workgroup/ },
  },
  'eigenproblems, 16 of 64×64': {
    variants: (caps) => jacobiVariants({ batch: 16, n: 64 }, caps),
    gpu: /^workgroup/,
    software: /^workgroup/,
  },
  'affinities, 16 graphs of 28 nodes': {
    variants: (caps) => affinityVariants(graphs, caps),
    gpu: /lanes32$/,
    software: /lanes1$/,
  },
  'affinities of one graph': {
    variants: (caps) => affinityVariants({ ...graphs, batch: 1 }, caps),
    gpu: /lanes32$/,
    software: /lanes8$/,
  },
  'gradient of affinities': { variants: (caps) => affinityBackwardVariants(graphs, caps), gpu: /./, software: /./ },
  'diffusion, 16 graphs of 28 nodes': {
    variants: (caps) => diffusionVariants({ batch: 16, n: 28, t: 20 }, caps),
    gpu: /./,
    software: /./,
  },
  'gradient of diffusion, 64 nodes': {
    variants: (caps) => diffusionBackwardVariants({ batch: 16, n: 64, t: 20 }, caps),
    gpu: /./,
    software: /./,
  },
}

for (const [name, row] of Object.entries(table))
  test(name, () => {
    for (const [adapter, caps] of Object.entries(adapters)) {
      const variants = row.variants(caps)
      const expected = row.other?.[adapter] ?? (caps.software ? row.software : row.gpu)
      assert.match(variants[0]!.name, expected, adapter)
      assert.is(new Set(variants.map((v) => v.name)).size, variants.length, `${adapter}: two variants of one name`)
      for (const variant of variants) {
        const { wgsl, bindings, grid, workgroupBytes = 0 } = variant.program()
        const where = `${adapter}: ${variant.name}`
        assert.ok(workgroupBytes <= caps.maxWorkgroupBytes, where)
        assert.ok(bindings.length <= caps.maxStorageBuffers, where)
        assert.ok(Math.max(...grid) <= caps.maxGrid, where)
        if (!caps.subgroups) assert.not.match(wgsl, /\bsubgroup/, where)
        if (!caps.f16) assert.not.match(wgsl, /\benable f16/, where)
      }
    }
  })

test.run()
