/**
 * Programs of fused pointwise chains and reductions, and the tails of kernels: WGSL around what the emitter writes.
 *
 * RTX 3090 class (kernels/kernel.ts): a few flops a byte, bound by memory. A chain has 4 B of every input in flight a thread, 6 kB a
 * multiprocessor each, which is what full bandwidth wants. A reduction over trailing axes gives a result 64 or 256 threads, one over leading
 * axes up to 16 neighbouring results a workgroup, so that a subgroup reads sectors as a whole; a sum a thread, 4 B of workgroup memory.
 */
import {
  type Binding,
  type Capabilities,
  declareBindings,
  type Epilogue,
  foldGrid,
  type Program,
} from '../../kernels/kernel.ts'
import {
  enableHalf,
  type FloatArray,
  type FloatType,
  floatArray,
  floatFunctions,
  packPair,
} from '../../kernels/storage.ts'
import { valueInputs } from '../autograd.ts'
import { byteSize, type DType, storageType } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { ReduceOp } from '../ops/names.ts'
import { helpersFor } from '../ops/pointwise.ts'
import { numel } from '../shape.ts'
import { type Cooperation, Emitter, resolvePick, specOf, type ValueRef } from './emit.ts'
import type { Launch, Output, Segment } from './launches.ts'
import type { Partition } from './partition.ts'
import type { Placement } from './placement.ts'
import { effects, isReduction } from './roles.ts'
import { reductionLength } from './sharing.ts'
import { dot, type Index, unflatten, variable } from './symbolic.ts'
import { coordinatesThrough, tailGrid } from './tails.ts'
import type { Place } from './views.ts'

export interface GeneratorContext {
  readonly part: Partition
  readonly caps: Capabilities
  placement(ref: ValueRef): Placement | undefined
}

export interface Generated {
  readonly program: Program
  /** Values in binding order. */
  readonly args: Place[]
}

const noUniforms = new Uint32Array(0)

/** WGSL that stores a computed value as dtype. */
const storedAs = (value: string, dtype: DType): string =>
  dtype === 'bool' ? `select(0u, 1u, ${value})` : dtype === 'f16' ? `f16(${value})` : value

const isPacked = (ref: ValueRef, caps: Capabilities): boolean => specOf(ref).dtype === 'f16' && !caps.f16

const bytesOf = (ref: Place): number => ref.window?.bytes ?? numel(specOf(ref).shape) * byteSize(specOf(ref).dtype)

const bindingOf = (name: string, ref: Place, access: Binding['access'], caps: Capabilities): Binding => ({
  name,
  type: storageType(specOf(ref).dtype, caps),
  access,
  ...(isPacked(ref, caps) ? { packed: true } : {}),
})

/** Everything that is computed in place for `outputs`, these included. */
function computedNodes(outputs: Segment, part: Partition): Node[] {
  const made = new Set(outputs.filter((o) => o.ref.node === o.value).map((o) => o.value))
  const seen = new Set<Node>()
  const visit = (node: Node) => {
    if (seen.has(node) || (!made.has(node) && part.inMemory(node))) return
    seen.add(node)
    for (const x of valueInputs(node)) visit(x)
  }
  for (const { value } of outputs) visit(value)
  return [...seen]
}

/** Reductions of a segment that are not inside one another, and the longest run of additions that one of them makes. */
function outerReductions(nodes: readonly Node[]): { outer: Node<ReduceOp>[]; length: number } {
  const set = new Set(nodes)
  const inner = new Set<Node>()
  const lengths = new Map<Node, number>()
  const lengthOf = (node: Node): number => {
    const known = lengths.get(node)
    if (known !== undefined) return known
    lengths.set(node, 1)
    const below = Math.max(
      1,
      ...valueInputs(node)
        .filter((x) => set.has(x))
        .map(lengthOf),
    )
    const length = isReduction(node) ? below * reductionLength(node) : below
    lengths.set(node, length)
    return length
  }
  const mark = (node: Node, inside: boolean) => {
    if (!set.has(node) || inner.has(node)) return
    if (inside) inner.add(node)
    for (const x of valueInputs(node)) mark(x, inside || isReduction(node))
  }
  const reductions = nodes.filter(isReduction) as Node<ReduceOp>[]
  for (const r of reductions) if (!inner.has(r)) mark(r, false)
  return { outer: reductions.filter((r) => !inner.has(r)), length: Math.max(1, ...reductions.map(lengthOf)) }
}

