/**
 * Student and teacher (III-D): one step is one plan: augmentation, the teacher's features, the student's forward and backward
 * pass, AdamW and the teacher's moving average.
 */
import { augment, DIP, type DipConfig } from '../../dip/index.ts'
import { compile, concat, Generator, grad, nn, optim, type Tensor } from '../../engine/index.ts'
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
    const { lr, beta1, beta2, eps, weight_decay, clip } = config.optim
    nn.seedInit(seed, config.init_std)
    this.student = new DIP(config)
    this.teacher = new DIP(config)
    this.optimizer = optim.adamW(this.student, {
      lr,
      betas: [beta1, beta2],
      epsilon: eps,
      weightDecay: weight_decay,
      clip,
    })
    this.teacherStorage = nn.flatten(this.teacher)
    optim.copyParameters(this.teacherStorage, this.optimizer.flat)
    this.noise = new Generator(seed)
    this.runStep = compile((...inputs: Tensor[]) => this.recordStep(inputs), 'training step')
  }

  private recordStep([anchors, others, order, taps, saturation, noise]: Tensor[]): Tensor[] {
    const a = anchors!.shape[0]!
    const [, negatives] = others!.split(2)
    const augmented = augment(
      others!,
      { order: order!, taps: taps!, saturation: saturation!, noise: noise! },
      this.config.augment,
      this.noise,
    ).contiguous()
    const features = this.teacher.forward(augmented).features.detach() // [2A, 2E]
    const [positive, negative] = features.split(2) as [Tensor, Tensor]

    // clean: anchors and forgeries as they are; matched: both augmented, and the anchors only feed L_sti.
    const matched = this.config.student_batch === 'matched'
    const output = this.student.forward(matched ? augmented : concat([anchors!, negatives!], 0))
    const labels = [...new Array<number>(a).fill(0), ...new Array<number>(a).fill(1)]
    const anchor = matched ? { anchor: this.student.forward(anchors!).features } : {}
    const losses = this.student.losses(output, labels, { positive, negative, ...anchor })

    this.optimizer.step(grad(losses.total, this.student))
    optim.emaUpdate(this.teacherStorage, this.optimizer.flat, this.config.alpha)
    return [losses.total, losses.cce, losses.sti, losses.da, this.optimizer.gradientNorm!]
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.optimizer.steps
  }

  async step(batch: Batch): Promise<StepLosses> {
    this.optimizer.lr = learningRate(this.schedule, this.optimizer.steps)
    const { order, taps, saturation, noise } = batch.drawn
    const results = await this.runStep(batch.anchors, batch.others, order, taps, saturation, noise)
    const [loss, cce, sti, da, gradientNorm] = await Promise.all(results.map((t) => t.item()))
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
