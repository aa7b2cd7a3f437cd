/** The training step that the engine is measured by: one pre-norm ViT block, mean squared error, AdamW, and an EMA teacher. */
import { grad, nn, optim, type Tensor, tensor } from '../../engine/index.ts'
import { randomArray } from './program.ts'

export interface BlockShape {
  readonly batch: number
  readonly tokens: number
  readonly width: number
  readonly heads: number
}

/** The block that peers are compared on: as in ViT-Ti, 14² patches. */
export const vitTiny: BlockShape = { batch: 4, tokens: 196, width: 192, heads: 3 }

export interface BlockStep {
  readonly student: nn.TransformerBlock
  readonly adam: optim.AdamW
  readonly teacher: nn.FlatParameters
  /** Records one step: loss of (x, target), gradient, AdamW, and the teacher's average unless left out. */
  step(x: Tensor, target: Tensor): Tensor
  /** New input and target tensors [batch, tokens, width]. */
  data(): [Tensor, Tensor]
}

/** On the default device. */
export function blockStep({ batch, tokens, width, heads }: BlockShape = vitTiny, ema = true): BlockStep {
  nn.seedInit(7)
  const student = new nn.TransformerBlock(width, heads)
  const adam = optim.adamW(student, { lr: 1e-3, weightDecay: 0.05, clip: 1 })
  const teacher = nn.flatten(new nn.TransformerBlock(width, heads))
  optim.copyParameters(teacher, adam.flat)
  const shape = [batch, tokens, width]
  const count = batch * tokens * width
  const [x, target] = [randomArray(count, 1), randomArray(count, 2)]
  return {
    student,
    adam,
    teacher,
    step(input, wanted) {
      const loss = student.call(input).sub(wanted).square().mean()
      adam.step(grad(loss, student))
      if (ema) optim.emaUpdate(teacher, adam.flat, 0.99)
      return loss
    },
    data: () => [tensor(x, shape), tensor(target, shape)],
  }
}
