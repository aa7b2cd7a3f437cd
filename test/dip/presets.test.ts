/** Every preset is planned and every one of its kernels compiles, without a GPU: Dawn's null backend runs nothing. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createDip, type PresetName } from '../../dip/index.ts'
import { grad, nn, openDevice, tensor } from '../../engine/index.ts'

const presets = suite('presets')
const device = await openDevice({ adapter: 'null' })

type Preset = NonNullable<Parameters<typeof createDip>[0]>

/** Plan of losses and every gradient of one clip. */
function planOf(given: Preset) {
  // Only shapes matter: zeros cost nothing to draw.
  nn.seedInit(1, 0)
  const model = createDip(given)
  const { T, M } = model.config
  const output = model.forward(tensor(new Float32Array(T * M * M * 3), [1, T, M, M, 3]))
  const features = output.features.detach()
  const { total } = model.losses(output, [0], { positive: features, negative: features })
  const grads = grad(total, model)
  const plan = device.plan([total, ...grads.values()].map((t) => t.node))
  return { plan, slotBytes: plan.slots.reduce((a, b) => a + b, 0) }
}

for (const preset of ['tiny', 'micro', 'small', 'base'] as const satisfies PresetName[])
  presets(`${preset}: forward, losses and every gradient compile`, async () => {
    const { plan, slotBytes } = planOf({ preset })
    const programs = new Map(plan.steps.map(({ program }) => [program.wgsl, program]))
    await Promise.all([...programs.values()].map((program) => device.pipelines.get(program)))

    const { maxStorageBuffers, maxGrid } = device.caps
    for (const { program, args, ops } of plan.steps) {
      assert.is(args.length, program.bindings.length, ops)
      assert.ok(args.length <= maxStorageBuffers, `${ops} binds ${args.length} buffers of ${maxStorageBuffers}`)
      assert.ok(
        program.grid.every((n) => n >= 1 && n <= maxGrid),
        `${ops} has a grid of ${program.grid}`,
      )
    }
    assert.ok(programs.size > 50, `${programs.size} kernels`)
    // A slot is a whole buffer: little more than what is alive at once.
    assert.ok(slotBytes <= 1.1 * plan.peakLiveBytes, `${slotBytes} bytes of slots for ${plan.peakLiveBytes} alive`)
  })

presets('base takes a fifth of the memory when blocks are computed again in the backward pass', () => {
  const plain = planOf({ preset: 'base' })
  const again = planOf({ preset: 'base', 'encoder.checkpoint': true })
  const [kept, recomputed] = [plain.plan.peakLiveBytes, again.plan.peakLiveBytes]
  assert.ok(recomputed < 0.2 * kept, `${recomputed} of ${kept} bytes`)
  assert.ok(again.slotBytes <= 1.2 * recomputed, `${again.slotBytes} bytes of slots for ${recomputed} alive`)
  const flops = ({ plan }: typeof plain) => plan.steps.reduce((sum, { program }) => sum + program.cost.flops, 0)
  const more = flops(again) / flops(plain)
  assert.ok(more > 1.1 && more < 4 / 3, `${more} times the arithmetic`)
})

presets.after(() => device.destroy())
presets.run()
