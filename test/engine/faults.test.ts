/** What happens when something goes wrong: who is told, in which words, and that everything goes on afterwards. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  compile,
  concat,
  type Device,
  DeviceLostError,
  full,
  grad,
  LimitError,
  nn,
  OutOfMemoryError,
  openDevice,
  optim,
  ShaderError,
  Tensor,
  tensor,
  useDevice,
} from '../../engine/index.ts'
import { record } from '../../engine/ops/build.ts'
import type { CustomOp } from '../../engine/ops/custom.ts'
import { inChild } from '../support/child.ts'

const test = suite('faults')
const device = await openDevice()
const MiB = 2 ** 20

const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: Error) => error,
  )

class Net {
  fc = nn.linear(4, 2)
  call = (x: Tensor) => this.fc.call(x)
}

/** A model, its optimiser and one recorded step on x of any number of rows. */
function training() {
  nn.seedInit(3)
  const net = new Net()
  const adam = optim.adamW(net, { lr: 0.1 })
  const step = (x: Tensor) => {
    const loss = net.call(x).square().mean()
    adam.step(grad(loss, net))
    return loss
  }
  const weights = async () => (await adam.flat.read()).get('fc.weight')!.data
  return { net, adam, step, weights }
}

const rows = (n: number) =>
  tensor(
    Float32Array.from({ length: 4 * n }, (_, i) => Math.sin(i)),
    [n, 4],
  )

/** Lets the device refuse allocations that `refuses` says, as a full one does, while `work` runs. */
async function shortOfMemory<T>(on: Device, refuses: (bytes: number) => boolean, work: () => Promise<T>): Promise<T> {
  const { gpu } = on
  const [createBuffer, popErrorScope] = [gpu.createBuffer, gpu.popErrorScope]
  let refused = false
  gpu.createBuffer = (descriptor) => {
    refused = refuses(descriptor.size)
    // An invalid buffer, as the real thing: whatever uses it is refused.
    const usage = refused ? 0x01 | 0x80 : descriptor.usage
    if (!refused) return createBuffer.call(gpu, descriptor)
    gpu.pushErrorScope('validation')
    const buffer = createBuffer.call(gpu, { ...descriptor, usage })
    void popErrorScope.call(gpu)
    return buffer
  }
  gpu.popErrorScope = () => {
    const answer = popErrorScope.call(gpu)
    const lie = refused ? new GPUOutOfMemoryError('simulated') : undefined
    refused = false
    return lie ? answer.then(() => lie) : answer
  }
  try {
    return await work()
  } finally {
    gpu.createBuffer = createBuffer
    gpu.popErrorScope = popErrorScope
  }
}

test('a tensor beyond what can be bound names op, size, limit and what to do, wherever it stands', async () => {
  const limit = 128 * MiB
  const small = await openDevice({ limits: { maxStorageBufferBindingSize: limit } })
  assert.is(small.gpu.limits.maxStorageBufferBindingSize, limit)
  const rowCount = limit / 4 / 1024
  const column = rows(256).reshape([1, 1024])
  const part = (n: number) => full([n, 1024], 1).add(column)
  const leaf = () => tensor(new Float32Array(limit / 4 + 64))
  const cases: Record<string, () => Tensor> = {
    add: () => part(rowCount + 1),
    'add ': () =>
      part(rowCount + 1)
        .softmax()
        .sum(),
    matmul: () =>
      rows((rowCount + 4) / 4)
        .reshape([-1, 1])
        .matmul(column),
    'matmul ': () =>
      leaf()
        .reshape([-1, 64])
        .matmul(rows(16).reshape([64, 1]))
        .sum(),
    concat: () => concat([part(rowCount / 2), part(rowCount / 2 + 1)]).contiguous(),
    mul: () => leaf().square().sum(),
  }
  for (const [op, make] of Object.entries(cases)) {
    const error = await failure(make().data())
    assert.instance(error, LimitError, `${op}: ${error}`)
    assert.match(error.message, new RegExp(`^'[^']*${op.trim()}[^']*' needs \\d+\\.?\\d* MiB`), op)
    assert.match(error.message, /maxStorageBufferBindingSize of this device is 128 MiB\. Use a smaller micro-batch/)
  }
  const { maxBufferSize } = small.gpu.limits
  assert.throws(
    () => small.memory.create(maxBufferSize + 4, 0x80, 'a dream'),
    (e: Error) => e instanceof LimitError && /^a dream needs .* maxBufferSize/.test(e.message),
  )
  assert.is(await tensor([1, 2, 3]).sum().item(), 6)
  small.destroy()
  useDevice(device)
})

