/** Batches of symmetric eigenproblems, as the diffusion map poses them. */
import { jacobiReference } from '../../kernels/jacobi/reference.ts'
import { diptych, jax } from '../contestants.ts'
import type { Check, Group, Inputs, Outputs, Row } from '../contract.ts'
import { random, relativeError } from '../data.ts'

/** Symmetric with entries in [−1, 1). */
function symmetric(batch: number, n: number): Inputs {
  const { data, shape } = random([batch, n, n], 1)
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) data[(b * n + i) * n + j] = data[(b * n + j) * n + i]!
  return { s: { data, shape } }
}

/** Rounding in f32 grows with n: about three units in the last place for each of its rows. */
const valuesLimit = (n: number): number => Math.max(5e-6, 2e-7 * n)

/** Eigenvectors are not unique, so they are checked by what they must do: QΛQᵀ = S and QᵀQ = I. */
function check(batch: number, n: number): (outputs: Outputs, inputs: Inputs) => readonly Check[] {
  let want: ArrayLike<number> | undefined
  return ({ values, vectors }, { s }) => {
    want ??= jacobiReference(s!.data, batch, n).values
    const rebuilt = new Float64Array(batch * n * n)
    const gram = new Float64Array(batch * n * n)
    const identity = new Float64Array(batch * n * n)
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          const at = (b * n + i) * n + j
          identity[at] = i === j ? 1 : 0
          for (let r = 0; r < n; r++) {
            rebuilt[at]! += vectors![(b * n + i) * n + r]! * values![b * n + r]! * vectors![(b * n + j) * n + r]!
            gram[at]! += vectors![(b * n + r) * n + i]! * vectors![(b * n + r) * n + j]!
          }
        }
    return [
      { what: 'values', error: relativeError(values, want), limit: valuesLimit(n) },
      { what: 'QΛQᵀ', error: relativeError(rebuilt, s!.data), limit: 2e-5 },
      { what: 'QᵀQ', error: relativeError(gram, identity), limit: 2e-5 },
    ]
  }
}

function row(batch: number, n: number): Row {
  return {
    name: `${batch} of ${n}×${n}`,
    inputs: () => symmetric(batch, n),
    check: check(batch, n),
    // Eight sweeps, the kernel's own count: a rotation changes 2n entries of rows, of columns and of vectors, 3 flops each.
    cost: { flops: batch * 8 * ((n * (n - 1)) / 2) * 18 * n, bytes: 4 * batch * (2 * n * n + n) },
    unit: 'GFLOP/s',
    contestants: [
      diptych(({ s }) => {
        const { values, vectors } = s!.eigh()
        return { values, vectors }
      }),
      jax(
        ({ numpy }, { s }) => {
          const [values, vectors] = numpy.linalg.eigh(s)
          return { values, vectors }
        },
        { jit: false },
      ),
    ],
  }
}

export const group: Group = {
  name: 'eigh',
  about: 'S = Q Λ Qᵀ of symmetric matrices; flops as of eight sweeps of Jacobi',
  rows: ({ software, quick }) =>
    quick ? [row(2, 7)] : [row(64, 28), ...(software ? [] : [row(1024, 28)]), row(16, 64)],
}
