/**
 * What kernels over the last axis share: how rows are dealt to lanes, and how lanes reduce.
 *
 * `lanes` invocations (a power of two) work on `together` rows at once, interleaved by one element or one vec4; a workgroup of
 * `threads` holds threads / lanes such groups of rows. A short row is kept in registers (`kept` of its elements a lane), a long
 * one is read again in every pass. Sums are trees of fixed shape: the same inputs give the same bits.
 *
 * GPUs: these kernels do one to two operations a byte where 38 would be needed (35.6 TFLOP/s against 936 GB/s, RTX 3090 class), so memory is the bound and all that
 * matters is to read every row once, coalesced, with enough bytes in flight. Lanes read neighbouring vec4s; a row of up to 8 vec4s a
 * lane (8,192 elements over 256 lanes) stays in registers, 32 a thread and 4 bytes of workgroup memory, far from limiting
 * occupancy; four vec4s a lane are in flight at once.
 *
 * CPU adapters pay for every element loaded, by each lane on its own, and little for arithmetic: one subgroup takes several rows
 * together, so that what belongs to a column (γ, β) is loaded once for all of them, and statistics take one pass.
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
  /** Rows that a group of lanes works on at once; 1 when rows are kept. */
  readonly together: number
  /** The workgroup is exactly one subgroup, which reduces without workgroup memory. */
  readonly subgroup: boolean
  /** A lane has so many columns that it must sum them in runs to keep its digits. */
  readonly long: boolean
}

/** Columns of a lane beyond which its sums lose digits: a hundred roundings of one sign were seen in ten thousand additions. */
const longLane = 2048
/** Columns of a lane in one run. */
const runOf = ({ long }: RowLayout): number => (long ? 512 : 32)

const mostKept = 8

/** Layouts worth measuring, the best guess first. */
export function rowLayouts(problem: RowProblem, caps: Capabilities): RowLayout[] {
  const vector = problem.width % 4 === 0
  const elements = vector ? problem.width / 4 : problem.width
  const layouts: RowLayout[] = []
  const add = (lanes: number, threads: number, { subgroup = false, together = 1 } = {}): void => {
    if (threads > caps.maxInvocations || (!subgroup && lanes > 1 && threads * 4 > caps.maxWorkgroupBytes)) return
    const needed = ceilDiv(elements, lanes)
    const reach = (threads / lanes) * together
    for (const kept of needed <= mostKept && together === 1 ? [needed, 0] : [0]) {
      const name = `${subgroup ? 'subgroup' : 'lanes'}${lanes}x${reach}${vector ? '.vec4' : ''}${kept ? '.kept' : ''}`
      if (!layouts.some((l) => l.name === name))
        layouts.push({ name, lanes, threads, vector, kept, together, subgroup, long: needed > longLane })
    }
  }
  const size = caps.subgroupMinSize
  const oneSize = caps.subgroups && size > 1 && size === caps.subgroupMaxSize
  if (caps.software) {
    if (oneSize) add(size, size, { subgroup: true, together: problem.rows >= 8 ? 4 : 1 })
    add(1, problem.rows >= 64 ? 16 : 8)
    if (problem.rows < 8 && elements > 1024) add(32, 32)
    return layouts
  }
  const powerOfTwo = (value: number): number => 2 ** Math.max(0, Math.round(Math.log2(value)))
  const lanes = Math.min(256, powerOfTwo(elements / 4))
  add(lanes, Math.max(64, lanes))
  if (oneSize) add(size, size, { subgroup: true })
  for (const other of [lanes * 4, lanes / 4]) if (other >= 1 && other <= 256) add(other, Math.max(64, other))
  return layouts
}

/** Grid for all rows. */
export const rowGrid = (problem: RowProblem, layout: RowLayout, caps: Capabilities): [number, number, number] =>
  foldGrid(ceilDiv(problem.rows, (layout.threads / layout.lanes) * layout.together), caps.maxGrid)

/** Elements (scalars or vec4s) of a row. */
export const rowElements = (problem: RowProblem, layout: RowLayout): number =>
  layout.vector ? problem.width / 4 : problem.width

export const rowBytes = (layout: RowLayout): number => (layout.lanes > 1 && !layout.subgroup ? layout.threads * 4 : 0)

/** f32 values of a row array that a lane keeps. */
export const keptValues = ({ kept, vector }: RowLayout): number => kept * (vector ? 4 : 1)

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

