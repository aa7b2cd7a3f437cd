/** Every op against float64 loops: values, views, gradients, second derivatives. */
import type { Case } from './case.ts'
import { effectCases } from './ops/effects.ts'
import { graphCases } from './ops/graphs.ts'
import { attentionCases, layerCases, productCases } from './ops/linear.ts'
import { binaryCases, castCases, unaryCases } from './ops/pointwise.ts'
import { randomCases } from './ops/random.ts'
import { reductionCases } from './ops/reduce.ts'
import { indexCases, viewCases } from './ops/shape.ts'
import { spectralCases } from './ops/spectral.ts'
import { casesOf, everyOp } from './ops/table.ts'
import { integerCases, windowCases } from './ops/windows.ts'

export function cases(): Case[] {
  const tables = casesOf([
    ...unaryCases,
    ...binaryCases,
    ...castCases,
    ...viewCases,
    ...indexCases,
    ...reductionCases,
    ...productCases,
    ...layerCases,
    ...attentionCases,
    ...windowCases,
    ...integerCases,
    ...spectralCases,
    ...randomCases,
    ...graphCases,
  ])
  return [...tables, ...effectCases, everyOp]
}
