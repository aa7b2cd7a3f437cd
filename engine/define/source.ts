/**
 * WGSL around a user's body: bindings, sizes, index helpers, row reductions, the loop over the grid. The user's own lines stand
 * between `//@text NAME` and `//@end`, by which a compiler's message finds them again (engine/device/errors.ts).
 */
import { type Binding, type Capabilities, declareBindings, foldGrid, type Program } from '../../kernels/kernel.ts'
import { byteSize, type DType, literal, storageType } from '../dtype.ts'
import type { OutputSpec } from '../graph.ts'
import { contiguousStrides, numel, type Shape } from '../shape.ts'

/** A tensor of the op in one use: its name in WGSL and what it is. */
export interface Bound extends OutputSpec {
  readonly name: string
  /** Rank 0, read once: the name is the value. */
  readonly scalar: boolean
  readonly axes: readonly string[] | undefined
}

/** How the body is run. */
export type Launch =
  | 'element'
  | 'row'
  | { readonly workgroup: readonly [number, number, number]; readonly grid: readonly [number, number, number] }

export interface SourceOptions {
  readonly name: string
  /** Where it was defined, for messages. */
  readonly site: string | undefined
  readonly inputs: readonly Bound[]
  readonly outputs: readonly Bound[]
  readonly launch: Launch
  readonly body: string
  /** WGSL at module scope: functions, structures, workgroup variables. */
  readonly functions: string
  readonly constants: Readonly<Record<string, number>>
  readonly uniforms: Readonly<Record<string, number>>
}

/** Tensors of these ops are never f16. */
const noHalf = { f16: false }

const mentions = (text: string, name: string): boolean => new RegExp(`\\b${name}\\b`).test(text)

const valueType = (dtype: DType): string => (dtype === 'bool' ? 'bool' : storageType(dtype, noHalf))

const load = (t: Bound, at: string): string => (t.dtype === 'bool' ? `(${t.name}[${at}] != 0u)` : `${t.name}[${at}]`)

/** `x_index`, `x_at` (0 outside) and `x_edge` (the nearest element inside) of a tensor, as far as `text` uses them. */
function indexHelpers(t: Bound, text: string): string[] {
  const strides = contiguousStrides(t.shape)
  const axes = t.shape.map((_, i) => `c${i}`)
  const parameters = axes.map((c) => `${c}: i32`).join(', ')
  const index = axes.map((c, i) => `u32(${c}) * ${strides[i]}u`).join(' + ') || '0u'
  const inside = axes.map((c, i) => `${c} >= 0 && ${c} < ${t.shape[i]}`).join(' && ') || 'true'
  const clamped = axes.map((c, i) => `clamp(${c}, 0, ${Math.max(t.shape[i]! - 1, 0)})`).join(', ')
  const type = valueType(t.dtype)
  const zero = literal(0, t.dtype)
  const helpers = {
    [`${t.name}_index`]: `fn ${t.name}_index(${parameters}) -> u32 { return ${index}; }`,
    [`${t.name}_at`]: `fn ${t.name}_at(${parameters}) -> ${type} {
  if (!(${inside})) { return ${zero}; }
  return ${load(t, `${t.name}_index(${axes.join(', ')})`)};
}`,
    [`${t.name}_edge`]: `fn ${t.name}_edge(${parameters}) -> ${type} {
  return ${load(t, `${t.name}_index(${clamped})`)};
}`,
  }
  const used = Object.keys(helpers).filter((n) => mentions(text, n))
  if (used.length && !used.includes(`${t.name}_index`)) used.unshift(`${t.name}_index`)
  return used.map((n) => helpers[n]!)
}

/** Reductions over the invocations of a row, in a fixed order: `row_sum`, `row_max`, `row_min` of one f32 each. */
function rowHelpers(text: string, lanes: number): string[] {
  const combine = { row_sum: 'a + b', row_max: 'max(a, b)', row_min: 'min(a, b)' }
  const used = Object.entries(combine).filter(([name]) => mentions(text, name))
  if (!used.length) return []
  return [
    `var<workgroup> row_shared: array<f32, ${lanes}>;`,
    ...used.map(
      ([name, expression]) => `fn ${name}(value: f32) -> f32 {
  row_shared[lane] = value;
  workgroupBarrier();
  for (var s = ${lanes >> 1}u; s > 0u; s >>= 1u) {
    if (lane < s) { let a = row_shared[lane]; let b = row_shared[lane + s]; row_shared[lane] = ${expression}; }
    workgroupBarrier();
  }
  let result = row_shared[0];
  workgroupBarrier();
  return result;
}`,
    ),
  ]
}

/** Invocations that share a row. */
function lanesFor(width: number, caps: Capabilities): number {
  let lanes = 1
  while (lanes < width && lanes < (caps.software ? 32 : 256)) lanes *= 2
  return lanes
}

/** Sizes of named axes, one constant each. */
function sizes(tensors: readonly Bound[]): Map<string, number> {
  const found = new Map<string, number>()
  for (const t of tensors) t.axes?.forEach((name, i) => found.set(name, t.shape[i]!))
  return found
}

