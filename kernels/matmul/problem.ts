/** What a matrix product is asked for: sizes, strides, batch dimensions and the tail applied before C is stored. */
import type { Epilogue } from '../kernel.ts'
import type { FloatType } from '../storage.ts'

/** Where an operand's elements lie; all strides and the offset count elements, not bytes. */
export interface MatmulOperand {
  /** One stride a batch dimension, 0 where the operand is broadcast. */
  readonly batchStrides: readonly number[]
  /** A [m, k]: stride along m. B [k, n]: stride along k. */
  readonly rowStride: number
  /** A [m, k]: stride along k. B [k, n]: stride along n. */
  readonly colStride: number
  readonly offset: number
  /** Default f32. */
  readonly type?: FloatType
}

/** C[batch…, m, n] = epilogue(Σ_k A[batch…, m, k] · B[batch…, k, n]); C is contiguous, every size at least 1. Sums are f32. */
export interface MatmulProblem {
  /** At most 3 batch dimensions. */
  readonly batch: readonly number[]
  readonly m: number
  readonly n: number
  readonly k: number
  readonly a: MatmulOperand
  readonly b: MatmulOperand
  /** Element type of C; default f32. */
  readonly output?: FloatType
  /**
   * `wgsl` defines `fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f` for the four outputs at columns
   * col … col + 3 (col is a multiple of 4, batch the linear batch index). Columns from n on may be passed; what is
   * returned for them is dropped. Rows are always inside C.
   */
  readonly epilogue?: Epilogue
}

/** Matrices in the batch. */
export const batchCount = (problem: MatmulProblem): number => problem.batch.reduce((a, b) => a * b, 1)
