/** Every op against float64 loops: values, views, gradients, second derivatives. */
import type { Case } from './case.ts'
import { attentionCases, layerCases, productCases } from './ops/linear.ts'
import { binaryCases, castCases, unaryCases } from './ops/pointwise.ts'
import { reductionCases } from './ops/reduce.ts'
import { indexCases, viewCases } from './ops/shape.ts'
import { casesOf } from './ops/table.ts'

export function cases(): Case[] {
  return casesOf([
    ...unaryCases,
    ...binaryCases,
    ...castCases,
    ...viewCases,
    ...indexCases,
    ...reductionCases,
    ...productCases,
    ...layerCases,
    ...attentionCases,
  ])
}