/**
 * How a segment's reductions are shared; undefined where every result has an invocation of its own. Reductions over leading axes
 * give neighbouring invocations neighbouring columns, so that they read side by side.
 */
function cooperationOf(
  outputs: number,
  length: number,
  outer: readonly Node<ReduceOp>[],
  caps: Capabilities,
): Cooperation | undefined {
  const acrossRows = outer.some((r) => {
    const { shape } = r.inputs[0]!
    const last = shape.findLastIndex((d) => d > 1)
    return last >= 0 && !r.attrs.axes.includes(last)
  })
  if (caps.software) {
    if (length < 128 || outputs >= 32) return undefined
    return { threads: length >= 4096 ? 128 : 32, columns: 1 }
  }
  if (acrossRows) {
    if (length < 16 || outputs >= 32768) return undefined
    const columns = Math.min(16, 2 ** Math.ceil(Math.log2(outputs)))
    return { threads: length >= 256 ? 256 : 64, columns }
  }
  if (length < 64) return undefined
  return { threads: length >= 1024 ? 256 : 64, columns: 1 }
}

interface SegmentPlan {
  readonly outputs: Segment
  readonly nodes: readonly Node[]
  readonly cooperation: Cooperation | undefined
  readonly count: number
}

/** One launch that computes its segments' results from values in memory. Undefined when reading in place would not be safe. */
export function generateLaunch({ segments }: Launch, context: GeneratorContext): Generated | undefined {
  const { part, caps } = context
  const plans = segments.map((outputs): SegmentPlan => {
    const nodes = computedNodes(outputs, part)
    const { outer, length } = outerReductions(nodes)
    const count = numel(outputs[0]!.value.shape)
    return { outputs, nodes, count, cooperation: cooperationOf(count, length, outer, caps) }
  })
  const threads = Math.max(...plans.map((p) => p.cooperation?.threads ?? 64))
  const inputs: (Place & { name: string })[] = []
  const targets: { ref: ValueRef; name: string; halves: FloatArray | undefined }[] = []
  const target = (ref: ValueRef, alone: boolean): Target => {
    const known = targets.find((t) => specOf(t.ref) === specOf(ref))
    if (known) return known
    const name = `out${targets.length}`
    const halves =
      alone && isPacked(ref, caps) ? floatArray(name, caps, { type: 'f16', access: 'read_write' }) : undefined
    targets.push({ ref, name, halves })
    return targets[targets.length - 1]!
  }
  const helpers = new Map<string, string>()
  let groups = 0
  let flops = 0
  const bodies: string[] = []
  for (const plan of plans) {
    const made = segmentBody(plan, threads, inputs, target, context)
    if (!made) return undefined
    const first = groups
    groups += made.groups
    flops += made.flops
    for (const h of made.helpers) helpers.set(h, h)
    const open = first
      ? `else if (wide < ${groups}u) {\nlet group = wide - ${first}u;`
      : `if (wide < ${groups}u) {\nlet group = wide;`
    bodies.push(plans.length === 1 ? `let group = wide;\n${made.body}` : `${open}\n${made.body}\n}`)
  }
  const bindings = [
    ...inputs.map((i) => bindingOf(i.name, i, 'read', caps)),
    ...targets.map((t) => t.halves?.binding ?? bindingOf(t.name, t.ref, 'read_write', caps)),
  ]
  const body = bodies.join('\n')
  const halves = floatFunctions(targets.flatMap((t) => t.halves ?? []))
  const packs = halves === '' && targets.some((t) => isPacked(t.ref, caps)) ? packPair : ''
  const wgsl = `${enableHalf(bindings)}${declareBindings(bindings)}
${[helpersFor(body), ...helpers.keys(), halves, packs].filter(Boolean).join('\n')}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
let wide = wid.y * nwg.x + wid.x;
${body}
}
`
  const reduction = plans.flatMap((p) => p.nodes).find(isReduction)
  const written = segments.flat().reduce((sum, { ref }) => sum + bytesOf(ref), 0)
  return {
    program: {
      label: `${reduction ? `reduce.${reduction.op}` : 'pointwise'}${plans.length > 1 ? `.${plans.length}` : ''}`,
      wgsl,
      bindings,
      uniforms: noUniforms,
      grid: foldGrid(groups, caps.maxGrid),
      cost: { flops, bytes: inputs.reduce((sum, i) => sum + bytesOf(i), written) },
      workgroupBytes: 4 * threads * helpers.size,
      accumulators: Math.max(...plans.map((p) => p.nodes.filter(isReduction).length)),
    },
    args: [...inputs, ...targets.map((t) => t.ref)],
  }
}

