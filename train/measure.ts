/** What a model costs on this device: clips forward, or a training step of them; `diptych measure` shows it. */
import { DIP, type DipConfig, decays } from '../dip/index.ts'
import { type Device, grad, HostRandom, nn, optim, type Tensor, tensor } from '../engine/index.ts'

export interface Planned {
  readonly parameters: number
  /** As the plan's launches state them. */
  readonly flops: number
  readonly launches: number
  /** Largest sum of intermediates alive at once, gradients among them. */
  readonly activationBytes: number
  /** Parameters, and in training moments: what stays between runs. */
  readonly stateBytes: number
}

export interface Measured extends Planned {
  /** Of one run, the first, compiling included, and of a second one. Seconds. */
  readonly firstSeconds: number
  readonly seconds: number
  /** Most that the device held at once, of everything. */
  readonly peakBytes: number
  /** Loss of a training step, or the first clip's fake probability. */
  readonly value: number
}

export interface MeasureOptions {
  /** A step: losses, every gradient, AdamW; else a forward pass. */
  readonly train?: boolean
  /** At once; real and forged in turn. Default 1. */
  readonly clips?: number
}

/** A model of noise, and how a run of it is recorded. */
async function prepare(device: Device, config: DipConfig, { train = false, clips = 1 }: MeasureOptions) {
  const random = new HostRandom(1)
  nn.seedInit(1, config.init_std)
  const model = new DIP(config)
  const optimizer = train ? optim.adamW(model, { lr: config.optim.lr, clip: config.optim.clip, decays }) : undefined
  if (!optimizer) nn.flatten(model)
  const { T, M, E } = config
  const noise = (count: number) => Float32Array.from({ length: count }, () => random.uniform())
  const pixels = noise(clips * T * M * M * 3)
  const labels = Array.from({ length: clips }, (_, i) => i % 2)
  const anchors = Math.ceil(clips / 2)
  const features = [noise(anchors * 2 * E), noise(anchors * 2 * E)] as const
  const record = (): Tensor => {
    const output = model.forward(tensor(pixels, [clips, T, M, M, 3]))
    if (!optimizer) return output.logits.softmax().select(1, 1)
    const [positive, negative] = features.map((f) => tensor(f, [anchors, 2 * E])) as [Tensor, Tensor]
    const losses = model.losses(output, labels, { positive, negative })
    optimizer.step(grad(losses.total, model as object))
    return losses.total
  }
  await device.realize([])
  const parameters = nn.parameters(model).reduce((sum, p) => sum + p.size, 0)
  return { record, parameters, stateBytes: device.stats.ownedBytes }
}

const costsOf = (plan: ReturnType<Device['plan']>) => ({
  flops: plan.steps.reduce((sum, { program }) => sum + program.cost.flops, 0),
  launches: plan.steps.length,
  activationBytes: plan.peakLiveBytes,
})

/** What a run would take, without running it. */
export async function planned(device: Device, config: DipConfig, options: MeasureOptions = {}): Promise<Planned> {
  const { record, parameters, stateBytes } = await prepare(device, config, options)
  return { parameters, stateBytes, ...costsOf(device.plan([record().node])) }
}

/** What a run took. */
export async function measure(device: Device, config: DipConfig, options: MeasureOptions = {}): Promise<Measured> {
  const { record, parameters, stateBytes } = await prepare(device, config, options)
  const timed = async () => {
    const wanted = record()
    const plan = device.plan([wanted.node])
    const began = performance.now()
    const value = (await wanted.data())[0]!
    await device.settled()
    return { plan, value, seconds: (performance.now() - began) / 1000 }
  }
  const first = await timed()
  const second = await timed()
  return {
    ...{ parameters, stateBytes },
    ...costsOf(first.plan),
    firstSeconds: first.seconds,
    seconds: second.seconds,
    peakBytes: device.stats.peakBytes,
    value: second.value,
  }
}
