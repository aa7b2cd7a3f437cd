/**
 * A training step in its steady state (forward, backward, AdamW, EMA of a ViT block) makes no GPU object and one submit, in which the
 * loss travels home. WebGPU's own methods are counted, on Dawn's null backend: what they would do does not matter here.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { compile, openDevice, type Tensor, tensor } from '../../engine/index.ts'
import { countGpuCalls, type GpuCalls } from '../support/gpu-calls.ts'
import { blockStep } from '../support/vit-block.ts'

const steady = suite('steady state')
const device = await openDevice({ adapter: 'null' })
const calls = countGpuCalls(device.gpu)

/** What one step may ask for: its inputs written, one command buffer, one map of the loss. */
const allowed = (writes: number): GpuCalls => ({
  createBuffer: 0,
  createBindGroup: 0,
  createBindGroupLayout: 0,
  createPipelineLayout: 0,
  createComputePipeline: 0,
  createComputePipelineAsync: 0,
  createShaderModule: 0,
  createQuerySet: 0,
  createCommandEncoder: 1,
  submit: 1,
  writeBuffer: writes,
  mapAsync: 1,
})

steady('the counter sees what is made', async () => {
  calls.take()
  await tensor([1, 2, 3]).exp().sum().item()
  const seen = calls.take()
  for (const name of ['createBuffer', 'createBindGroup', 'createShaderModule', 'submit', 'mapAsync'] as const)
    assert.ok(seen[name] > 0, name)
})

for (const form of ['recorded', 'compiled'] as const)
  steady(`${form}: no GPU object after the second step, one submit each`, async () => {
    const { step, data } = blockStep()
    await device.realize([])
    const go = form === 'compiled' ? compile(step) : async (x: Tensor, target: Tensor) => step(x, target)
    const once = async () => {
      const loss = await go(...data())
      await loss.item()
    }
    for (let i = 0; i < 2; i++) await once()
    const plans = device.plansBuilt
    for (let i = 0; i < 6; i++) {
      calls.take()
      await once()
      // Input, target, and the optimiser's settings.
      assert.equal(calls.take(), allowed(3), `step ${i + 2}`)
    }
    assert.is(device.plansBuilt, plans)
  })

steady('losses that are read late, or never, cost nothing more', async () => {
  const { step, data } = blockStep({ batch: 1, tokens: 4, width: 12, heads: 3 })
  const go = compile(step)
  const kept: Tensor[] = []
  for (let i = 0; i < 3; i++) kept.push(await go(...data()))
  await kept[0]!.item()
  // More runs than copies wait for: the old ones are read from their buffers, with a submit of their own.
  for (let i = 0; i < 8; i++) (await go(...data())).dispose()
  calls.take()
  await kept[1]!.item()
  await kept[2]!.item()
  const seen = calls.take()
  assert.equal([seen.submit, seen.mapAsync], [2, 2])
  assert.is(await kept[1]!.item(), await kept[1]!.item())
})

steady.after(() => device.destroy())
steady.run()
