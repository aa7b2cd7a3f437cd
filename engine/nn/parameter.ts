/**
 * Parameters: tensors that training changes. A module is any object whose fields (nested, in arrays too) hold parameters; the
 * path to a field is its name in a checkpoint. `flatten` moves all parameters of a module into one buffer, of which
 * each becomes a view: an optimiser step, an EMA or a clip is then one dispatch, whatever the number of parameters.
 */
import { type HostArray, toHostArray } from '../dtype.ts'
import type { Node } from '../graph.ts'
import * as b from '../ops/build.ts'
import { currentDevice } from '../runtime/device.ts'
import { formatShape, numel, type Shape, ShapeError, sameShape } from '../shape.ts'
import { Tensor } from '../tensor.ts'

/** Offsets are whole multiples of 256 bytes, so that gradients can be written straight into their place. */
const alignment = 64

export class Parameter extends Tensor {
  private view: { of: Node; node: Node } | undefined
  private home: { flat: FlatParameters; offset: number } | undefined
  private readonly dims: Shape

  constructor(values: ArrayLike<number>, shape: Shape) {
    if (values.length !== numel(shape))
      throw new ShapeError(`parameter: ${values.length} values do not fit ${formatShape(shape)}`)
    super(b.hostLeaf(toHostArray(values, 'f32'), shape, 'f32'))
    this.dims = shape
    this.requireGrad()
  }

  override get node(): Node {
    if (!this.home) return this.current
    const { flat, offset } = this.home
    if (this.view?.of !== flat.node) {
      const part = b.slice(flat.node, [offset], [numel(this.dims)])
      this.view = { of: flat.node, node: b.reshape(part, this.dims) }
    }
    return this.view.node
  }

  /** Initial values, while the parameter has not been flattened. */
  get initial(): HostArray | undefined {
    return this.home ? undefined : this.current.host
  }

  get flat(): FlatParameters | undefined {
    return this.home?.flat
  }

  moveInto(flat: FlatParameters, offset: number): void {
    this.home = { flat, offset }
  }
}

export type Module = object

/** Parameters of a module by name, in the order of its fields. */
export function namedParameters(module: Module, prefix = ''): Map<string, Parameter> {
  const found = new Map<string, Parameter>()
  const seen = new Set<object>()
  const visit = (value: unknown, name: string) => {
    if (value instanceof Parameter) {
      if (![...found.values()].includes(value)) found.set(name, value)
    } else if (
      value &&
      typeof value === 'object' &&
      !(value instanceof Tensor) &&
      !ArrayBuffer.isView(value) &&
      !seen.has(value)
    ) {
      seen.add(value)
      if (value instanceof Map) for (const [k, v] of value) visit(v, name ? `${name}.${k}` : `${k}`)
      else for (const [k, v] of Object.entries(value)) visit(v, name ? `${name}.${k}` : k)
    }
  }
  visit(module, prefix)
  return found
}

export const parameters = (module: Module): Parameter[] => [...namedParameters(module).values()]

/** All parameters of a module in one f32 buffer. */
export class FlatParameters {
  node: Node
  readonly names: readonly string[]
  readonly offsets: readonly number[]
  readonly shapes: readonly Shape[]
  readonly total: number

  constructor(readonly byName: ReadonlyMap<string, Parameter>) {
    const list = [...byName.values()]
    this.names = [...byName.keys()]
    this.shapes = list.map((p) => p.shape)
    let total = 0
    this.offsets = this.shapes.map((shape) => {
      const at = total
      total += Math.ceil(numel(shape) / alignment) * alignment
      return at
    })
    this.total = Math.max(total, alignment)
    const values = new Float32Array(this.total)
    list.forEach((p, i) => {
      if (!p.initial) throw new Error(`flatten: parameter '${this.names[i]}' already belongs to another flat storage`)
      values.set(p.initial as Float32Array, this.offsets[i]!)
    })
    this.node = currentDevice().leafFrom(values, [this.total], 'f32', 'parameters')
    list.forEach((p, i) => p.moveInto(this, this.offsets[i]!))
  }

