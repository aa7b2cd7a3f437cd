/**
 * Turns wanted nodes into a plan: partition, one launch per stored value, assignments after the readers of what they
 * overwrite, slots by liveness.
 */
import type { Capabilities, Program, Variant } from '../../kernels/kernel.ts'
import { byteSize } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { record } from '../ops/build.ts'
import { contiguousStrides, numel, type Shape } from '../shape.ts'
import { resolvePick, type ValueRef } from './emit.ts'
import { generate, generateEpilogue } from './generated.ts'
import {
  acceptsStrides,
  type Call,
  denseEnough,
  kernelLowerings,
  type LoweringContext,
  lowerMatmul,
} from './kernels.ts'
import { isKernel, type Operand, type Partition, partition, stridedView } from './partition.ts'
import type { BufferRef, Plan, Step } from './plan.ts'
import { assignSlots, type Lifetime } from './slots.ts'

export interface PlannerOptions {
  readonly caps: Capabilities
  readonly choose: (kernel: string, variants: readonly Variant[]) => Program
  /** Default true; false gives every node a launch of its own, which tests compare against. */
  readonly fuse?: boolean
}

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
const overwrittenBy = (writes: readonly ValueRef[]): ValueRef[] =>
  writes.flatMap((w) =>
    effects(w.node).flatMap(([out, input]) => (out === w.output ? [resolvePick(w.node.inputs[input]!)] : [])),
  )

/** Realized nodes that the program reads, in a fixed order: the plan's leaves. */
export const leavesOf = (order: readonly Node[]): Node[] => order.filter((n) => n.realized)

/** A step before memory is assigned. */
interface Draft {
  readonly program: Program
  readonly args: readonly (ValueRef | { temp: number })[]
  readonly writes: readonly ValueRef[]
  readonly reads: readonly ValueRef[]
  readonly ops: string
  readonly origin?: string | undefined
}

export function buildPlan(roots: readonly Node[], sideEffects: readonly Node[], options: PlannerOptions): Plan {
  const forced = new Set<Node>()
  for (let attempt = 0; attempt < 200; attempt++) {
    const part = partition([...roots, ...sideEffects], {
      acceptsStrides: (k, i) => acceptsStrides(k, i),
      fuse: options.fuse ?? true,
      forced,
    })
    const draft = new Drafting(part, options)
    const overfull = draft.run()
    if (!overfull) return layOut(draft.drafts, draft.temps, part, roots)
    if (forced.has(overfull)) break
    forced.add(overfull)
  }
  throw new Error(
    `planner: an op reads more buffers than this adapter binds at once (${options.caps.maxStorageBuffers})`,
  )
}

/** Builds the launches of a partition, in an order that respects data and assignments. */
class Drafting {
  readonly drafts: Draft[] = []
  readonly temps: number[] = []
  private readonly copies = new Map<Node, Node>()

  constructor(
    private readonly part: Partition,
    private readonly options: PlannerOptions,
  ) {}

  /** The node to give memory to when a step would bind too many buffers; undefined when all steps fit. */
  run(): Node | undefined {
    for (const node of this.part.order) {
      if (node.realized || !this.part.stored.has(node) || node.op === 'pick') continue
      if (node.op === 'pack' || node.op === 'assign') this.special(node)
      else if (isKernel(node)) this.kernel(node)
      else this.pointwise(node)
      const last = this.drafts[this.drafts.length - 1]
      if (last && last.args.length > this.options.caps.maxStorageBuffers) {
        const split = widestInput(node, this.part)
        if (split) return split
      }
    }
    return undefined
  }

  private push(
    program: Program,
    inputs: readonly ValueRef[],
    outputs: readonly ValueRef[],
    node: Node,
    ops = node.op as string,
  ): void {
    this.drafts.push({
      program,
      args: [...inputs, ...outputs],
      reads: [...inputs, ...overwrittenBy(outputs)],
      writes: outputs,
      ops,
      origin: node.origin,
    })
  }

