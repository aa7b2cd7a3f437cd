/** Batched matrix product C = A·B. */
import type { Capabilities, Variant } from '../kernel.ts'
import type { MatmulProblem } from './problem.ts'
import { type RegisterShape, registerProgram } from './register.ts'
import { splitBytes, splitProgram } from './splitk.ts'
import { subgroupProgram, subgroupUsable } from './subgroup.ts'
import { tiledBytes, tiledProgram, tiledShapes } from './tiled.ts'

export { matmulCost, matmulReference } from './reference.ts'
export type { MatmulOperand, MatmulProblem } from './problem.ts'

export function matmulVariants(problem: MatmulProblem, caps: Capabilities): Variant[] {
  const register = (shape: RegisterShape): Variant => ({
    name: `register.${shape.rows}x${4 * shape.groups}`,
    program: () => registerProgram(problem, caps, shape),
  })
  const out: Variant[] = []
  if (subgroupUsable(caps)) for (const rows of [8, 4] as const) out.push({ name: `subgroup.${rows}`, program: () => subgroupProgram(problem, caps, rows) })
  out.push(register({ rows: 4, groups: 1 }), register({ rows: 8, groups: 1 }), register({ rows: 4, groups: 2 }))
  for (const [size, shape] of Object.entries(tiledShapes))
    if (tiledBytes(shape) <= caps.maxWorkgroupBytes) out.push({ name: `tiled.${size}`, program: () => tiledProgram(problem, caps, shape) })
  if (splitBytes <= caps.maxWorkgroupBytes) for (const side of [4, 2] as const) out.push({ name: `split.${side}`, program: () => splitProgram(problem, caps, side) })
  return out
}
