/** From drafted launches to a plan: order, places in packs, slots and results. */
import type { Program } from '../../kernels/kernel.ts'
import { byteSize } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { numel, type Shape } from '../shape.ts'
import { resolvePick, type ValueRef } from './emit.ts'
import type { Partition, Place } from './partition.ts'
import type { BufferRef, Plan, Step } from './plan.ts'
import { assignSlots, type Lifetime } from './slots.ts'

/** Ops that write into the storage of an input: pairs [output, input]. */
export const effects = (node: Node): readonly (readonly [number, number])[] =>
  node.op === 'assign'
    ? [[0, 0]]
    : node.op === 'adamw'
      ? [
          [0, 0],
          [1, 1],
          [2, 2],
        ]
      : []

export const sizeOf = (shape: Shape, dtype: Node['dtype']): number =>
  Math.max(4, Math.ceil((numel(shape) * byteSize(dtype)) / 4) * 4)

/** Old values that writing these outputs replaces: whoever made them must have run. */
export const overwrittenBy = (writes: readonly ValueRef[]): ValueRef[] =>
  writes.flatMap((w) =>
    effects(w.node).flatMap(([out, input]) => (out === w.output ? [resolvePick(w.node.inputs[input]!)] : [])),
  )

/** Realized nodes that the program reads, in a fixed order: the plan's leaves. */
export const leavesOf = (order: readonly Node[]): Node[] => order.filter((n) => n.realized)

/** A step before memory is assigned. */
export interface Draft {
  readonly program: Program
  readonly args: readonly (Place | { temp: number })[]
  readonly writes: readonly ValueRef[]
  readonly reads: readonly ValueRef[]
  readonly ops: string
  readonly origin?: string | undefined
}

/** Stands for a pack until memory is laid out, when it becomes nothing or a few copies. */
export const packMarker: Program = {
  label: 'pack',
  wgsl: '',
  bindings: [],
  uniforms: new Uint32Array(0),
  grid: [0, 1, 1],
  cost: { flops: 0, bytes: 0 },
}

/** Orders the drafts, places packs, gives every intermediate a slot and every wanted value a result. */
export function layOut(
  drafts: readonly Draft[],
  temps: readonly number[],
  part: Partition,
  roots: readonly Node[],
): Plan {
  const ordered = orderByEffects(drafts)
  const leaves = new Map(leavesOf(part.order).map((n, i) => [n, i]))
  const key = (r: ValueRef) => r.node.outputs[r.output]!
  const results = new Map<object, number>()
  const resultList: { bytes: number; dtype: Node['dtype'] }[] = []
  for (const root of roots) {
    const ref = resolvePick(root)
    if (ref.node.realized || results.has(key(ref)) || effects(ref.node).some(([out]) => out === ref.output)) continue
    const { shape, dtype } = key(ref)
    results.set(key(ref), resultList.length)
    resultList.push({ bytes: sizeOf(shape, dtype), dtype })
  }

  // Values that a pack may have written straight into its buffer: made here, packed once, wanted by nobody else.
  const placed = new Map<object, { pack: object; offset: number; bytes: number }>()
  for (const draft of ordered) {
    if (draft.program !== packMarker) continue
    const pack = draft.writes[0]!
    const { offsets } = (pack.node as Node<'pack'>).attrs
    draft.reads.forEach((r, i) => {
      const aligned = (offsets[i]! * 4) % 256 === 0
      const readers = ordered.filter((d) => d.reads.some((x) => key(x) === key(r))).length
      const once = draft.reads.filter((x) => key(x) === key(r)).length === 1
      if (aligned && once && readers === 1 && !r.node.realized && !results.has(key(r)) && effects(r.node).length === 0)
        placed.set(key(r), { pack: key(pack), offset: offsets[i]! * 4, bytes: sizeOf(key(r).shape, key(r).dtype) })
    })
  }

  const steps: {
    program: Program
    args: (Place | { temp: number } | { pack: ValueRef; offset: number; bytes: number })[]
    draft: Draft
  }[] = []
  for (const draft of ordered) {
    if (draft.program !== packMarker) {
      steps.push({ program: draft.program, args: [...draft.args], draft })
      continue
    }
    const pack = draft.writes[0]!
    const { offsets } = (pack.node as Node<'pack'>).attrs
    draft.reads.forEach((r, i) => {
      if (placed.has(key(r))) return
      const { shape, dtype } = key(r)
      const bytes = sizeOf(shape, dtype)
      const program = copyProgram(numel(shape), dtype)
      steps.push({ program, args: [r, { pack, offset: offsets[i]! * 4, bytes }], draft: { ...draft, ops: 'pack' } })
    })
  }

  const lifetimes: (Lifetime & { id: object })[] = []
  const lifeOf = new Map<object, { bytes: number; from: number; to: number; id: object }>()
  const touch = (id: object, bytes: number, at: number) => {
    const life = lifeOf.get(id)
    if (life) life.to = at
    else lifeOf.set(id, { bytes, from: at, to: at, id })
  }
  const tempIds = temps.map(() => ({}))
  const home = (r: ValueRef): { id: object; offset: number; bytes: number; whole: number } => {
    const spec = key(r)
    const at = placed.get(spec)
    const bytes = sizeOf(spec.shape, spec.dtype)
    if (!at) return { id: spec, offset: 0, bytes, whole: bytes }
    const packSpec = at.pack as { shape: Shape; dtype: Node['dtype'] }
    return { id: at.pack, offset: at.offset, bytes: at.bytes, whole: sizeOf(packSpec.shape, packSpec.dtype) }
  }
  const external = (r: ValueRef): BufferRef | undefined => {
    if (r.node.realized) return { kind: 'leaf', index: leaves.get(r.node)! }
    const effect = effects(r.node).find(([out]) => out === r.output)
    if (effect) return external(resolvePick(r.node.inputs[effect[1]]!))
    const result = results.get(home(r).id)
    return result !== undefined && home(r).offset === 0 && home(r).whole === home(r).bytes
      ? { kind: 'result', index: result }
      : undefined
  }
  steps.forEach(({ args }, at) => {
    for (const a of args) {
      if ('temp' in a) touch(tempIds[a.temp]!, temps[a.temp]!, at)
      else if ('pack' in a) touch(key(a.pack), sizeOf(key(a.pack).shape, key(a.pack).dtype), at)
      else if (!external(a)) touch(home(a).id, home(a).whole, at)
    }
  })
  lifetimes.push(...lifeOf.values())
  const { sizes, slotOf } = assignSlots(lifetimes)
  const slotById = new Map(lifetimes.map((l, i) => [l.id, slotOf[i]!]))
  const final: Step[] = steps.map(({ program, args, draft }) => ({
    program,
    ops: draft.ops,
    origin: draft.origin,
    args: args.map((a): BufferRef => {
      if ('temp' in a) return { kind: 'slot', slot: slotById.get(tempIds[a.temp]!)!, offset: 0, bytes: temps[a.temp]! }
      if ('pack' in a) return { kind: 'slot', slot: slotById.get(key(a.pack))!, offset: a.offset, bytes: a.bytes }
      const outside = external(a)
      if (outside) return a.window && outside.kind !== 'slot' ? { ...outside, window: a.window } : outside
      const { id, offset, bytes } = home(a)
      const part = a.window ?? { offset: 0, bytes }
      return { kind: 'slot', slot: slotById.get(id)!, offset: offset + part.offset, bytes: part.bytes }
    }),
  }))
  let peak = 0
  for (let at = 0; at < final.length; at++)
    peak = Math.max(
      peak,
      lifetimes.reduce((s, l) => (l.from <= at && at <= l.to ? s + l.bytes : s), 0),
    )
  return { steps: final, slots: sizes, results: resultList, peakLiveBytes: peak }
}

