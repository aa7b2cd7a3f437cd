/** A benchmark group whose one contestant computes something else than it should. */
import { diptych } from '../../bench/contestants.ts'
import type { Group } from '../../bench/contract.ts'
import { against, random } from '../../bench/data.ts'

export const group: Group = {
  name: 'wrong',
  about: 'y = 2x, claimed to be 3x',
  rows: () => [
    {
      name: 'tripled',
      inputs: () => ({ x: random([64], 1) }),
      check: against(({ x }) => ({ y: x!.data.map((value) => 3 * value) }), 1e-6),
      cost: { flops: 64, bytes: 512 },
      unit: 'GB/s',
      contestants: [
        diptych(({ x }) => ({ y: x!.mul(2) })),
        diptych(({ x }) => ({ y: x!.mul(3) }), { variant: 'right' }),
        diptych(({ x }) => ({ y: x!.mul(Number.NaN) }), { variant: 'NaN' }),
      ],
    },
  ],
}