/** `let b = …` for every named axis of the first output that the body mentions, from its flat index. */
function coordinates(output: Bound, body: string): string[] {
  const strides = contiguousStrides(output.shape)
  return (output.axes ?? []).flatMap((axis, i) =>
    mentions(body, axis.toLowerCase())
      ? [`  let ${axis.toLowerCase()} = i32(i / ${strides[i]}u % ${Math.max(output.shape[i]!, 1)}u);`]
      : [],
  )
}

interface Frame {
  readonly workgroup: readonly [number, number, number]
  readonly grid: readonly [number, number, number]
  readonly constants: string[]
  readonly helpers: string[]
  readonly prologue: string[]
}

/** What each kind of launch sets up before the body. */
function frameOf(o: SourceOptions, text: string, caps: Capabilities): Frame {
  const { launch } = o
  if (launch === 'element') {
    const count = numel(o.outputs[0]!.shape)
    const threads = 64
    return {
      workgroup: [threads, 1, 1],
      grid: foldGrid(Math.ceil(count / threads), caps.maxGrid),
      constants: [],
      helpers: [],
      prologue: [
        `  let i = (wid.y * nwg.x + wid.x) * ${threads}u + lane;`,
        `  if (i >= ${count}u) { return; }`,
        ...coordinates(o.outputs[0]!, o.body),
      ],
    }
  }
  if (launch === 'row') {
    const shape: Shape = o.inputs.find((t) => !t.scalar)!.shape
    const width = shape.at(-1) ?? 1
    const rows = numel(shape.slice(0, -1))
    const lanes = lanesFor(width, caps)
    return {
      workgroup: [lanes, 1, 1],
      grid: foldGrid(rows, caps.maxGrid),
      constants: [`const width = ${width}u;`, `const rows = ${rows}u;`, `const lanes = ${lanes}u;`],
      helpers: rowHelpers(text, lanes),
      prologue: [
        '  let row = wid.y * nwg.x + wid.x;',
        `  if (row >= ${rows}u) { return; }`,
        '  let start = row * width;',
      ],
    }
  }
  return { workgroup: launch.workgroup, grid: launch.grid, constants: [], helpers: [], prologue: [] }
}

const userText = (name: string, site: string | undefined, text: string): string[] =>
  text ? [`//@text ${name}${site ? `, defined at ${site}` : ''}`, text, '//@end'] : []

/** The whole program of one use. */
export function customProgram(o: SourceOptions, caps: Capabilities): Program {
  const text = `${o.functions}\n${o.body}`
  const tensors = [...o.inputs, ...o.outputs]
  const frame = frameOf(o, text, caps)
  const scalars = o.inputs.filter((t) => t.scalar)
  const buffer = (t: Bound) => (t.scalar ? `${t.name}_buffer` : t.name)
  const bindings = tensors.map(
    (t, i): Binding => ({
      name: buffer(t),
      type: storageType(t.dtype, noHalf),
      access: i < o.inputs.length ? 'read' : 'read_write',
    }),
  )
  const uniformNames = Object.keys(o.uniforms)
  const members = uniformNames.map((n) => `${n}: f32`).join(', ')
  const wgsl = [
    declareBindings(bindings),
    ...(members
      ? [`struct Uniforms { ${members} }`, `@group(0) @binding(${bindings.length}) var<uniform> uniforms: Uniforms;`]
      : []),
    'var<private> lane: u32;',
    ...uniformNames.map((n) => `var<private> ${n}: f32;`),
    ...scalars.map((t) => `var<private> ${t.name}: ${valueType(t.dtype)};`),
    ...[...sizes(tensors)].map(([n, size]) => `const ${n} = ${size};`),
    ...Object.entries(o.constants).map(([n, value]) => `const ${n} = ${value};`),
    ...frame.constants,
    ...tensors.filter((t) => mentions(text, `${t.name}_size`)).map((t) => `const ${t.name}_size = ${numel(t.shape)}u;`),
    ...o.inputs.filter((t) => !t.scalar).flatMap((t) => indexHelpers(t, text)),
    ...o.outputs.flatMap((t) => indexHelpers(t, text)),
    ...frame.helpers,
    ...userText(`functions of ${o.name}`, o.site, o.functions),
    `@compute @workgroup_size(${frame.workgroup.join(', ')})`,
    'fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u,',
    '  @builtin(global_invocation_id) gid: vec3u, @builtin(local_invocation_index) lane_index: u32) {',
    '  lane = lane_index;',
    ...uniformNames.map((n) => `  ${n} = uniforms.${n};`),
    ...scalars.map((t) => `  ${t.name} = ${buffer(t)}[0]${t.dtype === 'bool' ? ' != 0u' : ''};`),
    ...frame.prologue,
    ...userText(o.name, o.site, o.body),
    '}',
    '',
  ].join('\n')
  const bytes = tensors.reduce((sum, t) => sum + numel(t.shape) * byteSize(t.dtype), 0)
  return {
    label: o.name,
    wgsl,
    bindings,
    uniforms: new Uint32Array(Float32Array.from(Object.values(o.uniforms)).buffer),
    grid: frame.grid,
    cost: { flops: 0, bytes },
    workgroupBytes: undefined,
    accumulators: undefined,
  }
}
