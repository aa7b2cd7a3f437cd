/**
 * Mixed precision by policy, after torch.autocast. Inside `autocast('f16', fn)` matrix products, attention and convolutions read their
 * operands in half precision and give half precision; sums in them are f32 as everywhere. Softmax, LayerNorm, exp, log, powers and
 * reductions widen what they are given and stay f32. Parameters stay f32: their half-precision copies are made once per step, and
 * gradients return to them in f32. Other ops follow their operands: f16 with f16 gives f16, f16 with f32 gives f32.
 *
 * The policy acts on what is recorded while `fn` runs, as casts in the graph; gradients follow the dtypes recorded. Types do not know
 * it: what the compiler calls a Tensor<'f32'> may hold halves. Call a loss outside, on values cast back: `logits.cast('f32')`.
 *
 *     const logits = autocast('f16', () => model.call(x)).cast('f32')
 */
import type { FloatDType } from './dtype.ts'

let current: FloatDType = 'f32'

/** Whether what is recorded now goes by the half-precision policy. */
export const castsToHalf = (): boolean => current === 'f16'

/** Records `fn` under the policy; 'f32' switches an outer one off. @throws Error when `fn` is asynchronous */
export function autocast<R>(dtype: FloatDType, fn: () => R): R {
  const outer = current
  current = dtype
  try {
    const result = fn()
    if (result instanceof Promise)
      throw new Error('autocast: fn must record at once, it returned a promise; await inside is not covered')
    return result
  } finally {
    current = outer
  }
}