  private pointwise(node: Node): void {
    const matmul = this.part.epilogue.get(node)
    if (matmul) {
      const { epilogue, inputs } = generateEpilogue(node, matmul, this.part)
      const operands = this.operands(matmul)
      const program = lowerMatmul(matmul, operands, this.context, epilogue)
      const refs = [...operands.map((o) => o.ref), ...inputs]
      return this.push(program, refs, [{ node, output: 0 }], node, describe(node, this.part))
    }
    const made = generate(node, this.part, this.options.caps)!
    this.push(made.program, made.inputs, [{ node, output: 0 }], node, describe(node, this.part))
  }

  private get context(): LoweringContext {
    return { caps: this.options.caps, choose: this.options.choose }
  }

  private operands(node: Node): Operand[] {
    return node.inputs.map((x, i) => {
      const view = stridedView(x, (n) => this.part.stored.has(n))
      const base = view && resolvePick(view.base)
      if (
        view &&
        base &&
        this.part.inMemory(base.node) &&
        acceptsStrides(node, i) &&
        denseEnough(node, i, x.shape, view.strides)
      )
        return { ref: base, shape: x.shape, strides: view.strides, offset: view.offset }
      const strides = contiguousStrides(x.shape)
      if (
        view &&
        base &&
        this.part.inMemory(base.node) &&
        view.offset === 0 &&
        x.shape.every((d, j) => d === 1 || view.strides[j] === strides[j])
      )
        return { ref: base, shape: x.shape, strides, offset: 0 }
      const direct = resolvePick(x)
      if (this.part.inMemory(direct.node)) return { ref: direct, shape: x.shape, strides, offset: 0 }
      return { ref: { node: this.copy(x), output: 0 }, shape: x.shape, strides, offset: 0 }
    })
  }

  /** Puts a value that no kernel can address into memory of its own, once per plan. */
  private copy(x: Node): Node {
    let node = this.copies.get(x)
    if (node) return node
    node = record('contiguous', [x], {} as never)
    this.copies.set(x, node)
    const made = generate(node, this.part, this.options.caps)!
    this.push(made.program, made.inputs, [{ node, output: 0 }], x, 'copy')
    return node
  }

  private kernel(node: Node): void {
    const operands = this.operands(node)
    let calls: Call[]
    if (node.op === 'matmul')
      calls = [{ program: lowerMatmul(node, operands, this.context), args: [{ in: 0 }, { in: 1 }, { out: 0 }] }]
    else if (node.op === 'contiguous') return this.copyTo(node.inputs[0]!, { node, output: 0 }, node)
    else if (node.op === 'custom')
      calls = (node as Node<'custom'>).attrs.op.lower(node as Node<'custom'>, operands, this.context)
    else {
      const lowering = kernelLowerings[node.op as keyof typeof kernelLowerings]
      if (!lowering) throw new Error(`planner: no lowering for '${node.op}'`)
      calls = lowering(node as never, operands, this.context)
    }
    const firstTemp = this.temps.length
    for (const { program, args } of calls) {
      const refs = args.map((a) => {
        if ('in' in a) return operands[a.in]!.ref
        if ('out' in a) return { node, output: a.out }
        this.temps[firstTemp + a.temp] = a.bytes
        return { temp: firstTemp + a.temp }
      })
      const isRef = (r: ValueRef | { temp: number }): r is ValueRef => 'node' in r
      const writes = refs.filter((r, i): r is ValueRef => isRef(r) && 'out' in args[i]!)
      this.drafts.push({
        program,
        args: refs,
        reads: [...refs.filter((r, i): r is ValueRef => isRef(r) && 'in' in args[i]!), ...overwrittenBy(writes)],
        writes,
        ops: node.op,
        origin: node.origin,
      })
    }
  }

  private copyTo(x: Node, target: ValueRef, node: Node): void {
    const source = record('contiguous', [x], {} as never)
    const made = generate(source, this.part, this.options.caps)!
    this.push(made.program, made.inputs, [target], node, node.op)
  }

