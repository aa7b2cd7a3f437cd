/**
 * Writes the WGSL of fused chains: asks a node for its value at given coordinates and follows its inputs until it meets a value
 * that stands in memory. Views become index arithmetic; reductions become loops.
 */
import type { Capabilities } from '../../kernels/kernel.ts'
import { computeType, literal, storageType } from '../dtype.ts'
import type { Node, OutputSpec } from '../graph.ts'
import type { ReduceOp } from '../ops/names.ts'
import { pointwise } from '../ops/pointwise.ts'
import { contiguousStrides, numel } from '../shape.ts'
import { combine, reduceIdentity } from './reduction.ts'
import {
  constant,
  dot,
  type Index,
  plus,
  reshapeCoordinates,
  times,
  unflatten,
  variable,
  windowCoordinates,
} from './symbolic.ts'
import { flatWindow, type Place } from './views.ts'

/** A value in memory: output `output` of a node. */
export interface ValueRef {
  readonly node: Node
  readonly output: number
}

/** The node whose output a `pick` stands for, and which. */
export function resolvePick(node: Node): ValueRef {
  return node.op === 'pick' && !node.realized
    ? { node: node.inputs[0]!, output: (node as Node<'pick'>).attrs.index }
    : { node, output: 0 }
}

export const specOf = (ref: ValueRef): OutputSpec => ref.node.outputs[ref.output]!

interface Scope {
  readonly lines: string[]
  readonly names: Map<string, string>
}

/** Invocations of a workgroup that share reductions: those of equal index modulo `columns` work for the same result. */
export interface Cooperation {
  readonly threads: number
  readonly columns: number
}

export interface EmitterOptions {
  readonly caps: Pick<Capabilities, 'f16'>
  /** Values read from memory rather than computed in place. */
  inMemory(node: Node): boolean
  /** How invocations share the outermost reductions; undefined when every invocation does its own. */
  cooperation?: Cooperation | undefined
  /** Nodes whose value the surrounding kernel provides (a matmul's accumulator in its epilogue). */
  provided?: Map<Node, string>
}

/** Terms of a sum whose loop may be unrolled. */
const mostUnrolled = 8

export class Emitter {
  flops = 0
  /** Functions that shared reductions call. */
  readonly shared = new Map<string, string>()
  /** A redirected value was read elsewhere than at the output's own index. */
  conflict = false
  private readonly aliases: { target: ValueRef; at: Index; name: string; atomic: boolean }[] = []
  private readonly scopes: Scope[] = [{ lines: [], names: new Map() }]
  private counter = 0

  constructor(
    private readonly options: EmitterOptions,
    /** Buffers read, in binding order; several emitters may share the list. */
    readonly inputs: (Place & { name: string })[] = [],
    private readonly prefix = '',
  ) {}

  /** Lines written so far in the outermost scope. */
  get body(): string {
    return this.scopes[0]!.lines.join('\n')
  }

  line(text: string): void {
    this.scopes[this.scopes.length - 1]!.lines.push(text)
  }

  private fresh(stem: string): string {
    return `${this.prefix}${stem}${this.counter++}`
  }

  /** `let name = text;` once per scope and key. */
  private named(key: string, stem: string, text: () => string): string {
    for (const scope of this.scopes) {
      const known = scope.names.get(key)
      if (known) return known
    }
    const value = text()
    const name = this.fresh(stem)
    this.line(`let ${name} = ${value};`)
    this.scopes[this.scopes.length - 1]!.names.set(key, name)
    return name
  }

  private nested(open: string, close: string, inside: () => void): void {
    this.scopes.push({ lines: [], names: new Map() })
    inside()
    const { lines } = this.scopes.pop()!
    this.line([open, ...lines, close].join('\n'))
  }

