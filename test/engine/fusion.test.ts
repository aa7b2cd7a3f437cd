/** Fusion changes how values are computed, not what they are; assignments wait for readers; a second run makes nothing new. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { concat, explain, grad, openDevice, stack, type Tensor, tensor, where } from '../../engine/index.ts'
import { record } from '../../engine/ops/build.ts'
import { Tensor as TensorClass } from '../../engine/tensor.ts'
import { randomArray, relativeError } from '../support/program.ts'
import { blockStep } from '../support/vit-block.ts'

const fusion = suite('engine/fusion')
const device = await openDevice()

const random = (shape: number[], seed: number): Tensor =>
  tensor(
    randomArray(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
  )

const x = () => random([4, 6], 1)
const y = () => random([4, 6], 2)
const w = () => random([6, 6], 3)
const bias = () => random([6], 4)

/** Composite graphs; each says how many launches it may take when fused. */
const graphs: Record<string, { launches: number; build: () => Tensor }> = {
  'a pointwise chain': { launches: 1, build: () => x().mul(2).exp().add(y()).tanh().sub(bias()).square() },
  'matmul with bias, gelu and residual': { launches: 1, build: () => x().add(x().matmul(w()).add(bias()).gelu()) },
  'two layers with gelu and residual': {
    launches: 2,
    build: () => {
      const h = y().add(x().matmul(w()).add(bias()).gelu())
      return h.add(h.matmul(w()).add(bias()).gelu())
    },
  },
  'softmax attention by hand': {
    launches: 3,
    build: () => x().matmul(y().transpose()).mul(0.4).softmax().matmul(y()),
  },
  'softmax from its parts': {
    launches: 4,
    build: () => {
      const e = x().sub(x().max(-1, true)).exp()
      return e.div(e.sum(-1, true))
    },
  },
  'cosine similarity matrix': {
    launches: 5,
    build: () => {
      const unit = (t: Tensor) => t.div(t.norm(-1, true).maximum(1e-8))
      return unit(x()).matmul(unit(y()).transpose())
    },
  },
  'cross entropy': { launches: 3, build: () => x().crossEntropy(tensor(Int32Array.of(1, 0, 5, 3))) },
  'reshape, permute, pad and concat': {
    launches: 1,
    build: () =>
      concat(
        [
          x()
            .reshape([2, 2, 6])
            .permute([2, 0, 1])
            .exp()
            .pad([
              [1, 0],
              [0, 0],
              [0, 1],
            ]),
          random([7, 2, 3], 5),
        ],
        2,
      )
        .transpose(0, 2)
        .square(),
  },
  'stack, flip and roll': {
    launches: 1,
    build: () =>
      stack([x().flip(0), y().roll(2)], 1)
        .reshape([8, 6])
        .mul(bias()),
  },
  'two reductions in one chain': { launches: 1, build: () => x().sum(-1).mul(y().sum(-1)).add(1) },
  'a reduction of a reduction': { launches: 2, build: () => x().exp().sum(-1).log().sum() },
  'a shared costly value': {
    launches: 5,
    build: () => {
      const costly = x().sin().exp().erf()
      return concat([costly.sum(0), costly.max(0), costly.flip().sum(0)])
    },
  },
  'variance through broadcasts': {
    launches: 4,
    build: () => x().sub(x().mean(-1, true)).div(x().variance(-1, true).add(1e-3).sqrt()),
  },
  'where over a gather': {
    launches: 1,
    build: () => where(x().greater(0), x().take(tensor(Int32Array.of(3, 0, 0, 1))), y().neg()),
  },
  'a gradient of all of it': {
    launches: 10,
    build: () => {
      const [a, b] = [x(), w()]
      const loss = a.matmul(b).add(bias()).gelu().softmax().square().sum()
      const [da, db] = grad(loss, [a, b])
      return concat([da!, db!])
    },
  },
}

for (const [name, { launches, build }] of Object.entries(graphs))
  fusion(`${name}: the same values with and without`, async () => {
    const steps = device.plan([build().node]).steps.length
    const fused = await build().data()
    device.fuse = false
    try {
      const apart = device.plan([build().node]).steps.length
      const plain = await build().data()
      assert.ok(apart > steps, `${apart} launches apart, ${steps} fused`)
      assert.is(fused.length, plain.length)
      fused.forEach((v, i) => {
        assert.ok(
          Math.abs(v - plain[i]!) <= 2e-6 * Math.max(1, Math.abs(plain[i]!)),
          `[${i}]: ${v} against ${plain[i]}`,
        )
      })
    } finally {
      device.fuse = true
    }
    assert.ok(steps <= launches, `${steps} launches, expected at most ${launches}`)
  })

