/** What reductions start from and how they join values, in WGSL. */
import { type DType, literal } from '../dtype.ts'
import type { ReduceOp } from '../ops/names.ts'

export const reduceIdentity = (op: ReduceOp, dtype: DType): string => {
  if (op === 'sum') return literal(0, dtype)
  if (op === 'prod') return literal(1, dtype)
  const low = op === 'max'
  if (dtype === 'i32') return literal(low ? -2147483648 : 2147483647, dtype)
  if (dtype === 'u32') return literal(low ? 0 : 4294967295, dtype)
  return literal(low ? -Infinity : Infinity, 'f32')
}

export const combine = (op: ReduceOp, a: string, b: string): string =>
  op === 'sum' ? `${a} + ${b}` : op === 'prod' ? `${a} * ${b}` : `${op}(${a}, ${b})`
