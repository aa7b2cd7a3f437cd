/**
 * The recorded graph: immutable nodes that say what is to be computed. Nothing here runs or knows a device.
 *
 * A node's `kind` is an interned number for (op, attributes, shapes, dtypes): two graphs whose nodes have the same kinds and
 * the same wiring are the same program, and share a plan.
 */
import type { DType, HostArray } from './dtype.ts'
import type { OpAttrs, OpName } from './ops/names.ts'
import { callSite } from './origin.ts'
import type { Shape } from './shape.ts'

/** Bytes on a device that a tensor, parameter or optimiser state owns. `version` counts completed assignments. */
export interface StorageHandle {
  readonly id: number
  readonly byteLength: number
  version: number
  readonly disposed: boolean
}

export interface OutputSpec {
  readonly shape: Shape
  readonly dtype: DType
}

export class Node<K extends OpName = OpName> {
  /** Set when the value exists: on a device (`storage`) or, for uploads and small results, in host memory. */
  storage: StorageHandle | undefined
  /** Storage version this node's value belongs to. */
  version = 0
  host: HostArray | undefined
  /** Called before each replay of a compiled function, for values that are new each time (random streams). */
  refresh: (() => HostArray) | undefined
  /** Called after each run that this leaf took part in and that went well. */
  ran: (() => void) | undefined
  /** The storage belongs to this node alone: once read, a small value moves to the host and its buffer is free. */
  transient = false
  /** First stack line outside the engine, kept only while `recordOrigins` is on. */
  origin: string | undefined

  constructor(
    readonly op: K,
    public inputs: readonly Node[],
    readonly attrs: OpAttrs[K],
    /** Outputs; all but a few kernels have one. A consumer of the node itself reads output 0, others go through `pick`. */
    readonly outputs: readonly OutputSpec[],
    readonly kind: number,
  ) {}

  get shape(): Shape {
    return this.outputs[0]!.shape
  }

  get dtype(): DType {
    return this.outputs[0]!.dtype
  }

  /** The value is at hand and the node is read like a leaf, whatever op made it. */
  get realized(): boolean {
    return this.storage !== undefined || this.host !== undefined
  }
}

const kinds = new Map<string, number>()
let lastKind = 0

/** Texts that are remembered. Attributes that are new with every step (a constant that a program counts up) must not pile up. */
const keptKinds = 100_000

/** Interned number of a text: equal numbers mean equal texts; equal texts get equal numbers, save for those long ago. */
export function intern(text: string): number {
  let id = kinds.get(text)
  if (id === undefined) {
    if (kinds.size >= keptKinds) kinds.clear()
    kinds.set(text, (id = ++lastKind))
  }
  return id
}

const functionIds = new WeakMap<object, number>()
let nextFunctionId = 1

/** Attributes as text; functions and class instances (user-defined ops) count by identity. */
function attrsKey(attrs: object): string {
  return JSON.stringify(attrs, (_, value) => {
    if (typeof value === 'function' || (value && typeof value === 'object' && value.byIdentity)) {
      if (!functionIds.has(value)) functionIds.set(value, nextFunctionId++)
      return `#${functionIds.get(value)}`
    }
    return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
  })
}

let origins = false

/** Debug aid: remember for every node the source line that recorded it. Costs a stack trace per op. Returns whether it was on. */
export function recordOrigins(on: boolean): boolean {
  const before = origins
  origins = on
  return before
}

export function createNode<K extends OpName>(
  op: K,
  inputs: readonly Node[],
  attrs: OpAttrs[K],
  outputs: readonly OutputSpec[],
): Node<K> {
  // The rule of a withGradient is a new function each time and no part of the program.
  const key = op === 'withGradient' ? '' : attrsKey(attrs)
  const kind = intern(`${op}|${key}|${outputs.map((o) => `${o.dtype}${o.shape}`).join(';')}`)
  // Specs are copied: the planner tells values apart by the identity of their spec.
  const node = new Node(
    op,
    inputs,
    attrs,
    outputs.map(({ shape, dtype }) => ({ shape, dtype })),
    kind,
  )
  if (origins) node.origin = callSite()
  return node
}