  /** `assign` writes where its target stands; `pack` copies what could not be placed directly (see `layOut`). */
  private special(node: Node): void {
    if (node.op === 'pack')
      return this.push(
        packMarker,
        node.inputs.map((x) => this.packed(x)),
        [{ node, output: 0 }],
        node,
      )
    const [target, value] = node.inputs as [Node, Node]
    if (!this.part.inMemory(value)) {
      const made = generate(value, this.part, this.options.caps, { target })
      if (made)
        return this.push(
          made.program,
          made.inputs,
          [{ node, output: 0 }],
          node,
          `${describe(value, this.part)} → assign`,
        )
      const temp = this.copy(value)
      return this.copyTo2(temp, node)
    }
    this.copyTo(value, { node, output: 0 }, node)
  }

  private copyTo2(stored: Node, node: Node): void {
    const source = record('contiguous', [stored], {} as never)
    const view: Partition = { ...this.part, inMemory: (n) => n === stored || this.part.inMemory(n) }
    const made = generate(source, view, this.options.caps)!
    this.push(made.program, made.inputs, [{ node, output: 0 }], node, 'assign')
  }

  private packed(x: Node): ValueRef {
    const view = stridedView(x, (n) => this.part.stored.has(n))
    const base = view && resolvePick(view.base)
    const strides = contiguousStrides(x.shape)
    const plain = view && view.offset === 0 && x.shape.every((d, j) => d === 1 || view.strides[j] === strides[j])
    if (
      plain &&
      base &&
      this.part.inMemory(base.node) &&
      numel(base.node.outputs[base.output]!.shape) === numel(x.shape)
    )
      return base
    return { node: this.copy(x), output: 0 }
  }
}

/** Stands for a pack until memory is laid out, when it becomes nothing or a few copies. */
const packMarker: Program = {
  label: 'pack',
  wgsl: '',
  bindings: [],
  uniforms: new Uint32Array(0),
  grid: [0, 1, 1],
  cost: { flops: 0, bytes: 0 },
}

/** The ops that the step of `node` computes, innermost first, for people. */
function describe(node: Node, part: Partition): string {
  const names: string[] = []
  const seen = new Set<Node>()
  const quiet = new Set(['reshape', 'permute', 'expand', 'slice', 'constant', 'detach', 'pick', 'leaf'])
  const visit = (n: Node) => {
    if (seen.has(n)) return
    seen.add(n)
    if (n !== node && part.inMemory(n)) return
    for (const x of n.inputs) visit(x)
    if (!quiet.has(n.op)) names.push(n.op)
  }
  visit(node)
  return names.length > 8
    ? `${names.slice(0, 4).join('+')}+…${names.length - 7}…+${names.slice(-3).join('+')}`
    : names.join('+') || 'copy'
}

/** Among the values computed inside the step of `node`, one that reads many buffers but not all: splitting there halves the step. */
function widestInput(node: Node, part: Partition): Node | undefined {
  const loads = new Map<Node, Set<Node>>()
  const visit = (n: Node): Set<Node> => {
    const known = loads.get(n)
    if (known) return known
    const set = new Set<Node>()
    loads.set(n, set)
    for (const x of n.inputs)
      if (part.inMemory(x)) set.add(resolvePick(x).node)
      else for (const y of visit(x)) set.add(y)
    return set
  }
  const total = visit(node).size
  let best: Node | undefined
  let bestScore = Number.POSITIVE_INFINITY
  for (const [n, set] of loads) {
    if (n === node || set.size < 2 || set.size >= total) continue
    const score = Math.abs(set.size - total / 2)
    if (score < bestScore) [best, bestScore] = [n, score]
  }
  return best
}

/** Orders the drafts, places packs, gives every intermediate a slot and every wanted value a result. */
function layOut(drafts: readonly Draft[], temps: readonly number[], part: Partition, roots: readonly Node[]): Plan {
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
    args: (ValueRef | { temp: number } | { pack: ValueRef; offset: number; bytes: number })[]
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
      if (outside) return outside
      const { id, offset, bytes } = home(a)
      return { kind: 'slot', slot: slotById.get(id)!, offset, bytes }
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