function copyProgram(count: number, dtype: Node['dtype']): Program {
  const type = dtype === 'bool' ? 'u32' : dtype
  const wgsl = `${type === 'f16' ? 'enable f16;\n' : ''}@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> y: array<${type}>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let i = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (i < ${count}u) { y[i] = x[i]; }
}
`
  const groups = Math.ceil(count / 64)
  const grid: [number, number, number] =
    groups <= 65535
      ? [Math.max(groups, 1), 1, 1]
      : [Math.ceil(groups / Math.ceil(groups / 65535)), Math.ceil(groups / 65535), 1]
  const bindings = [
    { name: 'x', type, access: 'read' as const },
    { name: 'y', type, access: 'read_write' as const },
  ]
  return {
    label: 'copy',
    wgsl,
    bindings,
    uniforms: new Uint32Array(0),
    grid,
    cost: { flops: 0, bytes: 2 * count * byteSize(dtype) },
  }
}

/** Moves every assignment behind the steps that read what it overwrites. */
function orderByEffects(drafts: readonly Draft[]): Draft[] {
  const out: Draft[] = []
  const done = new Set<Draft>()
  const writer = new Map<object, Draft>()
  for (const d of drafts) for (const w of d.writes) writer.set(w.node.outputs[w.output]!, d)
  const overwritten = new Map<object, Draft>()
  for (const d of drafts)
    for (const w of d.writes)
      for (const [output, input] of effects(w.node))
        if (output === w.output) {
          const target = resolvePick(w.node.inputs[input]!)
          overwritten.set(target.node.outputs[target.output]!, d)
        }
  if (overwritten.size === 0) return [...drafts]
  const before = new Map<Draft, Draft[]>()
  for (const d of drafts)
    for (const r of d.reads) {
      const effect = overwritten.get(r.node.outputs[r.output]!)
      if (effect && effect !== d) before.set(effect, [...(before.get(effect) ?? []), d])
    }
  const active = new Set<Draft>()
  const visit = (d: Draft) => {
    if (done.has(d)) return
    if (active.has(d))
      throw new Error(
        `planner: '${d.ops}' overwrites a value that something after it still needs in its old state; copy it with .contiguous() first`,
      )
    active.add(d)
    for (const r of d.reads) {
      const w = writer.get(r.node.outputs[r.output]!)
      if (w && w !== d) visit(w)
    }
    for (const earlier of before.get(d) ?? []) visit(earlier)
    active.delete(d)
    done.add(d)
    out.push(d)
  }
  for (const d of drafts) visit(d)
  return out
}
