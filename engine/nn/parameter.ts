/**
 * Parameters: tensors that training changes. A module is any object whose fields (nested, in arrays too) hold parameters; the
 * path to a field is its name in a checkpoint. `flatten` moves all parameters of a module into a few flat buffers, of which
 * each becomes a view: an optimiser step, an EMA or a clip is then one dispatch per buffer, whatever the number of parameters.
 */
import { LimitError } from '../device/errors.ts'
import { type HostArray, toHostArray } from '../dtype.ts'
import type { Node } from '../graph.ts'
import * as b from '../ops/build.ts'
import { currentDevice } from '../runtime/current.ts'
import { formatShape, numel, type Shape, ShapeError, sameShape } from '../shape.ts'
import { Tensor } from '../tensor.ts'

/** Offsets are whole multiples of 256 bytes, so that gradients can be written straight into their place. */
export const alignment = 64

/** Buffers are whole multiples of this many elements, so that a norm can be summed in equal rows. */
export const rowLength = 1024

export class Parameter extends Tensor<'f32'> {
  private home: { flat: FlatParameters; chunk: number; offset: number } | undefined
  /** The flat buffer's node that the view was made of. */
  private viewed: Node | undefined
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
    const { flat, chunk, offset } = this.home
    const whole = flat.nodes[chunk]!
    if (this.viewed !== whole) {
      this.viewed = whole
      // Replaces the initial values too: they must not stay in host memory beside the buffer.
      this.current = b.reshape(b.slice(whole, [offset], [numel(this.dims)]), this.dims)
    }
    return this.current
  }

  override get shape(): Shape {
    return this.dims
  }

  /** Initial values, while the parameter has not been flattened. */
  get initial(): HostArray | undefined {
    return this.home ? undefined : this.current.host
  }

  get flat(): FlatParameters | undefined {
    return this.home?.flat
  }

  moveInto(flat: FlatParameters, chunk: number, offset: number): void {
    this.home = { flat, chunk, offset }
    void this.node
  }
}

export type Module = object

