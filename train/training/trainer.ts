/**
 * Student and teacher (III-D): one step is one plan: augmentation, the teacher's features, the student's forward and backward
 * pass, AdamW and the teacher's moving average.
 */
import { type AugmentTensors, augment, DIP, type DipConfig, decays } from '../../dip/index.ts'
import { after, autocast, compile, concat, Generator, grad, nn, optim, stack, type Tensor } from '../../engine/index.ts'
import { type Batch, clipTensor } from './batch.ts'
import { learningRate, type Schedule } from './schedule.ts'

export interface StepLosses {
  loss: number
  cce: number
  sti: number
  da: number
  /** Norm of the gradient before clipping. */
  gradientNorm: number
}

export type Role = 'student' | 'teacher'

/** Clips scored at once; a shorter batch is filled up, so that one plan serves all. */
const scoreBatch = 16

/** More than a step draws. */
const streamsPerStep = 2 ** 12

interface Part {
  readonly gradients: Map<string, Tensor>
  /** total, cce, sti, da */
  readonly losses: Tensor
}

export class Trainer {
  readonly student: DIP
  readonly teacher: DIP
  readonly optimizer: optim.AdamW
  readonly teacherStorage: nn.FlatParameters
  private readonly noise: Generator
  private readonly runStep: (...inputs: Tensor[]) => Promise<Tensor[]>
  private readonly scorers = new Map<Role, (clips: Tensor) => Promise<Tensor>>()

  constructor(
    readonly config: DipConfig,
    readonly seed: number,
    readonly schedule: Schedule,
  ) {
    const { lr, beta1, beta2, eps, weight_decay, clip, precision } = config.optim
    nn.seedInit(seed, config.init_std)
    this.student = new DIP(config)
    this.teacher = new DIP(config)
    this.optimizer = optim.adamW(this.student, {
      lr,
      betas: [beta1, beta2],
      epsilon: eps,
      weightDecay: weight_decay,
      clip,
      decays,
      ...(precision === 'f16' ? { scaler: optim.lossScaler() } : {}),
    })
    this.teacherStorage = nn.flatten(this.teacher)
    this.copyToTeacher()
    this.noise = new Generator(seed)
    this.runStep = compile((...inputs: Tensor[]) => [this.record(batchOf(inputs))], 'training step')
  }

  /** Records a step, which runs with the next values asked for: total, cce, sti, da and the gradient's norm before clipping, [5]. */
  record({ anchors, others, drawn: all }: Batch): Tensor {
    const batch = anchors.shape[0]!
    const micro = this.config.optim.micro || batch
    const parts: Tensor[] = []
    let done: readonly Tensor[] = []
    for (let i = 0; i < batch / micro; i++) {
      const rows = (x: Tensor, from = 0) => x.narrow(0, from + i * micro, from + (i + 1) * micro)
      const both = (x: Tensor) => (micro === batch ? x : concat([rows(x), rows(x, batch)], 0))
      // A part begins when the one before it is done with its memory.
      const [a, o] = [after(anchors, done), after(others, done)]
      const drawn = {
        ...{ order: both(all.order), taps: both(all.taps) },
        ...{ saturation: both(all.saturation), noise: both(all.noise) },
      }
      const { gradients, losses } = this.recordPart(rows(a), both(o), drawn, micro / batch)
      parts.push(losses)
      if (micro === batch) this.optimizer.step(gradients)
      else done = this.optimizer.accumulate(gradients)
    }
    if (micro !== batch) this.optimizer.step()
    optim.emaUpdate(this.teacherStorage, this.optimizer.flat, this.config.alpha)
    // One tensor: reading it is one copy.
    const losses = parts.reduce((sum, part) => sum.add(part))
    return concat([losses, this.optimizer.gradientNorm!.reshape([1])])
  }

  /** Losses [4] and gradients of A triplets (others: positives, then negatives), times their `share` of the batch. */
  private recordPart(anchors: Tensor, others: Tensor, drawn: AugmentTensors, share: number): Part {
    const a = anchors.shape[0]!
    const [, negatives] = others.split(2)
    const augmented = augment(others, drawn, this.config.augment, this.noise).contiguous()
    const forward = (model: DIP, clips: Tensor) => autocast(this.config.optim.precision, () => model.forward(clips))
    const features = forward(this.teacher, augmented).features.detach() // [2A, 2E]
    const [positive, negative] = features.split(2) as [Tensor, Tensor]

    // clean: anchors and forgeries as they are; matched: both augmented, and the anchors only feed L_sti.
    const matched = this.config.student_batch === 'matched'
    const output = forward(this.student, matched ? augmented : concat([anchors, negatives!], 0))
    const labels = [...new Array<number>(a).fill(0), ...new Array<number>(a).fill(1)]
    const anchor = matched ? { anchor: forward(this.student, anchors).features } : {}
    const { total, cce, sti, da } = this.student.losses(output, labels, { positive, negative, ...anchor })
    return {
      gradients: grad(this.optimizer.scaler?.scale(total.mul(share)) ?? total.mul(share), this.student as object),
      losses: stack([total, cce, sti, da]).mul(share),
    }
  }

  /** Makes the teacher a copy of the student: at the beginning, and when the student was given other weights. */
  copyToTeacher(): void {
    optim.copyParameters(this.teacherStorage, this.optimizer.flat)
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.optimizer.steps
  }

  async step(batch: Batch): Promise<StepLosses> {
    this.optimizer.lr = learningRate(this.schedule, this.optimizer.steps)
    // Noise by the number of the step: a run that goes on draws what it would have drawn.
    this.noise.stream = this.optimizer.steps * streamsPerStep
    const { order, taps, saturation, noise } = batch.drawn
    const [results] = await this.runStep(batch.anchors, batch.others, order, taps, saturation, noise)
    const [loss, cce, sti, da, gradientNorm] = await results!.data()
    return { loss: loss!, cce: cce!, sti: sti!, da: da!, gradientNorm: gradientNorm! }
  }

  /** Fake logits (logits[1] − logits[0]) of clips [T, M, M, 3]. */
  async logits(role: Role, clips: readonly Uint8Array[]): Promise<number[]> {
    let scorer = this.scorers.get(role)
    if (!scorer) {
      const model = role === 'student' ? this.student : this.teacher
      scorer = compile((x: Tensor) => fakeLogits(model, x), `${role} scores`)
      this.scorers.set(role, scorer)
    }
    return scoreInBatches(clips, this.config, scorer)
  }
}

/** The arguments of the compiled step as a batch. */
function batchOf(inputs: readonly Tensor[]): Batch {
  const [anchors, others, order, taps, saturation, noise] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
  return { anchors, others, drawn: { order, taps, saturation, noise } }
}

/** logits[1] − logits[0] of every clip, [B]. */
export function fakeLogits(model: DIP, clips: Tensor): Tensor {
  const { logits } = model.forward(clips)
  return logits.select(1, 1).sub(logits.select(1, 0))
}

/** Runs `scorer` over any number of clips, in batches of one shape. */
export async function scoreInBatches(
  clips: readonly Uint8Array[],
  { T, M }: Pick<DipConfig, 'T' | 'M'>,
  scorer: (clips: Tensor) => Promise<Tensor>,
): Promise<number[]> {
  const out: number[] = []
  for (let at = 0; at < clips.length; at += scoreBatch) {
    const part = clips.slice(at, at + scoreBatch)
    const filled = [...part, ...new Array<Uint8Array>(scoreBatch - part.length).fill(part[0]!)]
    const values = await (await scorer(clipTensor(filled, { frames: T, side: M }))).data()
    out.push(...values.slice(0, part.length))
  }
  return out
}
