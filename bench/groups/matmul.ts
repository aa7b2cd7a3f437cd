/** Matrix products: DIP's projections and MLP, a batch of attention scores, and the square one that everybody shows. */
import { diptych, jax, onnx, tfjs } from '../contestants.ts'
import type { Group, Row } from '../contract.ts'
import { against, product, random } from '../data.ts'

function row(m: number, k: number, n: number, batch = 0): Row {
  const lead = batch ? [batch] : []
  const count = Math.max(batch, 1)
  const inputs = () => ({ a: random([...lead, m, k], 1), b: random([...lead, k, n], 2) })
  return {
    name: batch ? `${batch}×${m}×${k}×${n}` : m === k && k === n ? `${m}³` : `${m}×${k}×${n}`,
    inputs,
    check: against(({ a, b }) => {
      const c = new Float64Array(count * m * n)
      for (let i = 0; i < count; i++) {
        const [left, right] = [
          a!.data.subarray(i * m * k, (i + 1) * m * k),
          b!.data.subarray(i * k * n, (i + 1) * k * n),
        ]
        c.set(product(left, right, m, n, k), i * m * n)
      }
      return { c }
    }, 3e-6),
    cost: { flops: 2 * count * m * n * k, bytes: 4 * count * (m * k + k * n + m * n) },
    unit: 'GFLOP/s',
    contestants: [
      diptych(({ a, b }) => ({ c: a!.matmul(b!) })),
      tfjs((tf, { a, b }) => ({ c: tf.matMul(a, b) })),
      jax(({ numpy }, { a, b }) => ({ c: numpy.matmul(a, b) })),
      onnx((graph) => {
        graph.output(graph.node('MatMul', ['a', 'b'], {}, 'c'), [...lead, m, n])
      }),
    ],
  }
}

export const group: Group = {
  name: 'matmul',
  about: 'C = A·B, f32; batched as batch×m×k×n',
  rows: ({ software, quick }) =>
    quick
      ? [row(64, 64, 64)]
      : [
          row(512, 512, 512),
          row(197, 768, 768),
          row(software ? 788 : 3152, 768, 3072),
          row(3152, 768, 768),
          row(197, 64, 197, 12),
        ],
}
