/** More workgroups than one dimension of a grid takes: everything folds into two. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { full, grad, nn, openDevice, optim, Tensor, tensor } from '../../engine/index.ts'
import { randomArray, relativeError } from '../support/program.ts'

const test = suite('grids')
const device = await openDevice()

const random = (shape: number[], seed: number) =>
  tensor(
    randomArray(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
  )

/** Name → a value whose launches need dozens of workgroups. */
const work: Record<string, () => Tensor> = {
  pointwise: () => random([8192], 1).exp().contiguous(),
  'sum of rows': () => random([7000, 3], 1).sum(1),
  'sum of columns': () => random([7, 7000], 1).sum(0),
  softmax: () => random([700, 9], 1).softmax(),
  'softmax gradient': () => {
    const x = random([700, 9], 1)
    return grad(x.softmax().square().sum(), x)
  },
  layerNorm: () => random([700, 8], 1).layerNorm(random([8], 2), random([8], 3)),
  'layerNorm gradient': () => {
    const [x, w] = [random([700, 8], 1), random([8], 2)]
    const [dx, dw] = grad(
      x
        .layerNorm(w, random([8], 3))
        .square()
        .sum(),
      [x, w],
    ) as [Tensor, Tensor]
    return dx.sum(0).add(dw)
  },
  matmul: () => random([300, 20], 1).matmul(random([20, 90], 2)),
  'matmul batch': () => random([1500, 3, 4], 1).matmul(random([1500, 4, 5], 2)),
  gather: () => random([900, 4], 1).take(tensor(Int32Array.from({ length: 3000 }, (_, i) => (i * 7) % 900))),
  scatterAdd: () =>
    random([3000, 4], 1).scatterAdd(
      tensor(Int32Array.from({ length: 3000 }, (_, i) => (i * 7) % 900)).reshape([3000, 1]),
      0,
      900,
    ),
  cumsum: () => random([3000, 5], 1).cumsum(),
  argmax: () => random([3000, 5], 1).argmax().cast('f32'),
  sort: () => random([300, 9], 1).sort().values,
  attention: () => random([40, 10, 2, 4], 1).attention(random([40, 10, 2, 4], 2), random([40, 10, 2, 4], 3)),
  'attention gradient': () => {
    const q = random([40, 10, 2, 4], 1)
    return grad(
      q
        .attention(random([40, 10, 2, 4], 2), random([40, 10, 2, 4], 3))
        .square()
        .sum(),
      q,
    )
  },
  conv2d: () => random([2, 3, 30, 30], 1).conv2d(random([4, 3, 3, 3], 2), { padding: 1 }),
  eigh: () => {
    const x = random([60, 4, 4], 1)
    return x.add(x.transpose()).eigh().values
  },
}

test('every kind of launch folds, and gives the same values', async () => {
  const caps = device.caps as { maxGrid: number }
  const { maxGrid } = caps
  const flat: string[] = []
  for (const [name, make] of Object.entries(work)) {
    const want = await make().data()
    caps.maxGrid = 16
    device.fuse = false // also keeps the plans apart: the cache does not know of this limit
    const tensors = make()
    const { steps } = device.plan([tensors.node])
    const got = await tensors.data()
    device.fuse = true
    caps.maxGrid = maxGrid
    const largest = Math.max(...steps.flatMap((s) => s.program.grid))
    assert.ok(largest <= 16, `${name}: a grid of ${largest}`)
    if (!steps.some((s) => s.program.grid[1] > 1 || s.program.grid[2] > 1)) flat.push(name)
    const error = relativeError(got, want)
    assert.ok(error < 1e-5, `${name}: ${error}`)
  }
  assert.equal(flat, [], 'these needed one dimension only')
})

test('for real: beyond 65,535 workgroups', async () => {
  const count = 65_536 * 64 + 100
  const x = full([count], 0)
    .add(random([1], 1))
    .contiguous()
  const index = new Tensor((await import('../../engine/ops/build.ts')).iota(count))
  const y = x.mul(0).add(index.mod(7).cast('f32'))
  const data = await y.data()
  for (const i of [0, 65_535 * 64 - 1, 65_535 * 64, count - 1]) assert.is(data[i], i % 7, `element ${i}`)
  const rows = y.narrow(0, 0, 65_600 * 63).reshape([-1, 63])
  const sums = await rows.softmax().sum(1).data()
  assert.is(sums.length, 65_600)
  assert.ok(sums.every((s) => Math.abs(s - 1) < 1e-5))
})

test('an optimiser step over folded grids', async () => {
  const caps = device.caps as { maxGrid: number }
  const { maxGrid } = caps
  const step = async () => {
    nn.seedInit(1)
    const net = { fc: nn.linear(200, 130) }
    const adam = optim.adamW(net, { lr: 0.01, clip: 0.1 })
    await device.realize([])
    adam.step(
      grad(
        net.fc
          .call(random([4, 200], 1))
          .square()
          .mean(),
        net,
      ),
    )
    return (await adam.flat.read()).get('fc.weight')!.data
  }
  const want = await step()
  caps.maxGrid = 16
  device.fuse = false
  const got = await step()
  device.fuse = true
  caps.maxGrid = maxGrid
  assert.ok(relativeError(got, want) < 1e-6)
})

test.after(() => device.destroy())
test.run()
