/** Plans as they are told: launches, fusion, memory; and `explain`. On Dawn's null backend: nothing runs. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { explain, grad, nn, openDevice, optim, recordOrigins, type Tensor, tensor } from '../../engine/index.ts'
import { blockStep } from '../support/vit-block.ts'

const plans = suite('plans')
const device = await openDevice({ adapter: 'null' })

const zeros = (shape: number[]): Tensor => tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape)

plans('the ViT block training step: launches and memory', async () => {
  for (const [ema, most] of [
    // One of them carries AdamW's bias corrections on, which with a moving average joins its launch.
    [false, 28],
    [true, 28],
  ] as const) {
    const { step, data } = blockStep(undefined, ema)
    await device.realize([])
    const { dispatches, totals } = explain(step(...data()))
    assert.ok(totals.dispatches <= most, `${totals.dispatches} dispatches`)
    assert.ok(totals.peakLiveBytes <= 11.5e6, `${totals.peakLiveBytes} bytes alive`)
    assert.ok(totals.slotBytes <= 1.02 * totals.peakLiveBytes, `${totals.slotBytes} bytes of slots`)
    // dq, dk and dv are written into one buffer, weight gradients into theirs: nothing is copied.
    const copies = dispatches.filter((d) => d.ops.length === 0 || d.ops.some((op) => op === 'concat' || op === 'pack'))
    assert.equal(copies, [])
    await device.realize([])
  }
})

plans('explain tells every dispatch and adds them up', () => {
  const x = zeros([8, 12])
  const layer = { fc: nn.linear(12, 6) }
  optim.adamW(layer)
  const y = layer.fc.call(x).gelu()
  const told = explain([y, y.sum()])
  assert.is(told.totals.dispatches, 2)
  assert.is(told.totals.ops, told.dispatches[0]!.ops.length + told.dispatches[1]!.ops.length)
  assert.is(told.totals.flops, told.dispatches[0]!.flops + told.dispatches[1]!.flops)
  assert.is(told.totals.resultBytes, 8 * 6 * 4 + 4)
  const [product, total] = told.dispatches
  assert.equal(product!.ops, ['matmul', 'add', 'mul', 'erf', 'add', 'mul', 'mul'])
  assert.match(product!.kernel, /^matmul/)
  assert.ok(product!.reads.some((b) => b.value === 'f32[8, 12]' && b.buffer.startsWith('leaf')))
  assert.equal(
    product!.writes.map((b) => [b.buffer, b.value]),
    [['result 0', 'f32[8, 6]']],
  )
  assert.equal(total!.ops, ['sum'])
  const text = String(told)
  for (const part of ['2 dispatches', 'matmul add mul erf add mul mul', 'leaf', 'result 1 f32[]', 'alive at most'])
    assert.ok(text.includes(part), `'${part}' is not in\n${text}`)
  assert.match(told.wgsl(0), /fn epilogueOne/)
  assert.throws(() => told.wgsl(2), /no dispatch 2/)
})

plans('explain tells slots and how many bytes they take', () => {
  const x = zeros([4, 6])
  const told = explain(x.softmax().softmax().softmax())
  assert.is(told.totals.slots, 2)
  assert.is(told.totals.slotBytes, 2 * 4 * 6 * 4)
  assert.is(told.totals.peakLiveBytes, 2 * 4 * 6 * 4)
  assert.equal(
    told.dispatches.map((d) => d.writes[0]!.buffer.split(' ')[0]),
    ['slot', 'slot', 'result'],
  )
})

plans('explain says what was copied and why', () => {
  // Four batch axes, of which a permuted operand lets no two be merged.
  const [a, b] = [zeros([2, 3, 2, 3, 4, 5]), zeros([3, 2, 3, 2, 5, 4])]
  const told = explain(a.permute([3, 2, 1, 0, 4, 5]).matmul(b))
  const notes = told.dispatches.flatMap((d) => d.note ?? [])
  assert.ok(
    notes.some((note) => /copied.*batch axes beyond three/.test(note)),
    String(told),
  )
})

plans('explain tells where ops were recorded while origins are on', () => {
  recordOrigins(true)
  try {
    const told = explain(zeros([4]).exp().sum())
    assert.match(told.dispatches[0]!.origin!, /plan\.test\.ts:\d+/)
    assert.match(String(told), /recorded at .*plan\.test\.ts/)
  } finally {
    recordOrigins(false)
  }
})

plans('what no wanted value needs is not launched', () => {
  const x = zeros([16, 16])
  const used = x.matmul(x)
  const unused = used.softmax().matmul(x)
  assert.is(unused.size, 256)
  assert.is(explain(used).totals.dispatches, 1)
})

plans('gradients of the parts of a split are put together in one launch', () => {
  const x = zeros([4, 12]).requireGrad()
  const [a, b, c] = x.mul(2).contiguous().split(3, 1) as [Tensor, Tensor, Tensor]
  const loss = a.mul(b).sum().add(c.square().sum())
  const told = explain(grad(loss, x))
  assert.ok(told.totals.dispatches <= 2, String(told))
  assert.not.ok(
    told.dispatches.some((d) => d.ops.includes('pad')),
    String(told),
  )
})

plans('layers of equal shape share their kernels, wherever their parameters stand', () => {
  const net = { layers: Array.from({ length: 4 }, () => nn.linear(32, 32)) }
  optim.adamW(net)
  const y = net.layers.reduce((x, layer) => layer.call(x).gelu(), zeros([8, 32]))
  const { totals } = explain(y)
  assert.is(totals.dispatches, 4)
  assert.is(totals.pipelines, 1)
})

plans.after(() => device.destroy())
plans.run()