  /** WGSL of an index. */
  index(e: Index): string {
    const parts: string[] = []
    const terms = [...e.terms.values()].sort((a, b) => b.factor - a.factor)
    for (const { atom, factor } of terms) {
      const name =
        atom.kind === 'variable'
          ? atom.key
          : this.named(
              atom.key,
              'i',
              () => `${this.index(atom.of!)} ${atom.kind === 'quotient' ? '/' : '%'} ${atom.by}u`,
            )
      const size = Math.abs(factor)
      parts.push(
        `${factor < 0 ? (parts.length ? ' - ' : '0u - ') : parts.length ? ' + ' : ''}${size === 1 ? name : `${name} * ${size}u`}`,
      )
    }
    if (e.constant !== 0 || parts.length === 0)
      parts.push(
        e.constant < 0
          ? `${parts.length ? ' - ' : '0u - '}${-e.constant}u`
          : `${parts.length ? ' + ' : ''}${e.constant}u`,
      )
    return parts.length === 1 ? parts[0]! : `(${parts.join('')})`
  }

  /** Name of the binding that holds a value. */
  bind(ref: Place): string {
    const known = this.inputs.find((i) => specOf(i) === specOf(ref) && i.window?.offset === ref.window?.offset)
    if (known) return known.name
    const name = `${this.prefix}in${this.inputs.length}`
    this.inputs.push({ ...ref, name })
    return name
  }

  /** Reads `target` through the output binding `name`, which is only right at index `at`. */
  redirect(target: ValueRef, at: Index, name: string, atomic = false): void {
    this.aliases.push({ target, at, name, atomic })
  }

  private aliased(ref: ValueRef) {
    const { storage } = ref.node
    return this.aliases.find(
      ({ target }) => specOf(target) === specOf(ref) || (storage && target.node.storage === storage),
    )
  }

  private load(ref: Place, at: Index): string {
    const { dtype } = ref.node.outputs[ref.output]!
    const redirected = this.aliased(ref)
    if (redirected && at.key !== redirected.at.key) this.conflict = true
    const buffer = redirected?.name ?? this.bind(ref)
    const index = this.index(at)
    return this.named(`${buffer}@${at.key}`, 'x', () => {
      if (dtype === 'bool') return `${buffer}[${index}] != 0u`
      if (dtype === 'f16' && !this.options.caps.f16) {
        const word = `${buffer}[(${index}) >> 1u]`
        return `unpack2x16float(${redirected?.atomic ? `atomicLoad(&${word})` : word})[(${index}) & 1u]`
      }
      const access = `${buffer}[${index}]`
      return computeType(dtype) === storageType(dtype, this.options.caps) ? access : `${computeType(dtype)}(${access})`
    })
  }

  private static ids = new WeakMap<Node, number>()
  private static nextId = 1
  private static id(node: Node): number {
    let id = Emitter.ids.get(node)
    if (!id) Emitter.ids.set(node, (id = Emitter.nextId++))
    return id
  }

  /** WGSL expression of `node` at `at` (one index per axis). */
  value(node: Node, at: readonly Index[]): string {
    const provided = this.options.provided?.get(node)
    if (provided !== undefined) return provided
    const window = flatWindow(node)
    if (window) {
      const whole = { node: node.inputs[0]!, output: 0 }
      // What is overwritten in the same launch is read through the binding that writes it.
      if (!this.aliased(whole)) return this.load({ ...whole, window }, at[0]!)
    }
    const ref = resolvePick(node)
    if (this.options.inMemory(ref.node)) {
      const shape = ref.node.outputs[ref.output]!.shape
      return this.load(ref, dot(at, contiguousStrides(shape)))
    }
    const key = `${Emitter.id(node)}@${at.map((i) => i.key).join(',')}`
    for (const scope of this.scopes) {
      const known = scope.names.get(key)
      if (known) return known
    }
    const text = this.compute(node, at)
    this.scopes[this.scopes.length - 1]!.names.set(key, text)
    return text
  }

