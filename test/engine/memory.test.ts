/** Memory: what programs hold, what plans share, and that neither grows with the number of steps. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { intern } from '../../engine/graph.ts'
import { compile, full, grad, nn, openDevice, optim, type Tensor, tensor } from '../../engine/index.ts'
import { randomArray } from '../support/program.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const test = suite('memory')
const device = await openDevice()

/** Bytes of every buffer that was created and not destroyed, whoever made it. */
const live = new Map<GPUBuffer, number>()
{
  const { gpu } = device
  const create = gpu.createBuffer
  gpu.createBuffer = (descriptor) => {
    const buffer = create.call(gpu, descriptor)
    live.set(buffer, descriptor.size)
    const destroy = buffer.destroy
    buffer.destroy = () => {
      live.delete(buffer)
      return destroy.call(buffer)
    }
    return buffer
  }
}
const liveBytes = () => [...live.values()].reduce((a, b) => a + b, 0)

/** Lets finalizers run. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

class Block {
  first = nn.linear(32, 64)
  norm = nn.layerNorm(64)
  second = nn.linear(64, 32)
  call(x: Tensor): Tensor {
    return x.add(this.second.call(this.norm.call(this.first.call(x).gelu())))
  }
}

function training() {
  nn.seedInit(1)
  const block = new Block()
  const adam = optim.adamW(block, { lr: 1e-3, clip: 1 })
  const step = (x: Tensor) => {
    const loss = block.call(x).square().mean()
    adam.step(grad(loss, block))
    return loss
  }
  return { step, input: (seed: number) => tensor(randomArray(64 * 32, seed), [64, 32]) }
}

test('results free their bytes by dispose, by using, and when nothing refers to them', async () => {
  await settle()
  const before = device.stats.ownedBytes
  const make = () =>
    full([64, 1024], 1)
      .add(tensor([1]))
      .realize()
  const held = await make()
  assert.is(device.stats.ownedBytes, before + 64 * 4096)
  held.dispose()
  assert.is(device.stats.ownedBytes, before)
  {
    using _ = await make()
    assert.is(device.stats.ownedBytes, before + 64 * 4096)
  }
  assert.is(device.stats.ownedBytes, before)
  let forgotten: Tensor | undefined = await make()
  assert.is(device.stats.ownedBytes, before + 64 * 4096)
  assert.ok(forgotten)
  forgotten = undefined
  await settle()
  assert.is(device.stats.ownedBytes, before)
})

for (const compiled of [false, true])
  test(`200 ${compiled ? 'compiled' : 'recorded'} steps grow neither GPU nor host memory`, async () => {
    const { step, input } = training()
    const run = compiled ? compile(step) : async (x: Tensor) => step(x)
    const marks: { owned: number; gpu: number; heap: number }[] = []
    for (let i = 0; i <= 240; i++) {
      if (i === 40 || i === 240) {
        await settle()
        marks.push({ owned: device.stats.ownedBytes, gpu: liveBytes(), heap: process.memoryUsage().heapUsed })
      }
      await (await run(input(i))).item()
    }
    const [start, end] = marks as [(typeof marks)[0], (typeof marks)[0]]
    assert.is(end.owned, start.owned)
    assert.is(end.gpu, start.gpu)
    assert.ok(end.heap - start.heap < 1_000_000, `the heap grew by ${end.heap - start.heap} bytes`)
  })

test('ever new shapes stay within the bound of the plan cache', async () => {
  const { limits } = device.plans
  const saved = { ...limits }
  limits.count = 4
  const run = (n: number) =>
    tensor(randomArray(n * 1000))
      .sum()
      .item()
  for (let n = 1; n <= 8; n++) await run(n)
  await device.trim()
  await settle()
  const before = liveBytes()
  for (let n = 9; n <= 24; n++) await run(n)
  assert.is(device.plans.size, 4)
  await device.trim()
  assert.is(device.plans.size, 0)
  assert.ok(liveBytes() <= before, `${liveBytes()} bytes, ${before} before`)
  // Plans weigh by their bytes too: two inputs of 60 kB do not fit.
  limits.bytes = 100_000
  for (let n = 14; n <= 15; n++) await run(n)
  assert.is(device.plans.size, 1)
  Object.assign(limits, saved)
})

test('a plan that is evicted and comes back computes the same; a compiled one outlives the cache', async () => {
  const { limits } = device.plans
  const saved = limits.count
  limits.count = 1
  const { step, input } = training()
  const plain = training()
  const replayed = compile(step)
  const values: number[][] = [[], []]
  for (let i = 0; i < 3; i++) {
    values[0]!.push(await (await replayed(input(i))).item())
    values[1]!.push(await plain.step(input(i)).item())
  }
  assert.equal(values[0], values[1])
  limits.count = saved
})

test('a compiled function keeps the plans of its latest shapes only', async () => {
  const double = compile((x: Tensor) => x.mul(2).sum())
  const value = async (n: number) => (await double(tensor(new Float32Array(n).fill(1)))).item()
  for (let n = 1; n <= 40; n++) assert.is(await value(n), 2 * n)
  assert.is(await value(1), 2)
})

test('one huge plan does not hold its memory for ever', async () => {
  await full([1 << 20], 1)
    .add(tensor([1]))
    .contiguous()
    .square()
    .sum()
    .item()
  const { step, input } = training()
  const small = compile(step)
  await small(input(1))
  const high = device.stats.planBytes
  assert.ok(high >= 4 << 20, `${high}`)
  for (let i = 0; i < 300; i++) await small(input(1))
  assert.ok(device.stats.planBytes < high / 4, `${device.stats.planBytes} of ${high}`)
  await device.trim()
  assert.is(device.stats.planBytes, 0)
  assert.is(device.stats.pooledBytes, 0)
  await small(input(1))
})

test('texts that never come back do not pile up, and no two share a number', () => {
  const first = intern('first')
  const numbers = new Set([first])
  for (let i = 0; i < 120_000; i++) numbers.add(intern(`constant ${i}`))
  assert.is(numbers.size, 120_001)
  assert.is(intern('constant 119999'), intern('constant 119999'))
  assert.not.ok(numbers.has(intern('first')) && intern('first') !== first)
})

test.after(() => device.destroy())
test.run()
