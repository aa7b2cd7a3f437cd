/** MDC, the cross-direction classifier: the class tokens of both streams, judged alone and together. */
import { concat, type nn, type Tensor } from '../engine/index.ts'

export interface Classification {
  /** From both class tokens, [B, 2]; class 0 real, 1 fake. */
  readonly logits: Tensor
  readonly logitsH: Tensor
  readonly logitsV: Tensor
  /** F = [mean of R_h's tokens; mean of R_v's tokens] without the class tokens, [B, 2E]: what L_sti compares. */
  readonly features: Tensor
}

/** Heads of a classifier over streams of width E. */
export interface Heads {
  readonly head_h: nn.Linear
  readonly head_v: nn.Linear
  readonly head: nn.Linear
}

/** Normalised streams R_h, R_v [B, L+1, E], class token first. Logits are f32 also where autocast makes the heads' products halves. */
export function classify(Rh: Tensor, Rv: Tensor, { head_h, head_v, head }: Heads): Classification {
  const [ch, cv] = [Rh.select(1, 0), Rv.select(1, 0)] // [B, E] each
  const tokens = (R: Tensor) => R.narrow(1, 1).mean(1) // [B, E]
  return {
    logits: head.call(concat([ch, cv], 1)).cast('f32'), // [B, 2E] → [B, 2]
    logitsH: head_h.call(ch).cast('f32'),
    logitsV: head_v.call(cv).cast('f32'),
    features: concat([tokens(Rh), tokens(Rv)], 1), // [B, 2E]
  }
}

/** Probability of class 1 (fake), [B]. */
export const fakeProbability = (logits: Tensor): Tensor => logits.softmax().select(1, 1)
