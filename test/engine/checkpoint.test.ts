/** Less memory in training: recomputed activations and accumulated gradients give the same gradients. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  checkpoint,
  compile,
  Generator,
  grad,
  gradNodes,
  nn,
  openDevice,
  optim,
  Tensor,
  tensor,
  useDevice,
} from '../../engine/index.ts'
import { record } from '../../engine/ops/build.ts'
import { randomArray, relativeError } from '../support/program.ts'

const test = suite('checkpoint')
const device = await openDevice()

const random = (shape: number[], seed: number) =>
  tensor(
    randomArray(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
  )
const values = async (tensors: readonly Tensor[]) => {
  await device.realize(tensors.map((t) => t.node))
  return Promise.all(tensors.map((t) => t.data()))
}

interface Layer {
  call(x: Tensor): Tensor
}

class Residual implements Layer {
  norm = nn.layerNorm(16)
  first = nn.linear(16, 24)
  second = nn.linear(24, 16)
  call(x: Tensor): Tensor {
    return x.add(this.second.call(this.first.call(this.norm.call(x)).gelu()))
  }
}

class Stack {
  readonly blocks: readonly Layer[]
  constructor(depth: number, block: () => Layer) {
    nn.seedInit(4, 0.2)
    this.blocks = Array.from({ length: depth }, block)
  }
  loss(x: Tensor, wrap: typeof checkpoint): Tensor {
    return this.blocks
      .reduce((h, block) => wrap((y: Tensor) => block.call(y))(h), x)
      .square()
      .mean()
  }
}
const plainly: typeof checkpoint = (f) => f

test('a stack of transformer blocks takes far less memory, with an optimiser too', async () => {
  // Planned only, so that nothing needs to be compiled.
  const planner = await openDevice({ adapter: 'null' })
  const peaks = (wrap: typeof checkpoint) => {
    const stack = new Stack(5, () => new nn.TransformerBlock(16, 2))
    const adam = optim.adamW(stack, { lr: 1e-3, clip: 1 })
    const loss = stack.loss(random([2, 12, 16], 1), wrap)
    const grads = grad(loss, stack)
    const alone = planner.plan([loss, ...grads.values()].map((t) => t.node)).peakLiveBytes
    adam.step(grads)
    const step = planner.plan([loss.node]).peakLiveBytes
    return { alone, step, held: 4 * adam.flat.total }
  }
  const plain = peaks(plainly)
  await planner.realize([])
  const kept = peaks(checkpoint)
  planner.destroy()
  useDevice(device)
  assert.ok(kept.alone < 0.5 * plain.alone, `${kept.alone} of ${plain.alone} bytes`)
  // The gradients themselves stay: what is left beside them must fall as far.
  assert.ok(kept.step - kept.held < 0.6 * (plain.step - plain.held), `${kept.step} of ${plain.step} bytes`)
})

test('the gradients of the plain network, of parameters that the function only captures too', async () => {
  const stack = new Stack(3, () => new Residual())
  const x = random([6, 16], 1)
  const grads = (wrap: typeof checkpoint) => {
    const loss = stack.loss(x, wrap)
    return values([loss, ...grad(loss, stack).values(), grad(loss, x)])
  }
  const [want, got] = [await grads(plainly), await grads(checkpoint)]
  want.forEach((w, i) => {
    assert.ok(relativeError(got[i]!, w) < 1e-6, `${i}`)
    assert.ok(w.some((v) => v !== 0))
  })
})

/** Gradients of a function of two tensors, plain and checkpointed, must agree. */
async function agree(name: string, f: (wrap: typeof checkpoint) => { loss: Tensor; wrt: Tensor[] }): Promise<void> {
  const of = async (wrap: typeof checkpoint) => {
    const { loss, wrt } = f(wrap)
    return values([loss, ...grad(loss, wrt)])
  }
  const [want, got] = [await of((g) => g), await of(checkpoint)]
  want.forEach((w, i) => assert.ok(relativeError(got[i]!, w) < 1e-6, `${name}: ${i}`))
}

