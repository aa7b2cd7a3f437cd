/** Optimiser, moving average and compiled steps: against float64, and against one another. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { compile, grad, nn, openDevice, optim, type Tensor, tensor } from '../../engine/index.ts'
import { adamwReference } from '../../kernels/optimizer/adamw.ts'
import { randomArray, relativeError } from '../support/program.ts'

const test = suite('training')
const device = await openDevice()

class Net {
  norm = nn.layerNorm(6)
  first = nn.linear(6, 9)
  second = nn.linear(9, 2)
  call(x: Tensor): Tensor {
    return this.second.call(this.first.call(this.norm.call(x)).gelu())
  }
}

const data = () => [tensor(randomArray(8 * 6, 3), [8, 6]), tensor(Int32Array.of(0, 1, 1, 0, 1, 0, 0, 1))] as const
const fresh = () => {
  nn.seedInit(5)
  return new Net()
}

test('AdamW does what plain loops do, decay on matrices only', async () => {
  const net = fresh()
  const [x, y] = data()
  const adam = optim.adamW(net, { lr: 0.01, weightDecay: 0.1, clip: 0.01 })
  const before = await adam.flat.read()
  const grads = grad(net.call(x).crossEntropy(y), net)
  const values = new Map<string, Float32Array>()
  for (const [name, g] of grads) values.set(name, (await g.data()) as Float32Array)
  const norm = Math.sqrt([...values.values()].reduce((s, g) => s + g.reduce((a, v) => a + v * v, 0), 0))
  adam.step(grad(net.call(x).crossEntropy(y), net))
  const after = await adam.flat.read()
  const hyper = {
    lr: 0.01,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0.1,
    step: 1,
    clip: Math.min(1, 0.01 / norm),
  }
  assert.ok(norm > 0.01, 'the clip must take part')
  for (const [name, { data: p, shape }] of before) {
    const zeros = new Float32Array(p.length)
    const want = adamwReference(
      p,
      zeros,
      zeros,
      values.get(name)!,
      zeros.map(() => (shape.length >= 2 ? 1 : 0)),
      hyper,
    )
    assert.ok(relativeError(after.get(name)!.data, want.p) < 1e-5, name)
  }
})

test('a gradient that is not finite changes nothing: neither parameters, nor moments, nor later bias corrections', async () => {
  const run = async (factors: readonly number[]) => {
    const net = fresh()
    const [x, y] = data()
    const adam = optim.adamW(net, { lr: 0.01 })
    const step = compile((input: Tensor) => {
      const loss = net.call(input).crossEntropy(y)
      adam.step(grad(loss, net))
      return loss
    })
    for (const factor of factors)
      await step(
        tensor(
          ((await x.data()) as Float32Array).map((v) => v * factor),
          x.shape,
        ),
      )
    const { steps, corrections, m, v } = await adam.state()
    assert.is(steps, factors.length, 'steps that ran, for schedules')
    return { corrections, m, v, p: await adam.flat.read() }
  }
  const [skipping, plain] = [await run([NaN, 1, NaN, 1]), await run([1, 1])]
  assert.equal(skipping, plain)
  const [beta1, beta2] = plain.corrections
  assert.ok(Math.abs(beta1 - (1 - 0.9 ** 2)) < 1e-7 && Math.abs(beta2 - (1 - 0.999 ** 2)) < 1e-9, `${[beta1, beta2]}`)
})

test('steps are counted when they have run, and saved and put back with their bias corrections', async () => {
  const [net, [x, y]] = [fresh(), data()]
  const adam = optim.adamW(net, { lr: 0.01 })
  for (let i = 0; i < 2; i++) adam.step(grad(net.call(x).crossEntropy(y), net))
  assert.is(adam.steps, 0, 'recorded only')
  await device.realize([])
  assert.is(adam.steps, 2)
  const state = await adam.state()
  adam.loadState({ ...state, steps: 7, corrections: [0.5, 0.25] })
  assert.equal((await adam.state()).corrections, [0.5, 0.25])
  const { corrections: _, ...old } = state
  adam.loadState({ ...old, steps: 3 })
  assert.equal((await adam.state()).corrections, [Math.fround(1 - 0.9 ** 3), Math.fround(1 - 0.999 ** 3)])
})

test('what is assigned between two steps of a compiled function is there for the second', async () => {
  const net = fresh()
  const [x, y] = data()
  const adam = optim.adamW(net, { lr: 0.02 })
  const step = compile((input: Tensor) => {
    const loss = net.call(input).crossEntropy(y)
    adam.step(grad(loss, net))
    return loss
  })
  const [weights, state] = [await adam.flat.read(), await adam.state()]
  const losses: number[] = []
  for (let i = 0; i < 6; i++) {
    // Back to the start after every second step.
    if (i % 2 === 0) {
      nn.loadState(net, weights)
      adam.loadState(state)
    }
    losses.push(await (await step(x)).item())
  }
  const [first, second] = losses
  assert.not.equal(first, second)
  assert.equal(losses, [first, second, first, second, first, second])
  assert.is(adam.steps, 2)
})

test('two runs from one seed give the same bits', async () => {
  const run = async () => {
    const [net, [x, y]] = [fresh(), data()]
    const adam = optim.adamW(net, { lr: 0.02, clip: 1 })
    const losses: number[] = []
    for (let i = 0; i < 4; i++) {
      const loss = net.call(x).crossEntropy(y)
      adam.step(grad(loss, net))
      losses.push(await loss.item())
    }
    return { losses, ...(await adam.state()), parameters: await adam.flat.read() }
  }
  assert.equal(await run(), await run())
})

test('a compiled step is the recorded step, bit for bit, with the teacher behind the student', async () => {
  const run = async (compiled: boolean) => {
    const net = fresh()
    nn.seedInit(6)
    const teacher = new Net()
    const adam = optim.adamW(net, { lr: 0.02, clip: 1 })
    const flat = nn.flatten(teacher)
    optim.copyParameters(flat, adam.flat)
    const step = (x: Tensor, y: Tensor) => {
      const loss = net.call(x).crossEntropy(y)
      adam.step(grad(loss, net))
      optim.emaUpdate(flat, adam.flat, 0.9)
      return loss
    }
    const go = compiled ? compile(step) : async (x: Tensor, y: Tensor) => step(x, y)
    const losses: number[] = []
    for (let i = 0; i < 6; i++) losses.push(await (await go(...data())).item())
    return {
      losses,
      student: (await adam.flat.read()).get('first.weight')!.data,
      teacher: (await flat.read()).get('first.weight')!.data,
    }
  }
  const [a, b] = [await run(false), await run(true)]
  assert.equal(a.losses, b.losses)
  assert.equal(a.student, b.student)
  assert.equal(a.teacher, b.teacher)
  assert.ok(a.losses[5]! < a.losses[0]!)
  assert.ok(relativeError(a.teacher, a.student) > 1e-3)
})

test('steady state: later steps plan nothing, compile nothing, allocate nothing', async () => {
  const net = fresh()
  const adam = optim.adamW(net, { lr: 0.02 })
  const step = compile((x: Tensor, y: Tensor) => {
    const loss = net.call(x).crossEntropy(y)
    adam.step(grad(loss, net))
    return loss
  })
  for (let i = 0; i < 3; i++) await (await step(...data())).item()
  const counts = () => [device.plansBuilt, device.pipelines.created, device.stats.buffersCreated]
  const before = counts()
  for (let i = 0; i < 5; i++) await (await step(...data())).item()
  assert.equal(counts(), before)
})

test('a value overwritten by an assignment is refused, not misread', async () => {
  const net = fresh()
  const adam = optim.adamW(net, { lr: 0.02 })
  const [x, y] = data()
  const late = net.call(x).sum()
  adam.step(grad(net.call(x).crossEntropy(y), net))
  await device.realize([])
  let message = ''
  await late.data().catch((error: Error) => {
    message = error.message
  })
  assert.match(message, /before an assignment overwrote/)
})

test('a checkpoint of another shape names every mismatch, both ways', () => {
  const net = fresh()
  const state = new Map(
    [...nn.namedParameters(net)].map(([name, p]) => [name, { shape: p.shape, data: new Float32Array(p.size) }]),
  )
  state.delete('second.bias')
  state.set('third.bias', { shape: [2], data: new Float32Array(2) })
  state.set('first.weight', { shape: [6, 9], data: new Float32Array(54) })
  assert.throws(
    () => nn.loadState(net, state),
    (e: Error) => ['second.bias', 'third.bias', 'first.weight: [6, 9]'].every((s) => e.message.includes(s)),
  )
})

test.after(() => device.destroy())
test.run()