/** WGSL of one segment for workgroup `group` of its own, and how many workgroups it takes. */
function segmentBody(
  { outputs, nodes, cooperation, count }: SegmentPlan,
  threads: number,
  inputs: (Place & { name: string })[],
  target: (ref: ValueRef, alone: boolean) => Target,
  { part, caps, placement }: GeneratorContext,
): { body: string; groups: number; flops: number; helpers: string[] } | undefined {
  const shared = cooperation && { threads, columns: cooperation.columns }
  const computed = new Set(outputs.filter((o) => o.ref.node === o.value).map((o) => o.value))
  const emitter = new Emitter(
    { caps, inMemory: (n) => !computed.has(n) && part.inMemory(n), cooperation: shared },
    inputs,
  )
  const linear = variable('i', count)
  // Packed halves are written by whole words, two elements an invocation, where the words are its own; else one by one.
  const packed = outputs.filter((o) => isPacked(o.ref, caps))
  const inPairs = packed.length > 0 && !shared && packed.every((o) => !placement(o.ref))
  const stores = outputs.map((output) => store(output))
  const { body } = emitter
  if (emitter.conflict) return undefined
  const perGroup = shared ? shared.columns : inPairs ? 2 * threads : threads
  let guard: string
  let write = stores.join('\n')
  if (inPairs) {
    const names = [...new Set(packed.map(nameOf))]
    guard = `let first = (group * ${threads}u + lid) * 2u;
if (first >= ${count}u) { return; }
${names.map((name) => `var ${name}Pair = vec2f();`).join('\n')}
for (var side = 0u; side < 2u; side++) {
let i = first + side;
if (i >= ${count}u) { break; }`
    write += `\n}\n${names.map((name) => `${name}[first >> 1u] = packPair(${name}Pair);`).join('\n')}`
  } else if (!shared) guard = `let i = group * ${threads}u + lid;\nif (i >= ${count}u) { return; }`
  else if (shared.columns === 1) {
    guard = 'let i = group;'
    write = `if (lid == 0u) { ${write} }`
  } else {
    guard = `let column = group * ${perGroup}u + lid % ${perGroup}u;\nlet i = min(column, ${count - 1}u);`
    write = `if (lid < ${perGroup}u && column < ${count}u) { ${write} }`
  }
  const longest = nodes.filter(isReduction).map((r) => numel(r.inputs[0]!.shape))
  return {
    body: `${guard}\n${body}\n${write}`,
    groups: Math.ceil(count / perGroup),
    flops: emitter.flops * Math.max(count, ...longest),
    helpers: [...emitter.shared.values()],
  }

  function nameOf({ ref }: Output): string {
    return target(ref, false).name
  }

  function store({ value, ref }: Output): string {
    const place = placement(ref)
    const { name, halves } = target(place ? { node: place.container, output: 0 } : ref, !inPairs)
    const at = unflatten(linear, value.shape)
    const index = place ? dot(at, place.strides, place.offset) : linear
    if (ref.node !== value)
      for (const [output, input] of effects(ref.node))
        if (output === ref.output) emitter.redirect(resolvePick(ref.node.inputs[input]!), linear, name, !!halves)
    const text = emitter.value(value, at)
    if (inPairs && isPacked(ref, caps)) return `${name}Pair[side] = ${text};`
    const position = emitter.index(index)
    return halves ? halves.store(position, text) : `${name}[${position}] = ${storedAs(text, value.dtype)};`
  }
}

