/**
 * What kernels over the last axis share: how a row is dealt to lanes, and how lanes reduce.
 *
 * `lanes` invocations (a power of two) work on one row, interleaved by one element or one vec4; a workgroup of `threads`
 * holds threads / lanes rows. A short row is kept in registers (`kept` of its elements a lane), a long one is read again
 * in every pass. Sums are trees of fixed shape: the same inputs give the same bits.
 */
import type { Binding, Capabilities } from '../kernel.ts'
import { ceilDiv, foldGrid } from '../kernel.ts'
import { enableHalf, type FloatArray, type FloatType, floatArray } from '../storage.ts'

export interface RowProblem {
  /** Rows to work on, 1 ≤ rows. */
  readonly rows: number
  /** Elements a row, 1 ≤ width. */
  readonly width: number
}

export interface RowLayout {
  readonly name: string
  readonly lanes: number
  readonly threads: number
  /** Elements are vec4f: the width is a multiple of 4. */
  readonly vector: boolean
  /** Elements of a row that a lane keeps in registers; 0: every pass reads memory. */
  readonly kept: number
  /** The workgroup is exactly one subgroup, which reduces without workgroup memory. */
  readonly subgroup: boolean
}

const mostKept = 8

/** Layouts worth measuring, the best guess first. */
export function rowLayouts(problem: RowProblem, caps: Capabilities): RowLayout[] {
  const vector = problem.width % 4 === 0
  const elements = vector ? problem.width / 4 : problem.width
  const layouts: RowLayout[] = []
  const add = (lanes: number, threads: number, subgroup = false): void => {
    if (threads > caps.maxInvocations || (!subgroup && lanes > 1 && threads * 4 > caps.maxWorkgroupBytes)) return
    const needed = ceilDiv(elements, lanes)
    for (const kept of needed <= mostKept ? [needed, 0] : [0]) {
      const name = `${subgroup ? 'subgroup' : 'lanes'}${lanes}x${threads / lanes}${vector ? '.vec4' : ''}${kept ? '.kept' : ''}`
      if (!layouts.some((l) => l.name === name)) layouts.push({ name, lanes, threads, vector, kept, subgroup })
    }
  }
  const size = caps.subgroupMinSize
  const oneSize = caps.subgroups && size > 1 && size === caps.subgroupMaxSize
  if (caps.software) {
    if (oneSize && elements >= 2 * size) add(size, size, true)
    add(1, problem.rows >= 64 ? 16 : 8)
    if (oneSize) add(size, size, true)
    if (problem.rows < 8 && elements > 1024) add(32, 32)
    return layouts
  }
  const powerOfTwo = (value: number): number => 2 ** Math.max(0, Math.round(Math.log2(value)))
  const lanes = Math.min(256, powerOfTwo(elements / 4))
  add(lanes, Math.max(64, lanes))
  if (oneSize) add(size, size, true)
  for (const other of [lanes * 4, lanes / 4]) if (other >= 1 && other <= 256) add(other, Math.max(64, other))
  return layouts
}

/** Grid for all rows. */
export const rowGrid = (problem: RowProblem, layout: RowLayout, caps: Capabilities): [number, number, number] =>
  foldGrid(ceilDiv(problem.rows, layout.threads / layout.lanes), caps.maxGrid)

/** Elements (scalars or vec4s) of a row. */
export const rowElements = (problem: RowProblem, layout: RowLayout): number =>
  layout.vector ? problem.width / 4 : problem.width

export const rowBytes = (layout: RowLayout): number => (layout.lanes > 1 && !layout.subgroup ? layout.threads * 4 : 0)

/** WGSL type that an element is computed in. */
export const elementType = (layout: RowLayout): string => (layout.vector ? 'vec4f' : 'f32')

/** An array of rows, or of one value a column, dealt as the layout says. */
export const rowArray = (
  name: string,
  layout: RowLayout,
  caps: Capabilities,
  type: FloatType | undefined,
  access: Binding['access'] = 'read',
): FloatArray => floatArray(name, caps, { type, vector: layout.vector, access })

/** Enables and directives, which must precede every declaration. */
export const rowHeader = (layout: RowLayout, bindings: readonly Binding[]): string =>
  `${enableHalf(bindings)}${layout.subgroup ? 'enable subgroups;\n' : ''}`

/** `rowSum` and `rowMax` over the lanes of a row, and `total`/`largest` over the components of an element. */
export function rowFunctions(layout: RowLayout): string {
  const { lanes, threads } = layout
  const element = elementType(layout)
  const reduce = (name: string, builtin: string, combine: string): string => {
    if (lanes === 1) return `fn ${name}(value: f32, slot: u32) -> f32 { return value; }`
    if (layout.subgroup) return `fn ${name}(value: f32, slot: u32) -> f32 { return ${builtin}(value); }`
    return `fn ${name}(value: f32, slot: u32) -> f32 {
  let lane = slot % ${lanes}u;
  workgroupBarrier();
  scratch[slot] = value;
  for (var step = ${lanes / 2}u; step > 0u; step >>= 1u) {
    workgroupBarrier();
    if (lane < step) { scratch[slot] = ${combine}; }
  }
  workgroupBarrier();
  return scratch[slot - lane];
}`
  }
  return `${rowBytes(layout) ? `var<workgroup> scratch: array<f32, ${threads}>;\n` : ''}alias Element = ${element};
fn total(v: Element) -> f32 { return ${layout.vector ? '(v.x + v.y) + (v.z + v.w)' : 'v'}; }
fn largest(v: Element) -> f32 { return ${layout.vector ? 'max(max(v.x, v.y), max(v.z, v.w))' : 'v'}; }
${reduce('rowSum', 'subgroupAdd', 'scratch[slot] + scratch[slot + step]')}
${reduce('rowMax', 'subgroupMax', 'max(scratch[slot], scratch[slot + step])')}`
}

/** Opens `main` and names `row`, `live` (the row exists), `lane`, `slot` and `base`; dead rows repeat the last one. */
export function rowMain(layout: RowLayout): string {
  return `@compute @workgroup_size(${layout.threads})
fn main(@builtin(local_invocation_index) slot: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let unclamped = (group.x + group.y * groups.x) * ${layout.threads / layout.lanes}u + slot / ${layout.lanes}u;
  let live = unclamped < u.rows;
  let row = min(unclamped, u.rows - 1u);
  let lane = slot % ${layout.lanes}u;
  let base = row * u.elements;`
}

/** Reads what a lane keeps of the given arrays into registers; nothing when rows are read again in every pass. */
export function keepRows(layout: RowLayout, arrays: readonly FloatArray[]): string {
  return Array.from({ length: layout.kept }, (_, k) => {
    const names = arrays.map((a) => `var ${a.name}${k} = Element();`).join(' ')
    const loads = arrays.map((a) => `${a.name}${k} = ${a.load('base + i')};`).join(' ')
    return `  ${names}\n  { let i = lane + ${k * layout.lanes}u; if (i < u.elements) { ${loads} } }`
  }).join('\n')
}

/** Runs `body` for every element `i` of the row that this lane owns; `read(array)` is the element of a kept array. */
export function eachElement(layout: RowLayout, body: (read: (array: FloatArray) => string) => string): string {
  if (!layout.kept)
    return `  for (var i = lane; i < u.elements; i += ${layout.lanes}u) { ${body((array) => array.load('base + i'))} }`
  return Array.from({ length: layout.kept }, (_, k) => {
    return `  { let i = lane + ${k * layout.lanes}u; if (i < u.elements) { ${body((array) => `${array.name}${k}`)} } }`
  }).join('\n')
}
