/** What a model costs on this device: one clip forward, or a training step of it; `diptych measure` shows it. */
import { DIP, type DipConfig, decays } from '../dip/index.ts'
import { type Device, grad, HostRandom, nn, optim, type Tensor, tensor } from '../engine/index.ts'

export interface Measured {
  readonly parameters: number
  /** Of one run, the first, compiling included, and of a second one. Seconds. */
  readonly firstSeconds: number
  readonly seconds: number
  /** As the plan's launches state them. */
  readonly flops: number
  readonly launches: number
  /** Largest sum of intermediates alive at once. */
  readonly activationBytes: number
  /** Parameters, and in training gradients' state: what stays between runs. */
  readonly stateBytes: number
  /** Most that the device held at once, of everything. */
  readonly peakBytes: number
  /** Loss of a training step, or the fake probability. */
  readonly value: number
}

/** Forward pass of one clip of noise, or with `train` a step: losses, every gradient, AdamW. */
export async function measure(device: Device, config: DipConfig, train: boolean): Promise<Measured> {
  const random = new HostRandom(1)
  nn.seedInit(1, config.init_std)
  const model = new DIP(config)
  const optimizer = train ? optim.adamW(model, { lr: config.optim.lr, clip: config.optim.clip, decays }) : undefined
  if (!optimizer) nn.flatten(model)
  const { T, M, E } = config
  const noise = (count: number) => Float32Array.from({ length: count }, () => random.uniform())
  const pixels = noise(T * M * M * 3)
  const features = [noise(2 * E), noise(2 * E)] as const
  const record = (): Tensor => {
    const clip = tensor(pixels, [1, T, M, M, 3])
    const output = model.forward(clip)
    if (!optimizer) return output.logits.softmax().select(1, 1)
    const [positive, negative] = features.map((f) => tensor(f, [1, 2 * E])) as [Tensor, Tensor]
    const losses = model.losses(output, [0], { positive, negative })
    optimizer.step(grad(losses.total, model as object))
    return losses.total
  }
  await device.realize([])
  const stateBytes = device.stats.ownedBytes
  const timed = async () => {
    const wanted = record()
    const plan = device.plan([wanted.node])
    const began = performance.now()
    const [value] = await wanted.data()
    await device.settled()
    return { plan, value: value!, seconds: (performance.now() - began) / 1000 }
  }
  const first = await timed()
  const second = await timed()
  return {
    parameters: nn.parameters(model).reduce((sum, p) => sum + p.size, 0),
    firstSeconds: first.seconds,
    seconds: second.seconds,
    flops: first.plan.steps.reduce((sum, { program }) => sum + program.cost.flops, 0),
    launches: first.plan.steps.length,
    activationBytes: first.plan.peakLiveBytes,
    stateBytes,
    peakBytes: device.stats.peakBytes,
    value: second.value,
  }
}