test('a run without room rejects, changes nothing, and a smaller one goes on', async () => {
  const { step, weights, adam } = training()
  await step(rows(8)).item()
  const before = await weights()
  const steps = compile(step)
  const refuses = (bytes: number) => bytes > 32 * 1024
  await device.trim()
  const ran = adam.steps
  assert.is(ran, 1)
  await shortOfMemory(device, refuses, async () => {
    for (const run of [
      () => step(rows(4096)).item(),
      () => steps(rows(4096)),
      () => device.realize([full([1 << 16], 2).node]),
    ]) {
      const error = await failure(run())
      assert.instance(error, OutOfMemoryError)
      assert.match(error.message, /out of memory allocating \d+ KiB for .* \(simulated\)\. Use a smaller micro-batch/)
      assert.ok((error as OutOfMemoryError).bytes! > 32 * 1024)
      assert.equal(await weights(), before)
      assert.is(adam.steps, ran, 'steps that ran')
    }
    await step(rows(8)).item()
  })
  const after = await weights()
  assert.not.equal(after, before)
  await (await steps(rows(4096))).item()
  assert.not.equal(await weights(), after)
  assert.is(adam.steps, 3)
  // A replay that fails counts as little as a first run that does.
  const replayed = await weights()
  await device.trim()
  await shortOfMemory(
    device,
    () => true,
    async () => {
      assert.instance(await failure(steps(rows(4096))), OutOfMemoryError)
    },
  )
  assert.is(adam.steps, 3)
  assert.equal(await weights(), replayed)
})

test('parameters without room are told of by the run that uses them', async () => {
  const values = new Float32Array(1 << 15)
  await device.trim()
  const leaf = await shortOfMemory(
    device,
    (bytes) => bytes >= 4 * values.length,
    async () => {
      const node = device.leafFrom(values, [values.length], 'f32', 'parameters')
      await device.realize([])
      return new Tensor(node)
    },
  )
  const error = await failure(leaf.sum().item())
  assert.instance(error, OutOfMemoryError, `${error}`)
  assert.match(error.message, /out of memory allocating 128 KiB for parameters/)
  assert.is(await tensor([2, 3]).sum().item(), 5)
})

test('what is kept only for speed makes room first', async () => {
  await device.trim()
  let asked = 0
  const big = full([1 << 18], 1)
    .add(rows(16).sum())
    .contiguous()
  const sum = await shortOfMemory(
    device,
    (bytes) => bytes > 512 * 1024 && asked++ === 0,
    () => big.sub(rows(16).sum()).sum().item(),
  )
  assert.ok(asked >= 2, `asked ${asked} times`)
  assert.ok(Math.abs(sum - 2 ** 18) < 1)
})

test('the null backend runs out of its 512 MiB for real', async () => {
  const small = await openDevice({ adapter: 'null' })
  const held: Tensor[] = []
  const part = () =>
    full([16 * MiB], 1)
      .add(tensor([1]))
      .realize()
  const error = await failure(
    (async () => {
      for (let i = 0; i < 12; i++) held.push(await part())
    })(),
  )
  assert.instance(error, OutOfMemoryError)
  assert.match(error.message, /allocating 64 MiB for a result of realize/)
  assert.ok(held.length >= 6 && held.length < 9, `${held.length}`)
  for (const t of held) t.dispose()
  await part()
  small.destroy()
  useDevice(device)
})

/** A user's op whose WGSL says `body`. */
const custom = (body: string): CustomOp => ({
  byIdentity: true,
  name: 'mine',
  outputs: ([x]) => [x!],
  lower: () => [
    {
      program: {
        label: 'mine',
        wgsl: `@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) id: vec3u) {
  let i = id.x;
  ${body}
}`,
        bindings: [
          { name: 'x', type: 'f32', access: 'read' },
          { name: 'y', type: 'f32', access: 'read_write' },
        ],
        uniforms: new Uint32Array(0),
        grid: [3, 1, 1],
        cost: { flops: 0, bytes: 0 },
      },
      args: [{ in: 0 }, { out: 0 }],
    },
  ],
})
const apply = (op: CustomOp, x: Tensor) => new Tensor(record('custom', [x.node], { op, attrs: {} }))

test('a shader that does not compile rejects its own run only, each time', async () => {
  const { step, weights } = training()
  await step(rows(8)).item()
  const before = await weights()
  const bad = apply(custom('y[i] = x[i] * nothing;'), tensor([1, 2, 3]))
  step(rows(8))
  for (let i = 0; i < 2; i++) {
    const error = await failure(bad.data())
    assert.instance(error, ShaderError)
    assert.match(
      error.message,
      /'mine' does not compile[\s\S]*unresolved value 'nothing'[\s\S]*y\[i\] = x\[i\] \* nothing;/,
    )
  }
  // The step recorded before was not to blame, and was done.
  assert.not.equal(await weights(), before)
  const good = apply(custom('y[i] = x[i] * 2.0;'), tensor([1, 2, 3]))
  assert.equal([...(await good.data())], [2, 4, 6])
})