  private compute(node: Node, at: readonly Index[]): string {
    const [x] = node.inputs
    switch (node.op) {
      case 'constant':
        return literal((node as Node<'constant'>).attrs.value, node.dtype)
      case 'iota':
        return `${computeType(node.dtype)}(${this.index(at[0]!)})`
      case 'randomBits': {
        const word = (i: number) => this.value(x!, [constant(i)])
        const linear = this.index(dot(at, contiguousStrides(node.shape)))
        return this.assign('r', `philox(${word(0)}, ${word(1)}, ${word(2)}, ${linear})`)
      }
      case 'detach':
      case 'withGradient':
      case 'after':
      case 'contiguous':
        return this.value(x!, at)
      case 'reshape':
        return this.value(x!, reshapeCoordinates(at, node.shape, x!.shape))
      case 'permute': {
        const { axes } = (node as Node<'permute'>).attrs
        return this.value(
          x!,
          axes.map((_, i) => at[axes.indexOf(i)]!),
        )
      }
      case 'expand':
        return this.value(
          x!,
          at.map((i, axis) => (x!.shape[axis] === 1 ? constant(0) : i)),
        )
      case 'slice': {
        const { starts, steps } = (node as Node<'slice'>).attrs
        return this.value(
          x!,
          at.map((i, axis) => plus(times(i, steps[axis]!), starts[axis]!)),
        )
      }
      case 'windows':
        return this.value(x!, windowCoordinates((node as Node<'windows'>).attrs, at))
      case 'pad':
        return this.pad(node as Node<'pad'>, at)
      case 'concat':
        return this.concat(node as Node<'concat'>, at)
      case 'gather':
        return this.gather(node as Node<'gather'>, at)
      case 'sum':
      case 'max':
      case 'min':
      case 'prod':
        return this.reduce(node as Node<ReduceOp>, at)
    }
    const rule = pointwise[node.op as keyof typeof pointwise]
    if (!rule) throw new Error(`planner: '${node.op}' cannot be computed in place`)
    this.flops += rule.flops
    const args = node.inputs.map((input) => this.value(input, at))
    return this.assign('v', rule.wgsl(args, node))
  }

  private assign(stem: string, text: string): string {
    const name = this.fresh(stem)
    this.line(`let ${name} = ${text};`)
    return name
  }

  private pad(node: Node<'pad'>, at: readonly Index[]): string {
    const [x] = node.inputs as [Node]
    const { before, after, value } = node.attrs
    const inside: string[] = []
    const moved = at.map((i, axis) => {
      if (before[axis] === 0 && after[axis] === 0) return i
      const shifted = plus(i, -before[axis]!)
      inside.push(`${this.index(shifted)} < ${x.shape[axis]}u`)
      // Read as an opaque variable: outside the range it wraps, and no algebra may rely on its bounds.
      return variable(
        this.assign('p', `min(${this.index(shifted)}, ${Math.max(x.shape[axis]! - 1, 0)}u)`),
        Math.max(x.shape[axis]!, 2),
      )
    })
    const name = this.fresh('v')
    this.line(`var ${name} = ${literal(value, node.dtype)};`)
    this.nested(`if (${inside.join(' && ')}) {`, '}', () => this.line(`${name} = ${this.value(x, moved)};`))
    return name
  }