/** A buffer that a launch writes; `halves` where elements of packed words are written one by one. */
interface Target {
  readonly name: string
  readonly halves: FloatArray | undefined
}

export interface GeneratedTail {
  readonly epilogue: Epilogue
  /** Values that its bindings stand for, in order. */
  readonly args: Place[]
  readonly bytes: number
}

/**
 * The chains from a kernel's results to `outputs` as the tail that it calls on four neighbours of its result. The first output is what
 * the kernel stores; the others the tail stores itself.
 */
export function generateTail({ tail, segments }: Launch, { part, caps }: GeneratorContext): GeneratedTail {
  const { kernel, at, swapped } = tail!
  const outputs = segments[0]!
  const [first, ...others] = outputs as [Output, ...Output[]]
  const computed = new Set(outputs.map((o) => o.value))
  const emitter = new Emitter(
    { caps, inMemory: (n) => !computed.has(n) && part.inMemory(n), provided: new Map([[kernel, 'acc']]) },
    [],
    'e',
  )
  const coordinates = (value: Node): readonly Index[] =>
    value === first.value
      ? at
      : coordinatesThrough(value, first.value, at, (n) => !computed.has(n) && part.inMemory(n))!
  const values = outputs.map(({ value }) => emitter.value(value, coordinates(value)))
  const [, m, n] = tailGrid(kernel)
  const [rows, columns] = swapped ? [n, m] : [m, n]
  const each = others.length ? 'epilogueLane' : 'epilogueOne'
  const lanes = ['x', 'y', 'z', 'w'].map((c, i) => `${each}(acc.${c}, batch, row, col + ${i}u)`)
  // `col` is a multiple of 4: the four neighbours are inside together where the columns are one too.
  const vector = columns % 4 === 0
  const arrays = others.map(({ value }, i) =>
    floatArray(`eout${i}`, caps, { type: value.dtype as FloatType, vector, access: 'read_write' }),
  )
  const bindings = [
    ...emitter.inputs.map((input) => bindingOf(input.name, input, 'read', caps)),
    ...arrays.map((a) => a.binding),
  ]
  const put = (o: number): string =>
    vector
      ? `  ${arrays[o]!.store('at >> 2u', `vec4f(${[0, 1, 2, 3].map((i) => `lane${i}[${o + 1}]`).join(', ')})`)}`
      : [0, 1, 2, 3]
          .map((i) => `  if (col + ${i}u < ${columns}u) { ${arrays[o]!.store(`at + ${i}u`, `lane${i}[${o + 1}]`)} }`)
          .join('\n')
  const scalarForm = `fn epilogueOne(acc: f32, batch: u32, row: u32, col: u32) -> f32 {
  let lane = epilogueLane(acc, batch, row, col);
  let at = (batch * ${rows}u + row) * ${columns}u + col;
${arrays.map((array, o) => `  ${array.store('at', `lane[${o + 1}]`)}`).join('\n')}
  return lane[0];
}
`
  const wgsl = others.length
    ? `${helpersFor(emitter.body)}
fn epilogueLane(acc: f32, batch: u32, row: u32, col: u32) -> array<f32, ${values.length}> {
${emitter.body}
return array<f32, ${values.length}>(${values.join(', ')});
}
fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f {
${lanes.map((text, i) => `  let lane${i} = ${text};`).join('\n')}
  let at = (batch * ${rows}u + row) * ${columns}u + col;
${others.map((_, o) => put(o)).join('\n')}
  return vec4f(lane0[0], lane1[0], lane2[0], lane3[0]);
}
${vector ? '' : scalarForm}`
    : `${helpersFor(emitter.body)}
fn epilogueOne(acc: f32, batch: u32, row: u32, col: u32) -> f32 {
${emitter.body}
return ${values[0]};
}
fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f {
  return vec4f(${lanes.join(', ')});
}
`
  return {
    epilogue: { bindings, wgsl, arrays, flopsPerOutput: emitter.flops },
    args: [...emitter.inputs, ...others.map((o) => o.ref)],
    bytes: [...emitter.inputs, ...others.map((o) => o.ref)].reduce((sum, ref) => sum + bytesOf(ref), 0),
  }
}