test('a command that the device refuses rejects its run, and what it made is not read', async () => {
  const { gpu } = device
  const submit = gpu.queue.submit
  const x = tensor([1, 2]).add(1)
  gpu.queue.submit = (buffers) => {
    // A buffer that cannot be: reported to nobody in particular.
    gpu.createBuffer({ size: 4, usage: 0x01 | 0x80 })
    submit.call(gpu.queue, buffers)
  }
  const error = await failure(device.realize([x.node], 'my step'))
  gpu.queue.submit = submit
  assert.match(error.message, /The GPU refused my step: /)
  assert.equal([...(await x.data())], [2, 3])
})

test('a lost device ends everything under way, says what ran, and refuses what follows', async () => {
  const lost = await openDevice()
  const { step } = training()
  const steps = compile(step, 'training step')
  await (await steps(rows(8))).item()
  const slow = full([256, 4096], 1).contiguous()
  const work = [
    () => slow.matmul(slow.transpose()).matmul(slow).sum().item(),
    () => steps(rows(8)),
    () => rows(8).sum().item(),
    () => lost.settled(),
  ]
  const pending = work.map((run) => failure(run()))
  await new Promise((resolve) => setTimeout(resolve, 5))
  lost.gpu.destroy()
  const errors = await Promise.all(pending)
  for (const error of errors) {
    assert.instance(error, DeviceLostError, `${error}`)
    assert.match(error.message, /lost while running read of f32\[\].*open a new device/)
  }
  for (const run of work) assert.instance(await failure(run()), DeviceLostError)
  assert.throws(() => lost.leafFrom([1], [1]), /lost/)

  const again = await openDevice()
  assert.is((await rows(2).square().sum().item()) > 0, true)
  // Tensors of the lost device are not mistaken for those of the new one.
  assert.match((await failure(step(rows(8)).item())).message, /belongs to another device|lost/)
  again.destroy()
  useDevice(device)
})

test('a device lost while a replay runs or a value is read back', async () => {
  for (const moment of ['submit', 'mapAsync']) {
    const lost = await openDevice()
    const { step } = training()
    const steps = compile(step, 'training step')
    await (await steps(rows(8))).item()
    if (moment === 'submit') {
      const submit = lost.gpu.queue.submit
      lost.gpu.queue.submit = (buffers) => {
        submit.call(lost.gpu.queue, buffers)
        lost.gpu.destroy()
      }
    } else {
      const map = GPUBuffer.prototype.mapAsync
      GPUBuffer.prototype.mapAsync = function (...args) {
        GPUBuffer.prototype.mapAsync = map
        const mapped = map.apply(this, args)
        lost.gpu.destroy()
        return mapped
      }
    }
    const error = await failure(steps(rows(8)).then((t) => t.item()))
    assert.instance(error, DeviceLostError, `${moment}: ${error}`)
    assert.match(error.message, moment === 'submit' ? 'while running training step' : 'while running read of f32[]')
  }
  useDevice(device)
})

test('two devices keep to their own', async () => {
  const other = await openDevice()
  const there = new Tensor(other.leafFrom([1, 2, 3], [3]))
  assert.is(await there.sum().item(), 6)
  useDevice(device)
  const here = new Tensor(device.leafFrom([4, 5, 6], [3]))
  assert.is(await here.sum().item(), 15)
  assert.match((await failure(here.add(there).data())).message, /f32\[3\] belongs to another device.*useDevice/)
  assert.match((await failure(there.data())).message, /belongs to another device/)
  useDevice(other)
  assert.equal([...(await there.data())], [1, 2, 3])
  other.destroy()
  useDevice(device)
})

const head = `import { openDevice, tensor, full } from './engine/index.ts'
  process.on('unhandledRejection', (e) => { console.log('unhandled', e); process.exit(9) })
  const device = await openDevice()
  const x = full([512, 512], 1).add(tensor([1]))
`

test('a process ends by itself: after its work, after an error, with reads nobody waits for, and without a device', async () => {
  const [done, thrown, unread, destroyed] = await Promise.all([
    inChild(`${head} console.log(await x.matmul(x).sum().item())`),
    inChild(`${head} const read = x.matmul(x).data(); throw new Error('halfway')`),
    inChild(
      `${head} void x.matmul(x).data(); void x.sum().item(); void device.realize([x.exp().node]); console.log('left')`,
    ),
    inChild(`${head} const reads = [x.matmul(x).data(), x.sum().item(), device.settled()].map((p) => p.catch((e) => e.name))
      await new Promise((resolve) => setTimeout(resolve, 1)); device.gpu.destroy()
      console.log((await Promise.all(reads)).join())`),
  ])
  assert.is(done.code, 0, done.err)
  assert.is(Number(done.out), 512 ** 3 * 4)
  assert.is(thrown.code, 1)
  assert.match(thrown.err, 'halfway')
  assert.is(unread.code, 0, unread.err)
  assert.is(unread.out, 'left')
  assert.is(destroyed.code, 0, destroyed.err)
  assert.is(destroyed.out, 'DeviceLostError,DeviceLostError,DeviceLostError')
})

test.after(() => device.destroy())
test.run()
