/** `wgslOf(t)`: the final source of every kernel that computing tensors would run. */
import type { Program } from '../../kernels/kernel.ts'
import { getDevice } from '../runtime/current.ts'
import type { Device } from '../runtime/device.ts'
import type { HasNode } from './subject.ts'

const head = ({ label, grid }: Program, ops: string) => `// ${label}: ${ops}; grid ${grid.join(' × ')}`

/** WGSL of the plan of tensors that are not computed yet, in the order of its launches, each source once. Nothing runs. */
export async function wgslOf(tensors: HasNode | readonly HasNode[], device?: Device): Promise<string> {
  const list = 'node' in tensors ? [tensors] : tensors
  const { steps } = (device ?? (await getDevice())).plan(list.map((t) => t.node))
  const sources = new Map<string, string[]>()
  for (const { program, ops } of steps) {
    const heads = sources.get(program.wgsl) ?? []
    sources.set(program.wgsl, [...heads, head(program, ops)])
  }
  return [...sources].map(([wgsl, heads]) => `${heads.join('\n')}\n${wgsl.trim()}\n`).join('\n')
}
