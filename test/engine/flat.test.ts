/** Parameters in several flat buffers: the same training as in one. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { grad, LimitError, nn, openDevice, optim, type Tensor, tensor } from '../../engine/index.ts'
import { randomArray, relativeError } from '../support/program.ts'

const test = suite('flat storage')
const device = await openDevice()

/** 2112 elements with gaps: three buffers of 1024 elements, the middle one full. */
class Net {
  first = nn.linear(24, 30)
  second = nn.linear(30, 33)
  head = nn.linear(33, 2)
  call(x: Tensor): Tensor {
    return this.head.call(this.second.call(this.first.call(x).gelu()).gelu())
  }
}

const smallest = 4 * nn.rowLength

function start(chunkBytes?: number) {
  nn.seedInit(5, 0.2)
  const [student, teacher] = [new Net(), new Net()]
  const options = chunkBytes ? { chunkBytes } : {}
  nn.flatten(student, options)
  const flat = nn.flatten(teacher, options)
  const adam = optim.adamW(student, { lr: 0.01, weightDecay: 0.1, clip: 0.1 })
  optim.copyParameters(flat, adam.flat)
  return { student, adam, flat }
}

const batch = (seed: number) => [
  tensor(randomArray(8 * 24, seed), [8, 24]),
  tensor(Int32Array.of(0, 1, 1, 0, 1, 0, 0, 1)),
]

async function steps({ student, adam, flat }: ReturnType<typeof start>, count: number, spoil?: string) {
  const norms: number[] = []
  for (let i = 0; i < count; i++) {
    const [x, y] = batch(i + 1) as [Tensor, Tensor]
    const grads = grad(student.call(x).crossEntropy(y), student)
    if (spoil) grads.set(spoil, grads.get(spoil)!.mul(Number.POSITIVE_INFINITY))
    adam.step(grads)
    optim.emaUpdate(flat, adam.flat, 0.9)
    norms.push(await adam.gradientNorm!.item())
  }
  return { norms, student: await adam.flat.read(), teacher: await flat.read(), moments: await adam.state() }
}

test('three buffers train as one does', async () => {
  const [one, three] = [start(), start(smallest)]
  assert.equal([one.adam.flat.nodes.length, three.adam.flat.nodes.length], [1, 3])

  const [a, b] = [await steps(one, 4), await steps(three, 4)]
  assert.ok(
    a.norms.every((n) => n > 0.1),
    'the clip must take part',
  )
  assert.ok(relativeError(b.norms, a.norms) < 1e-6)
  for (const name of a.student.keys()) {
    assert.ok(relativeError(b.student.get(name)!.data, a.student.get(name)!.data) < 1e-6, `student ${name}`)
    assert.ok(relativeError(b.teacher.get(name)!.data, a.teacher.get(name)!.data) < 1e-6, `teacher ${name}`)
    assert.ok(relativeError(b.moments.m.get(name)!.data, a.moments.m.get(name)!.data) < 1e-5, `m ${name}`)
    assert.ok(relativeError(b.moments.v.get(name)!.data, a.moments.v.get(name)!.data) < 1e-5, `v ${name}`)
  }
})

test('at most one launch per buffer, whatever the number of parameters', async () => {
  const { student, adam, flat } = start(smallest)
  await device.realize([])
  const [x, y] = batch(1) as [Tensor, Tensor]
  adam.step(grad(student.call(x).crossEntropy(y), student))
  optim.emaUpdate(flat, adam.flat, 0.9)
  const ops = device.plan([]).steps.map((s) => s.ops)
  assert.is(ops.filter((o) => o === 'adamw').length, 3)
  const averages = ops.filter((o) => o.endsWith('assign')).length
  assert.ok(averages >= 1 && averages <= 3, `${averages} launches for the moving average`)
  await device.realize([])
})

test('an infinity in one buffer keeps all of them as they were', async () => {
  const three = start(smallest)
  const before = await three.adam.flat.read()
  const { norms, student, moments } = await steps(three, 1, 'head.bias')
  assert.not.ok(Number.isFinite(norms[0]))
  for (const [name, { data }] of before) {
    assert.equal(student.get(name)!.data, data, name)
    assert.ok(moments.m.get(name)!.data.every((v) => v === 0))
  }
})

test('state read from one layout goes on in another', async () => {
  const one = start()
  const { student, moments } = await steps(one, 2)
  const three = start(smallest)
  nn.loadState(three.student, student)
  three.adam.loadState(moments)
  const [a, b] = [await steps(one, 2), await steps(three, 2)]
  for (const name of a.student.keys())
    assert.ok(relativeError(b.student.get(name)!.data, a.student.get(name)!.data) < 1e-6, name)
})

test('a parameter larger than a buffer is refused by name; layouts are not mixed', () => {
  nn.seedInit(5)
  const wide = { inner: nn.linear(64, 40) }
  assert.throws(
    () => nn.flatten(wide, { chunkBytes: smallest }),
    (e: Error) => e instanceof LimitError && /parameter 'inner.weight' \[40, 64\] needs 10 KiB/.test(e.message),
  )
  const [one, three] = [start(), start(smallest)]
  assert.throws(() => optim.emaUpdate(one.flat, three.flat, 0.9), /emaUpdate: the two modules/)
})

test.after(() => device.destroy())
test.run()