  private concat(node: Node<'concat'>, at: readonly Index[]): string {
    const { axis } = node.attrs
    const name = this.fresh('v')
    const position = this.index(at[axis]!)
    this.line(`var ${name}: ${computeType(node.dtype)};`)
    let start = 0
    node.inputs.forEach((part, i) => {
      const size = part.shape[axis]!
      const end = start + size
      const last = i === node.inputs.length - 1
      const open = `${i ? 'else ' : ''}${last ? '{' : `if (${position} < ${end}u) {`}`
      this.nested(open, '}', () => {
        const local = plus(at[axis]!, -start)
        const moved =
          size === 1
            ? constant(0)
            : start === 0 && local.bounds()[1] < size
              ? local
              : variable(this.assign('p', this.index(local)), size)
        this.line(
          `${name} = ${this.value(
            part,
            at.map((c, j) => (j === axis ? moved : c)),
          )};`,
        )
      })
      start = end
    })
    return name
  }

  private gather(node: Node<'gather'>, at: readonly Index[]): string {
    const [x, index] = node.inputs as [Node, Node]
    const { axis } = node.attrs
    const indexAt = at.map((c, i) => (index.shape[i] === 1 ? constant(0) : c))
    const size = x.shape[axis]!
    const picked = this.assign('p', `min(u32(${this.value(index, indexAt)}), ${size - 1}u)`)
    return this.value(
      x,
      at.map((c, i) => (i === axis ? variable(picked, size) : c)),
    )
  }

  private reduce(node: Node<ReduceOp>, at: readonly Index[]): string {
    const [x] = node.inputs as [Node]
    const { axes } = node.attrs
    const sizes = axes.map((a) => x.shape[a]!)
    const acc = this.fresh('a')
    const op = node.op
    this.line(`var ${acc} = ${reduceIdentity(op, node.dtype)};`)
    const inputAt = (inner: readonly Index[]): Index[] => {
      let outer = 0
      let reduced = 0
      return x.shape.map((_, i) => (axes.includes(i) ? inner[reduced++]! : at[outer++]!))
    }
    const step = (inner: readonly Index[]) => this.line(`${acc} = ${combine(op, acc, this.value(x, inputAt(inner)))};`)
    const { cooperation } = this.options
    if (cooperation && this.scopes.length === 1) {
      const { threads, columns } = cooperation
      const r = this.fresh('k')
      const count = numel(sizes)
      const first = columns === 1 ? 'lid' : `lid / ${columns}u`
      this.nested(`for (var ${r} = ${first}; ${r} < ${count}u; ${r} += ${threads / columns}u) {`, '}', () =>
        step(unflatten(variable(r, count), sizes)),
      )
      const type = computeType(node.dtype)
      const name = cooperativeName(op, type, cooperation)
      this.shared.set(name, cooperativeHelper(name, op, type, cooperation))
      return this.assign('a', `${name}(${acc}, lid)`)
    }
    // Times 1, which compilers do not know: Mesa unrolls nested loops of constant counts wholly, and took 50 s for eight sums of 80.
    const once = numel(sizes) > mostUnrolled && !this.options.provided ? ' * nwg.z' : ''
    const loop = (depth: number, inner: Index[]) => {
      if (depth === axes.length) return step(inner)
      const k = this.fresh('k')
      this.nested(`for (var ${k} = 0u; ${k} < ${sizes[depth]}u${once}; ${k}++) {`, '}', () =>
        loop(depth + 1, [...inner, variable(k, sizes[depth]!)]),
      )
    }
    loop(0, [])
    return acc
  }
}

const cooperativeName = (op: ReduceOp, type: string, { columns }: Cooperation): string =>
  columns === 1 ? `reduce_${op}_${type}` : `reduce${columns}_${op}_${type}`

/** Tree reduction over a workgroup: the same order of additions on every run, so the same bits. */
function cooperativeHelper(name: string, op: ReduceOp, type: string, { threads, columns }: Cooperation): string {
  return `var<workgroup> shared_${name}: array<${type}, ${threads}>;
fn ${name}(value: ${type}, lid: u32) -> ${type} {
  shared_${name}[lid] = value;
  workgroupBarrier();
  for (var s = ${threads / 2}u; s >= ${columns}u; s >>= 1u) {
    if (lid < s) { shared_${name}[lid] = ${combine(op, `shared_${name}[lid]`, `shared_${name}[lid + s]`)}; }
    workgroupBarrier();
  }
  let result = shared_${name}[${columns === 1 ? '0' : `lid % ${columns}u`}];
  workgroupBarrier();
  return result;
}`
}
