/** How many storage buffers a launch binds. */
import type { OutputSpec } from '../graph.ts'
import { specOf } from './emit.ts'
import type { Launch } from './launches.ts'
import type { Placement } from './placement.ts'

export function bindingCount(launch: Launch, placed: ReadonlyMap<OutputSpec, Placement>): number {
  const written = new Set(launch.writes.map((w) => placed.get(specOf(w))?.container.outputs[0] ?? specOf(w)))
  return launch.readBindings + written.size
}