/** `line(0) … line(together − 1)`: WGSL for each of the rows that are worked on at once. */
export const eachRow = (layout: RowLayout, line: (r: number) => string): string =>
  Array.from({ length: layout.together }, (_, r) => line(r)).join('\n')

/**
 * Opens `main` and names `lane`, `slot` and, for each row r of those worked on together, `row<r>` and `base<r>`, the index of
 * its first element, and `live<r>`: the row exists. Rows that do not exist repeat the last one and must not be stored.
 */
export function rowMain(layout: RowLayout): string {
  const { lanes, threads, together } = layout
  return `@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) slot: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let lane = slot % ${lanes}u;
  let first = ((group.x + group.y * groups.x) * ${threads / lanes}u + slot / ${lanes}u) * ${together}u;
${eachRow(
  layout,
  (r) => `  let live${r} = first + ${r}u < u.rows;
  let row${r} = min(first + ${r}u, u.rows - 1u);
  let base${r} = row${r} * u.elements;`,
)}`
}

/** Reads what a lane keeps of the given arrays into registers; nothing when rows are read again in every pass. */
export function keepRows(layout: RowLayout, arrays: readonly FloatArray[]): string {
  return Array.from({ length: layout.kept }, (_, k) => {
    const names = arrays.map((a) => `var ${a.name}${k} = Element();`).join(' ')
    const loads = arrays.map((a) => `${a.name}${k} = ${a.load('base0 + i')};`).join(' ')
    return `  ${names}\n  { let i = lane + ${k * layout.lanes}u; if (i < u.elements) { ${loads} } }`
  }).join('\n')
}

export interface Element {
  /** Which of the rows worked on together. */
  readonly r: number
  /** Name of the element of a row array, or of the value that all rows share in a column. */
  read(array: FloatArray): string
  /** Index of the element in the row arrays; its column is `i`. */
  readonly at: string
}

/**
 * Runs `body` for every element that this lane owns: column by column, and in a column for each row. `once` comes
 * before the rows of a column; `columns` are arrays of one value a column, loaded once for all rows. `open` and `close` stand
 * around every run of columns of a lane: sums of sums lose fewer digits.
 */
export function eachElement(
  layout: RowLayout,
  arrays: readonly FloatArray[],
  body: (element: Element) => string,
  { columns = [] as readonly FloatArray[], once = '', open = '', close = '' } = {},
): string {
  const shared = `${once}${columns.map((a) => ` let ${a.name}Here = ${a.load('i')};`).join('')}`
  const each = (kept?: number): string =>
    eachRow(layout, (r) => {
      const loads =
        kept === undefined ? arrays.map((a) => `let ${a.name}Here = ${a.load(`base${r} + i`)};`).join(' ') : ''
      const read = (a: FloatArray): string =>
        kept === undefined || columns.includes(a) ? `${a.name}Here` : `${a.name}${kept}`
      return `    { ${loads} ${body({ r, read, at: `base${r} + i` })} }`
    })
  if (layout.kept) {
    const all = Array.from(
      { length: layout.kept },
      (_, k) => `  { let i = lane + ${k * layout.lanes}u; if (i < u.elements) {\n    ${shared}\n${each(k)}\n  } }`,
    )
    return [open, ...all, close].join('\n')
  }
  const loop = (from: string, end: string): string =>
    `  for (var i = ${from}; i < ${end}; i += ${layout.lanes}u) {\n    ${shared}\n${each()}\n  }`
  if (!open) return loop('lane', 'u.elements')
  const run = runOf(layout) * layout.lanes
  return `  for (var run = lane; run < u.elements; run += ${run}u) {
  ${open}
  ${loop('run', `min(u.elements, run + ${run}u)`)}
  ${close}
  }`
}

/**
 * Sums over the elements of each row, in runs where a lane has many: `declare` makes `part<name><r>`, a body adds to `into(name, r)`,
 * and `runs` are options of `eachElement`.
 */
export function rowSums(layout: RowLayout, names: readonly string[]) {
  const each = (line: (name: string) => string): string =>
    eachRow(layout, (r) => names.map((name) => line(`${name}${r}`)).join(' '))
  return {
    declare: each((name) => `var part${name} = 0.0;`),
    into: (name: string, r: number): string => `${layout.long ? 'run' : 'part'}${name}${r}`,
    runs: layout.long
      ? { open: each((name) => `var run${name} = 0.0;`), close: each((name) => `part${name} += run${name};`) }
      : {},
  }
}

/** Body that stores only in rows that exist. */
export const whenLive = ({ r }: Element, store: string): string => (r === 0 ? store : `if (live${r}) { ${store} }`)