test('several results, captured tensors used twice, nesting, dropout, second derivatives', async () => {
  const x = random([4, 6], 1)
  const y = random([4, 6], 2)
  const w = random([6, 6], 3)
  const v = random([6], 4)
  await agree('several results', (wrap) => {
    const [a, b, c] = wrap((p: Tensor, q: Tensor) => [p.mul(q).tanh(), p.add(q).exp().sum(0), p])(x, y) as Tensor[]
    return { loss: a!.sum().add(b!.square().sum()).add(c!.mul(a!).sum()), wrt: [x, y] }
  })
  await agree('a captured tensor, directly and through a view', (wrap) => {
    const z = wrap((p: Tensor) => p.matmul(w).tanh().mul(w.transpose().sum(0)).add(v))(x)
    return { loss: z.square().sum(), wrt: [x, w, v] }
  })
  await agree('an argument that the gradient also reaches from outside', (wrap) => {
    const h = x.mul(v).tanh()
    const z = wrap((p: Tensor) => p.mul(v).tanh())(h)
    return { loss: z.mul(h).sum(), wrt: [x, v] }
  })
  await agree('one in another', (wrap) => {
    const inner = wrap((p: Tensor) => p.mul(v).exp().mul(p))
    return {
      loss: wrap((p: Tensor) => inner(inner(p).sin()))(x)
        .square()
        .sum(),
      wrt: [x, v],
    }
  })
  await agree('random numbers are drawn once', (wrap) => {
    const noise = new Generator(5)
    return { loss: wrap((p: Tensor) => noise.dropout(p.mul(v).tanh(), 0.5).exp())(x).sum(), wrt: [x, v] }
  })
  await agree('the gradient of a gradient', (wrap) => {
    const loss = wrap((p: Tensor) => p.mul(v).tanh().square())(x).sum()
    const [dx] = gradNodes(loss.node, [x.node])
    return { loss: new Tensor(dx!).square().sum(), wrt: [x, v] }
  })
})

test('what would be done twice is refused', () => {
  const adam = optim.adamW({ w: nn.filled([3], 1) })
  const bad = checkpoint((x: Tensor) => new Tensor(record('assign', [adam.flat.nodes[0]!, x.mul(2).node], {})).sum())
  assert.throws(() => bad(random([1024], 1)), /checkpoint: 'assign' would be done twice/)
})

class Net {
  first = nn.linear(6, 9)
  second = nn.linear(9, 2)
  call = (x: Tensor) => this.second.call(this.first.call(x).gelu())
}

for (const compiled of [false, true])
  test(`gradients of parts add up to those of the batch (${compiled ? 'compiled' : 'recorded'})`, async () => {
    const [x, labels] = [randomArray(8 * 6, 3), Int32Array.of(0, 1, 1, 0, 1, 0, 0, 1)]
    const part = (from: number, to: number) =>
      [tensor(x.slice(from * 6, to * 6), [to - from, 6]), tensor(labels.slice(from, to))] as const
    const make = () => {
      nn.seedInit(5, 0.2)
      const net = new Net()
      return { net, adam: optim.adamW(net, { lr: 0.01, weightDecay: 0.1, clip: 0.1, epsilon: 1e-3 }) }
    }
    const whole = make()
    const parts = make()
    const add = (a: Tensor, b: Tensor) => {
      const loss = parts.net.call(a).crossEntropy(b)
      parts.adam.accumulate(grad(loss, parts.net), 1 / 4)
      return loss
    }
    const apply = () => {
      parts.adam.step()
      return parts.adam.gradientNorm!
    }
    const runAdd = compiled ? compile(add) : async (a: Tensor, b: Tensor) => add(a, b)
    const runApply = compiled ? compile(apply) : async () => apply()
    let plans = 0
    for (let step = 0; step < 3; step++) {
      whole.adam.step(grad(whole.net.call(part(0, 8)[0]).crossEntropy(part(0, 8)[1]), whole.net))
      const norm = await whole.adam.gradientNorm!.item()
      let mean = 0
      for (let i = 0; i < 8; i += 2) mean += (await (await runAdd(...part(i, i + 2))).item()) / 4
      const before = device.plansBuilt
      const partNorm = await (await runApply()).item()
      assert.ok(norm > 0.1, 'the clip must take part')
      assert.ok(Math.abs(partNorm - norm) < 1e-5 * norm, `${partNorm} ${norm}`)
      assert.ok(mean > 0)
      if (step === 2) assert.is(device.plansBuilt, before)
      plans = device.plansBuilt
    }
    assert.is(device.plansBuilt, plans)
    const [a, b] = [await whole.adam.flat.read(), await parts.adam.flat.read()]
    for (const [name, { data }] of a) assert.ok(relativeError(b.get(name)!.data, data) < 1e-6, name)
    assert.throws(() => make().adam.step(), /accumulate/)
  })

test.after(() => device.destroy())
test.run()
