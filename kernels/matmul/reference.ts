/** The product as plain loops summing in float64, and what a product costs at least. */
import type { Cost } from '../kernel.ts'
import { floatBytes } from '../storage.ts'
import { batchCount, type MatmulOperand, type MatmulProblem } from './problem.ts'

/** Offset of matrix `index` (linear batch index) of an operand. */
function matrixOffset(batch: readonly number[], operand: MatmulOperand, index: number): number {
  let offset = operand.offset
  for (let dim = batch.length - 1; dim >= 0; dim--) {
    offset += (index % batch[dim]!) * operand.batchStrides[dim]!
    index = Math.floor(index / batch[dim]!)
  }
  return offset
}

/** A·B in float64, [batch…, m, n], without the epilogue. `a` and `b` are the whole buffers the operands point into. */
export function matmulReference(problem: MatmulProblem, a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  const { m, n, k } = problem
  const c = new Float64Array(batchCount(problem) * m * n)
  let at = 0
  for (let batch = 0; batch < batchCount(problem); batch++) {
    const aOffset = matrixOffset(problem.batch, problem.a, batch)
    const bOffset = matrixOffset(problem.batch, problem.b, batch)
    for (let row = 0; row < m; row++) {
      for (let col = 0; col < n; col++) {
        let sum = 0
        for (let i = 0; i < k; i++)
          sum +=
            a[aOffset + row * problem.a.rowStride + i * problem.a.colStride]! *
            b[bOffset + i * problem.b.rowStride + col * problem.b.colStride]!
        c[at++] = sum
      }
    }
  }
  return c
}

/** Flops of the product and its epilogue; bytes with broadcast operands counted once, the epilogue's inputs left out. */
export function matmulCost(problem: MatmulProblem): Cost {
  const { m, n, k, batch } = problem
  const outputs = batchCount(problem) * m * n
  const matrices = ({ batchStrides }: MatmulOperand): number =>
    batch.reduce((count, size, dim) => (batchStrides[dim] === 0 ? count : count * size), 1)
  return {
    flops: outputs * (2 * k + (problem.epilogue?.flopsPerOutput ?? 0)),
    bytes:
      floatBytes(problem.a.type ?? 'f32') * matrices(problem.a) * m * k +
      floatBytes(problem.b.type ?? 'f32') * matrices(problem.b) * k * n +
      floatBytes(problem.output ?? 'f32') * outputs,
  }
}