/** Parameters of a module by name, in the order of its fields. */
export function namedParameters(module: Module, prefix = ''): Map<string, Parameter> {
  const found = new Map<string, Parameter>()
  const seen = new Set<object>()
  const visit = (value: unknown, name: string) => {
    if (value instanceof Parameter) {
      if (!seen.has(value)) found.set(name, value)
      seen.add(value)
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

/** Forgets what `backward()` gathered in the parameters of a module. */
export function zeroGrad(module: Module): void {
  for (const p of parameters(module)) p.grad = undefined
}

/** One flat buffer: parameters `first` … `end`−1 of the layout, parameter first + i at element `offsets[i]`. */
interface Chunk {
  readonly first: number
  readonly end: number
  readonly offsets: readonly number[]
  readonly total: number
}

export interface FlattenOptions {
  /** Largest bytes of one flat buffer; default what the device can bind at once. */
  readonly chunkBytes?: number
}

/** Values by parameter name. */
type Values = ReadonlyMap<string, { data: ArrayLike<number> }>

/**
 * All parameters of a module in a few f32 buffers ("chunks"): one, unless they exceed what the device binds at once. A list of nodes,
 * one per chunk, stands for the parameters or for anything laid out like them (gradients, moments).
 */
export class FlatParameters {
  /** Current values, one node per chunk; every assignment replaces its node. */
  nodes: Node[]
  readonly names: readonly string[]
  readonly shapes: readonly Shape[]
  readonly chunks: readonly Chunk[]

  /** @throws LimitError naming the parameter that alone exceeds a buffer */
  constructor(
    readonly byName: ReadonlyMap<string, Parameter>,
    options: FlattenOptions = {},
  ) {
    const list = [...byName.values()]
    this.names = [...byName.keys()]
    this.shapes = list.map((p) => p.shape)
    this.chunks = layChunks(this.names, this.shapes, options.chunkBytes ?? currentDevice().bindableBytes)
    const initial = list.map((p, i) => {
      if (!p.initial) throw new Error(`flatten: parameter '${this.names[i]}' already belongs to another flat storage`)
      return p.initial as Float32Array
    })
    this.nodes = this.upload('parameters', (values, offset, i) => values.set(initial[i]!, offset))
    this.chunks.forEach(({ first, offsets }, chunk) =>
      offsets.forEach((offset, i) => list[first + i]!.moveInto(this, chunk, offset)),
    )
  }

  /** Elements of all chunks, gaps included. */
  get total(): number {
    return this.chunks.reduce((sum, c) => sum + c.total, 0)
  }

  /** New buffers of this layout, filled by `fill(values, offset, parameter)`; zero where it writes nothing. */
  private upload(what: string, fill: (values: Float32Array, offset: number, parameter: number) => void): Node[] {
    return this.chunks.map(({ first, offsets, total }) => {
      const values = new Float32Array(total)
      offsets.forEach((offset, i) => fill(values, offset, first + i))
      return currentDevice().leafFrom(values, [total], 'f32', what)
    })
  }

  /** Further buffers of this layout, all zero. */
  zeros(what = 'optimiser state'): Node[] {
    return this.upload(what, () => undefined)
  }

  /**
   * Per chunk, one f32 for every 64 elements: how many of them belong to a parameter (the rest is a gap), negative where `marked`
   * says no.
   */
  blocks(marked: (name: string, shape: Shape) => boolean): Node[] {
    return this.chunks.map(({ first, offsets, total }) => {
      const values = new Float32Array(total / alignment)
      offsets.forEach((offset, i) => {
        const shape = this.shapes[first + i]!
        const sign = marked(this.names[first + i]!, shape) ? 1 : -1
        for (let left = numel(shape), at = offset / alignment; left > 0; left -= alignment, at++)
          values[at] = sign * Math.min(left, alignment)
      })
      return currentDevice().leafFrom(values, [values.length], 'f32', 'optimiser state')
    })
  }

  /** Gradients (one a parameter, in order) laid out like the parameters. */
  pack(grads: readonly Node[]): Node[] {
    if (grads.length !== this.names.length)
      throw new ShapeError(`optimiser: ${grads.length} gradients for ${this.names.length} parameters`)
    grads.forEach((g, i) => {
      if (!sameShape(g.shape, this.shapes[i]!))
        throw new ShapeError(
          `optimiser: gradient of '${this.names[i]}' is ${formatShape(g.shape)}, the parameter ${formatShape(this.shapes[i]!)}`,
        )
    })
    return this.chunks.map(({ first, end, offsets, total }) =>
      b.record(
        'pack',
        grads.slice(first, end).map((g) => b.cast(g, 'f32')),
        { offsets, total },
      ),
    )
  }

  /** Values by name, read from the device, one chunk after the other. */
  async read(nodes: readonly Node[] = this.nodes): Promise<Map<string, { shape: Shape; data: Float32Array }>> {
    const values = new Map<string, { shape: Shape; data: Float32Array }>()
    const asked = [...nodes]
    for (const [chunk, { first, offsets }] of this.chunks.entries()) {
      const all = (await currentDevice().read(asked[chunk]!)) as Float32Array
      offsets.forEach((offset, i) => {
        const shape = this.shapes[first + i]!
        values.set(this.names[first + i]!, { shape, data: all.slice(offset, offset + numel(shape)) })
      })
    }
    return values
  }

  /** Replaces the values of all parameters at once. Names and shapes must have been checked (`checkState`). */
  write(state: Values): void {
    this.nodes = this.assign(this.nodes, state)
  }

  /** Records that buffers of this layout take the values of `state`; returns the nodes that stand for them from then on. */
  assign(targets: readonly Node[], state: Values): Node[] {
    return this.chunks.map(({ first, offsets, total }, chunk) => {
      const values = new Float32Array(total)
      offsets.forEach((offset, i) => values.set(state.get(this.names[first + i]!)!.data, offset))
      const node = b.record('assign', [targets[chunk]!, b.hostLeaf(values, [total], 'f32')], {})
      currentDevice().addEffect(node)
      return node
    })
  }
}

/** Parameters in order, each chunk filled up to `bytes`. */
function layChunks(names: readonly string[], shapes: readonly Shape[], bytes: number): Chunk[] {
  const limit = Math.floor(bytes / 4 / rowLength) * rowLength
  const chunks: Chunk[] = []
  let first = 0
  let offsets: number[] = []
  let used = 0
  const close = (end: number) => {
    chunks.push({ first, end, offsets, total: Math.max(Math.ceil(used / rowLength) * rowLength, rowLength) })
    ;[first, offsets, used] = [end, [], 0]
  }
  shapes.forEach((shape, i) => {
    const size = Math.ceil(numel(shape) / alignment) * alignment
    if (size > limit)
      throw new LimitError(
        {
          limit: 'maxStorageBufferBindingSize',
          needed: 4 * size,
          available: 4 * limit,
          fix: 'A parameter must fit one buffer: split it into several parameters, and concat their results.',
        },
        `parameter '${names[i]}' ${formatShape(shape)}`,
      )
    if (used + size > limit) close(i)
    offsets.push(used)
    used += size
  })
  if (offsets.length || !chunks.length) close(shapes.length)
  return chunks
}

/** Moves a module's parameters into flat buffers on the default device; once per module. */
export function flatten(module: Module, options?: FlattenOptions): FlatParameters {
  const named = namedParameters(module)
  const flats = new Set([...named.values()].map((p) => p.flat))
  const [only] = flats
  if (flats.size === 1 && only) return only
  return new FlatParameters(named, options)
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
