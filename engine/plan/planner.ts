/**
 * Turns wanted nodes into a plan: partition, one launch per stored value, assignments after the readers of what they
 * overwrite, slots by liveness.
 */
import type { Capabilities, Program } from '../../kernels/kernel.ts'
import type { Node } from '../graph.ts'
import { record } from '../ops/build.ts'
import { contiguousStrides, numel } from '../shape.ts'
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
import { type Draft, layOut, overwrittenBy, packMarker } from './layout.ts'
import {
  isContiguous,
  isKernel,
  type Operand,
  operandOf,
  type Partition,
  type Place,
  partition,
  stridedView,
} from './partition.ts'
import type { Chooser, Plan } from './plan.ts'

export interface PlannerOptions {
  readonly caps: Capabilities
  readonly choose: Chooser
  /** Default true; false gives every node a launch of its own, which tests compare against. */
  readonly fuse?: boolean
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
    inputs: readonly Place[],
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
        return operandOf(x, { base, strides: view.strides, offset: view.offset })
      const strides = contiguousStrides(x.shape)
      if (view && base && this.part.inMemory(base.node) && isContiguous(x, view))
        return operandOf(x, { base, strides, offset: view.offset })
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
      const isRef = (r: Place | { temp: number }): r is Place => 'node' in r
      const writes = refs.filter((r, i): r is Place => isRef(r) && 'out' in args[i]!)
      this.drafts.push({
        program,
        args: refs,
        reads: [...refs.filter((r, i): r is Place => isRef(r) && 'in' in args[i]!), ...overwrittenBy(writes)],
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
