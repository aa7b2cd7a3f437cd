/** Mixed precision: what autocast casts, gradients of casts, parameters cast once, loss scaling on the device. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { autocast, compile, type Device, grad, nn, openDevice, optim, type Tensor, tensor } from '../../engine/index.ts'
import { randomArray, relativeError } from '../support/program.ts'

const test = suite('mixed precision')
let device: Device = await openDevice()

class Net {
  norm = nn.layerNorm(8)
  first = nn.linear(8, 12)
  second = nn.linear(12, 4)
  call(x: Tensor): Tensor {
    return this.second.call(this.first.call(this.norm.call(x)).gelu())
  }
}
const fresh = () => {
  nn.seedInit(5, 0.3)
  return new Net()
}
const data = () =>
  [tensor(randomArray(16 * 8, 3), [16, 8]), tensor(Int32Array.from({ length: 16 }, (_, i) => i % 4))] as const
const lossOf = (net: Net, x: Tensor, y: Tensor) =>
  autocast('f16', () => net.call(x))
    .cast('f32')
    .crossEntropy(y)

test('products take and give halves; softmax, LayerNorm, exp and sums stay f32; the policy nests and ends', () => {
  const x = tensor(randomArray(16, 1), [4, 4])
  const q = x.reshape([1, 2, 2, 4])
  autocast('f16', () => {
    const y = x.matmul(x)
    assert.is(y.dtype, 'f16')
    assert.is(q.attention(q, q).dtype, 'f16')
    assert.is(x.reshape([1, 1, 4, 4]).conv2d(tensor([1], [1, 1, 1, 1])).dtype, 'f16')
    assert.is(y.gelu().dtype, 'f16')
    assert.is(y.add(x).dtype, 'f32')
    for (const f32 of [y.softmax(), y.exp(), y.sum(), y.mean(), y.norm(), y.variance(), x.sum()])
      assert.is(f32.dtype, 'f32')
    const [gamma, beta] = [tensor([1, 1, 1, 1]), tensor([0, 0, 0, 0])]
    assert.is(y.layerNorm(gamma, beta).dtype, 'f32')
    autocast('f32', () => assert.is(x.matmul(x).dtype, 'f32'))
    assert.is(x.matmul(x).dtype, 'f16')
  })
  assert.is(x.matmul(x).dtype, 'f32')
  const failing = () => {
    throw new Error('thrown inside')
  }
  assert.throws(() => autocast('f16', failing), /thrown inside/)
  assert.is(x.matmul(x).dtype, 'f32', 'after an error')
  assert.throws(() => autocast('f16', async () => x), /must record at once/)
})

test('gradients come back in f32, close to those in f32; parameters are cast once', async () => {
  const net = fresh()
  const adam = optim.adamW(net, { lr: 0 })
  const [x, y] = data()
  const wide = grad(net.call(x).crossEntropy(y), net as object)
  const mixed = grad(lossOf(net, x, y), net as object)
  for (const [name, g] of mixed) {
    assert.is(g.dtype, 'f32', name)
    const error = relativeError((await g.data()) as Float32Array, (await wide.get(name)!.data()) as Float32Array)
    // Activations and their gradients are each rounded a few times, by 2⁻¹¹ at most.
    assert.ok(error > 0 && error < 8 * 2 ** -10, `${name}: ${error}`)
  }
  adam.step(grad(lossOf(net, x, y), net as object))
  const plan = device.plan([])
  const copies = plan.steps.flatMap(({ args, program }) =>
    args.filter((a, i) => 'bytes' in a && a.bytes === 2 * adam.flat.total && program.bindings[i]!.access !== 'read'),
  )
  assert.is(copies.length, 1, 'launches that write the halves of all parameters')
  await device.realize([])
})

for (const without of [[], ['shader-f16']]) {
  const where = without.length ? 'packed' : 'as the adapter stores it'
  const train = async (loss: (net: Net, x: Tensor, y: Tensor) => Tensor, steps: number, scaled = true) => {
    const net = fresh()
    const scaler = scaled ? optim.lossScaler({ initial: 2 ** 10 }) : undefined
    const adam = optim.adamW(net, { lr: 0.01, clip: 1, ...(scaler ? { scaler } : {}) })
    const step = compile((x: Tensor, y: Tensor) => {
      const value = loss(net, x, y)
      adam.step(grad(scaler ? scaler.scale(value) : value, net as object))
      return value
    })
    const losses: number[] = []
    for (let i = 0; i < steps; i++) losses.push(await (await step(...data())).item())
    return { adam, scaler, losses }
  }

  test(`training in f16 follows f32, in one plan that a step replays, ${where}`, async () => {
    device = await openDevice({ without })
    const wide = await train((net, x, y) => net.call(x).crossEntropy(y), 12, false)
    const mixed = await train(lossOf, 12)
    mixed.losses.forEach((loss, i) => assert.ok(Math.abs(loss / wide.losses[i]! - 1) < 0.01, `step ${i}: ${loss}`))
    assert.ok(mixed.losses[11]! < 0.9 * mixed.losses[0]!, 'it learns')
    assert.not.equal(mixed.losses, wide.losses, 'it is not f32')
  })

  test(`a step that overflows is skipped and halves the scale; good steps double it, ${where}`, async () => {
    const net = fresh()
    const initial = 2 ** 24
    const scaler = optim.lossScaler({ initial, interval: 2 })
    const adam = optim.adamW(net, { lr: 0.01, scaler })
    const before = (await adam.flat.read()).get('first.weight')!.data
    const scales: number[] = []
    const step = compile((x: Tensor, y: Tensor) => {
      const loss = lossOf(net, x, y)
      adam.step(grad(scaler.scale(loss), net as object))
      return loss
    })
    const [x, y] = data()
    const built = device.plansBuilt
    let changed = -1
    for (let i = 0; i < 12; i++) {
      await (await step(x, y)).item()
      scales.push((await scaler.read()).scale)
      const { data: now } = (await adam.flat.read()).get('first.weight')!
      if (changed < 0 && relativeError(now, before) > 0) changed = i
    }
    // Skipped while the scale was too large for halves, each time halving it; the first good step is the first change.
    assert.ok(changed > 0, `first applied step ${changed}`)
    assert.equal(
      scales.slice(0, changed),
      Array.from({ length: changed }, (_, i) => initial / 2 ** (i + 1)),
    )
    assert.is(scales[changed], scales[changed - 1])
    assert.is(scales[changed + 1], 2 * scales[changed]!, 'doubled after two good steps')
    assert.ok(device.plansBuilt - built <= 3, 'one plan for the step; reading state needs its own')
    // What was skipped leaves no trace: the same as starting with the scale that fits, bias corrections included.
    const count = scales.filter((s, i) => s >= (scales[i - 1] ?? initial + 1)).length
    const clean = fresh()
    const plain = optim.adamW(clean, {
      lr: 0.01,
      scaler: optim.lossScaler({ initial: scales[changed]!, interval: 1e6 }),
    })
    for (let i = 0; i < count; i++) plain.step(grad(plain.scaler!.scale(lossOf(clean, x, y)), clean as object))
    const [a, b] = [await adam.state(), await plain.state()]
    assert.ok(Math.abs(a.corrections[0] - (1 - 0.9 ** count)) < 1e-6, `${a.corrections}`)
    assert.ok(Math.abs(a.corrections[1] - (1 - 0.999 ** count)) < 1e-9)
    assert.equal(a.corrections, b.corrections)
    // Scales differ by powers of two, which change no digits until halves become subnormal.
    const [p, q] = [await adam.flat.read(), await plain.flat.read()]
    for (const [name, { data: values }] of p) assert.ok(relativeError(values, q.get(name)!.data) < 2e-3, name)
  })
}

test('the state of loss scaling is saved and put back', async () => {
  const scaler = optim.lossScaler({ initial: 4 })
  const adam = optim.adamW(fresh(), { scaler })
  const zeros = await adam.state()
  adam.loadState({ ...zeros, steps: 7, corrections: [0.5, 0.25], scaling: { scale: 32, good: 5 } })
  const { steps, corrections, scaling } = await adam.state()
  assert.equal([steps, corrections, scaling], [7, [0.5, 0.25], { scale: 32, good: 5 }])
  const { scaling: _, ...without } = zeros
  assert.throws(() => adam.loadState(without), /without loss scaling/)
  assert.throws(() => optim.adamW(fresh()).loadState(zeros), /with loss scaling/)
})

test.after(() => device.destroy())
test.run()
