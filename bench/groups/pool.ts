/** Directional pooling of the encoder's output: rows, columns and class token, means or maxima. */
import { directionalPool } from '../../engine/index.ts'
import { directionalPoolReference } from '../../kernels/pooling/reference.ts'
import { diptych, jax, tfjs } from '../contestants.ts'
import type { Group, Row } from '../contract.ts'
import { against, random } from '../data.ts'

function row(b: number, t: number, l: number, e: number, mode: 'mean' | 'max'): Row {
  const tokens = l * l + 1
  return {
    name: `${mode} of ${b}×${t}×${tokens}×${e}`,
    inputs: () => ({ z: random([b, t, tokens, e], 1) }),
    check: against(({ z }) => {
      const { zh, zv, zcls } = directionalPoolReference({ b, t, l, e, mode }, z!.data)
      return { rows: zh, columns: zv, cls: zcls }
    }, 1e-5),
    cost: { flops: 2 * b * t * l * l * e, bytes: 4 * (b * t * tokens * e + b * (2 * l + 1) * e) },
    unit: 'GB/s',
    contestants: [
      diptych(({ z }) => ({ ...directionalPool(z!, l, mode) })),
      tfjs((tf, { z }) => {
        const grid = tf.reshape(tf.slice(z, [0, 0, 1, 0], [b, t, l * l, e]), [b, t, l, l, e])
        const cls = tf.slice(z, [0, 0, 0, 0], [b, t, 1, e])
        return { rows: tf[mode](grid, [1, 3]), columns: tf[mode](grid, [1, 2]), cls: tf.mean(cls, 1) }
      }),
      jax(({ numpy }, { z }) => {
        const grid = z.ref.slice([], [], [1, tokens]).reshape([b, t, l, l, e])
        const cls = z.slice([], [], [0, 1])
        const rows = numpy[mode](grid.ref, [1, 3])
        return { rows, columns: numpy[mode](grid, [1, 2]), cls: numpy.mean(cls, 1) }
      }),
    ],
  }
}

export const group: Group = {
  name: 'pool',
  about: 'Z [B, T, L²+1, E] over frames and columns, over frames and rows, and the class token',
  rows: ({ software, quick }) =>
    quick
      ? [row(1, 2, 3, 8, 'mean')]
      : (['mean', 'max'] as const).map((mode) => row(software ? 1 : 16, 16, 14, 768, mode)),
}