fusion('gradients over many elements take kernels of their own and agree with plain ops', async () => {
  // The gradient of Σ y ∘ w is w as it stands, and results that are rearranged are written so: no launch but the kernels'.
  const agree = async (by: Tensor, plain: Tensor, wrt: Tensor[], kernels: string[]) => {
    const weight = random([...by.shape], 9)
    const [a, b] = [by, plain].map((y) => grad(y.mul(weight).sum(), wrt)) as [Tensor[], Tensor[]]
    assert.equal(
      explain(a).dispatches.flatMap((d) => d.ops),
      kernels,
    )
    for (const [i, g] of a.entries())
      assert.ok(relativeError(await g.data(), await b[i]!.data()) < 2e-5, `gradient ${i} of ${by.shape}`)
  }
  const [x, gamma, beta] = [random([350, 192], 1), random([192], 2), random([192], 3)]
  const centred = x.sub(x.mean(-1, true))
  const normal = centred.div(x.variance(-1, true).add(1e-5).sqrt())
  await agree(
    x.layerNorm(gamma, beta, 1e-5),
    normal.mul(gamma).add(beta),
    [x, gamma, beta],
    ['layerNorm', 'layerNormGradInput', 'layerNormGradParams'],
  )

  const [q, k, v] = [4, 5, 6].map((seed) => random([1, 6, 180, 64], seed)) as [Tensor, Tensor, Tensor]
  const heads = (t: Tensor) => t.permute([0, 2, 1, 3])
  const scores = q.matmul(k.transpose()).mul(1 / 8)
  await agree(
    heads(q).attention(heads(k), heads(v)),
    heads(scores.softmax().matmul(v)),
    [q, k, v],
    ['attention', 'attentionDelta', 'attentionGradQuery', 'attentionGradKeyValue'],
  )
})

/** A value in a buffer of its own that assignments may overwrite. */
const stored = (values: number[]): Tensor => new TensorClass(device.leafFrom(values, [values.length]))

fusion('an assignment waits for those who read the old value', async () => {
  const state = stored([1, 2, 3])
  const old = state.node
  const twice = state.mul(2)
  device.addEffect(record('assign', [old, state.add(10).node], {}))
  assert.equal([...(await twice.data())], [2, 4, 6])
  const now = await device.read(present(old))
  assert.equal([...now], [11, 12, 13])
})

fusion('an assignment whose value is read elsewhere than where it is written takes a copy', async () => {
  const state = stored([1, 2, 3, 4])
  const old = state.node
  device.addEffect(record('assign', [old, state.flip().add(state).node], {}))
  await device.realize([])
  assert.equal([...(await device.read(present(old)))], [5, 5, 5, 5])
})

/** The storage as a leaf of its present version. */
function present(node: Tensor['node']): Tensor['node'] {
  const leaf = device.leafFrom([0], [1])
  const { storage } = node
  const fresh = Object.assign(Object.create(Object.getPrototypeOf(leaf)), node, { storage, version: storage!.version })
  return fresh
}

fusion('a second run of the same structure plans, compiles and allocates nothing', async () => {
  const step = async (seed: number) => {
    const a = random([5, 6], seed)
    const loss = a.matmul(w()).add(bias()).gelu().logSoftmax().square().sum()
    return (await concat(grad(loss, [a])).data())[0]!
  }
  // A result's buffer returns to the pool when it has been read; the second run is the first that finds it there.
  const first = await step(1)
  await step(2)
  const before = [device.plansBuilt, device.pipelines.created, device.stats.buffersCreated]
  const again = await step(1)
  for (let seed = 3; seed < 6; seed++) await step(seed)
  assert.equal([device.plansBuilt, device.pipelines.created, device.stats.buffersCreated], before)
  assert.is(again, first, 'the same inputs give the same bits')
})

fusion('three training steps of a ViT block: the same losses and parameters with and without', async () => {
  const train = async (fuse: boolean) => {
    device.fuse = fuse
    try {
      const { step, data, adam, teacher } = blockStep({ batch: 2, tokens: 5, width: 12, heads: 3 })
      const losses: number[] = []
      for (let i = 0; i < 3; i++) losses.push(await step(...data()).item())
      return { losses, student: await adam.flat.read(), teacher: await teacher.read() }
    } finally {
      device.fuse = true
    }
  }
  const [fused, apart] = [await train(true), await train(false)]
  assert.ok(relativeError(fused.losses, apart.losses) < 1e-6)
  assert.ok(fused.losses[2]! < fused.losses[0]!)
  for (const [name, { data }] of apart.student) {
    assert.ok(relativeError(fused.student.get(name)!.data, data) < 1e-5, `student ${name}`)
    assert.ok(relativeError(fused.teacher.get(name)!.data, apart.teacher.get(name)!.data) < 1e-5, `teacher ${name}`)
  }
})

fusion.run()