  /** A further flat buffer of this layout; `value(name, shape)` per parameter, `gap` between them. */
  like(value: (name: string, shape: Shape) => number, gap = 0): Node {
    const values = new Float32Array(this.total).fill(gap)
    this.offsets.forEach((at, i) =>
      values.fill(value(this.names[i]!, this.shapes[i]!), at, at + numel(this.shapes[i]!)),
    )
    return currentDevice().leafFrom(values, [this.total], 'f32', 'optimiser state')
  }

  /** Gradients (one a parameter, in order) laid out like the parameters. */
  pack(grads: readonly Node[]): Node {
    if (grads.length !== this.names.length)
      throw new ShapeError(`optimiser: ${grads.length} gradients for ${this.names.length} parameters`)
    grads.forEach((g, i) => {
      if (!sameShape(g.shape, this.shapes[i]!))
        throw new ShapeError(
          `optimiser: gradient of '${this.names[i]}' is ${formatShape(g.shape)}, the parameter ${formatShape(this.shapes[i]!)}`,
        )
    })
    return b.record(
      'pack',
      grads.map((g) => b.cast(g, 'f32')),
      { offsets: this.offsets, total: this.total },
    )
  }

  /** Values by name, read from the device. */
  async read(node: Node = this.node): Promise<Map<string, { shape: Shape; data: Float32Array }>> {
    const all = (await currentDevice().read(node)) as Float32Array
    return new Map(
      this.names.map((name, i) => [
        name,
        { shape: this.shapes[i]!, data: all.slice(this.offsets[i]!, this.offsets[i]! + numel(this.shapes[i]!)) },
      ]),
    )
  }

  /** Replaces the values of all parameters at once. Names and shapes must have been checked (`checkState`). */
  write(state: ReadonlyMap<string, { data: ArrayLike<number> }>, target: Node = this.node): Node {
    const values = new Float32Array(this.total)
    this.names.forEach((name, i) => values.set(Float32Array.from(state.get(name)!.data), this.offsets[i]!))
    const node = b.record('assign', [target, b.hostLeaf(values, [this.total], 'f32')], {})
    currentDevice().addEffect(node)
    if (target === this.node) this.node = node
    return node
  }
}

/** Moves a module's parameters into one buffer on the default device; once per module. */
export function flatten(module: Module): FlatParameters {
  const named = namedParameters(module)
  const flats = new Set([...named.values()].map((p) => p.flat))
  const [only] = flats
  if (flats.size === 1 && only) return only
  return new FlatParameters(named)
}

export interface StateMismatch {
  readonly missing: string[]
  readonly unexpected: string[]
  readonly wrongShape: string[]
}

/** What keeps a checkpoint from fitting a module, both ways; all lists empty when it fits. */
export function compareState(module: Module, state: ReadonlyMap<string, { shape: Shape }>): StateMismatch {
  const own = namedParameters(module)
  const wrongShape: string[] = []
  for (const [name, p] of own) {
    const other = state.get(name)
    if (other && !sameShape(other.shape, p.shape))
      wrongShape.push(`${name}: ${formatShape(other.shape)} in the file, ${formatShape(p.shape)} in the model`)
  }
  return {
    missing: [...own.keys()].filter((n) => !state.has(n)),
    unexpected: [...state.keys()].filter((n) => !own.has(n)),
    wrongShape,
  }
}

/** Loads values by name. @throws Error naming every missing, unexpected and misshapen parameter; nothing is changed then. */
export function loadState(
  module: Module,
  state: ReadonlyMap<string, { shape: Shape; data: ArrayLike<number> }>,
  what = 'state',
): void {
  const { missing, unexpected, wrongShape } = compareState(module, state)
  const list = (title: string, names: string[]) =>
    names.length ? [`  ${title}:`, ...names.map((n) => `    ${n}`)] : []
  const lines = [
    ...list('missing in the file', missing),
    ...list('not in the model', unexpected),
    ...list('of another shape', wrongShape),
  ]
  if (lines.length) throw new Error(`${what} does not fit the model:\n${lines.join('\n')}`)
  flatten(module).write(state)
}
