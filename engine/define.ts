/**
 * `defineOp`: an op from the body of a kernel. The user writes what one invocation does, in WGSL, and the gradient in ordinary ops;
 * bindings, index helpers, the grid and shape checks are made here, and `gradcheck(op, inputs)` checks the two against each other.
 */
import { baselineCapabilities, type Capabilities } from '../kernels/kernel.ts'
import { scalar } from './create.ts'
import { checkNames } from './define/names.ts'
import { type Bound, customProgram, type Launch, type SourceOptions } from './define/source.ts'
import { LimitError } from './device/errors.ts'
import { isFloat } from './dtype.ts'
import type { Node, OutputSpec } from './graph.ts'
import * as b from './ops/build.ts'
import type { CustomAttrs, CustomOp } from './ops/custom.ts'
import { callSite } from './origin.ts'
import { type Call, ins, type LoweringContext, outs } from './plan/calls.ts'
import type { Operand as PlacedOperand } from './plan/views.ts'
import { currentDevice } from './runtime/current.ts'
import { formatShape, type Shape, ShapeError, sameShape } from './shape.ts'
import { type Operand, Tensor } from './tensor.ts'

/** What a kernel's buffers hold; f16 tensors are widened where f32 is asked. */
export type KernelDType = 'f32' | 'i32' | 'u32' | 'bool'

/**
 * An input: `'f32'` a tensor of any shape, `'f32[]'` a scalar, whose name is its value in WGSL, `{ dtype, axes: ['B', 'T'] }` a tensor of
 * so many axes, whose sizes are constants of those names; one name is one size, whatever input it stands in.
 */
export type InputSpec =
  | KernelDType
  | `${KernelDType}[]`
  | { readonly dtype: KernelDType; readonly axes: readonly string[] }

/** Sizes, or names of axes and constants; or a function of the inputs' shapes, in order. */
export type OutputShape = readonly (string | number)[] | ((...inputs: OutputSpec[]) => Shape)
/** An output is f32 unless it says otherwise. */
export type OutputDefinition = OutputShape | { readonly shape: OutputShape; readonly dtype: KernelDType }

type Inputs = Readonly<Record<string, InputSpec>>
type Outputs = Readonly<Record<string, OutputDefinition>>
type Named<T, V> = { readonly [K in keyof T]: V }

export interface VjpContext<O> {
  readonly outputs: Named<O, Tensor>
  /** Constants and uniforms of this use. */
  readonly attrs: CustomAttrs
}

interface Common<I extends Inputs> {
  /** For errors, profiles and plans. */
  readonly name?: string
  readonly inputs: I
  /**
   * What one invocation does. Tensors are arrays in row-major order (`x[i]`); `x_at(…)` reads by coordinates, 0 outside, `x_edge(…)` the
   * nearest element inside, `x_index(…)` is the flat index, `x_size` the count. With named output axes `B`, `T`, … are sizes and
   * `b`, `t`, … the coordinates (i32) of element `i`.
   */
  readonly wgsl: string
  /** WGSL at module scope: functions, workgroup variables. */
  readonly functions?: string
  /** Numbers compiled in: they may size arrays and be names of an output's sizes. A use may set others. */
  readonly constants?: Readonly<Record<string, number>>
  /** f32 numbers that travel beside the buffers: another value compiles nothing anew. A use may set others. */
  readonly uniforms?: Readonly<Record<string, number>>
  /**
   * 'element' (default): the body runs for each element `i` (u32) of the first output. 'row': a workgroup per row of the first input
   * that is no scalar; the body has `row`, `start = row · width`, `width`, `rows`, its `lane` of `lanes`, and `row_sum`, `row_max`, `row_min` of a
   * value per lane. Or workgroups of a given size in a given grid, with `wid`, `lid`, `gid`, `nwg` and `lane`; nothing guards the edges.
   */
  readonly launch?:
    | 'element'
    | 'row'
    | {
        readonly workgroup: readonly [number, number, number]
        readonly grid: (...inputs: OutputSpec[]) => readonly [number, number, number]
      }
}

type Gradients<I> = { readonly [K in keyof I]?: Tensor | undefined }

export interface OpDefinition<I extends Inputs> extends Common<I> {
  /** The only output, `y` in WGSL. */
  readonly output: OutputDefinition
  /** Gradients by input from dy, in ordinary ops; those left out are zero. */
  readonly vjp?: (inputs: Named<I, Tensor>, dy: Tensor, context: VjpContext<{ y: unknown }>) => Gradients<I>
}

export interface OpDefinitionOfMany<I extends Inputs, O extends Outputs> extends Common<I> {
  readonly outputs: O
  /** As with one output; `dy` by output, zeros where nothing depends on it. */
  readonly vjp?: (inputs: Named<I, Tensor>, dy: Named<O, Tensor>, context: VjpContext<O>) => Gradients<I>
}

export interface DefinedOp<Result = Tensor> {
  (...inputs: Operand[]): Result
  /** With other constants or uniforms than the definition's. */
  (...args: [...inputs: Operand[], attributes: Readonly<Record<string, number>>]): Result
  readonly opName: string
  /** The whole WGSL of a use, for the open device where there is one. */
  source(...args: (Operand | Readonly<Record<string, number>>)[]): string
}

interface Input {
  readonly name: string
  readonly dtype: KernelDType
  readonly scalar: boolean
  readonly axes: readonly string[] | undefined
}

const inputOf = (name: string, spec: InputSpec): Input =>
  typeof spec === 'object'
    ? { name, dtype: spec.dtype, scalar: false, axes: spec.axes }
    : { name, dtype: spec.replace('[]', '') as KernelDType, scalar: spec.endsWith('[]'), axes: undefined }

interface Output {
  readonly name: string
  readonly dtype: KernelDType
  readonly shape: OutputShape
}

const outputOf = (name: string, o: OutputDefinition): Output =>
  typeof o === 'object' && 'shape' in o ? { name, dtype: o.dtype, shape: o.shape } : { name, dtype: 'f32', shape: o }

/** The general form of both kinds of definition. */
interface Definition {
  readonly name: string
  readonly site: string | undefined
  readonly inputs: readonly Input[]
  readonly outputs: readonly Output[]
  readonly common: Common<Inputs>
  readonly vjp: ((inputs: any, dys: readonly Tensor[], context: VjpContext<any>) => Gradients<any>) | undefined
}

const show = (s: OutputSpec) => `${s.dtype}${formatShape(s.shape)}`

/** Checks the inputs of a use and gives the sizes of named axes. */
function checkInputs(d: Definition, specs: readonly OutputSpec[]): Map<string, { size: number; of: string }> {
  const sizes = new Map<string, { size: number; of: string }>()
  d.inputs.forEach((input, k) => {
    const spec = specs[k]!
    const fail = (what: string) => {
      throw new ShapeError(`${d.name}: input '${input.name}' must be ${what}, got ${show(spec)}`)
    }
    if (spec.dtype !== input.dtype) fail(`${input.dtype}; use .cast('${input.dtype}')`)
    if (input.scalar && spec.shape.length) fail('a scalar')
    if (!input.axes) return
    if (input.axes.length !== spec.shape.length) fail(`[${input.axes.join(', ')}]`)
    input.axes.forEach((axis, i) => {
      const known = sizes.get(axis)
      const size = spec.shape[i]!
      if (known && known.size !== size)
        throw new ShapeError(
          `${d.name}: axis ${axis} is ${known.size} in '${known.of}' and ${size} in '${input.name}' ${show(spec)}`,
        )
      sizes.set(axis, { size, of: input.name })
    })
  })
  return sizes
}

function outputShapes(d: Definition, specs: readonly OutputSpec[], attrs: CustomAttrs): OutputSpec[] {
  const sizes = checkInputs(d, specs)
  return d.outputs.map(({ name, dtype, shape }) => {
    if (typeof shape === 'function') return { shape: shape(...specs), dtype }
    const dims = shape.map((s) => (typeof s === 'number' ? s : (sizes.get(s)?.size ?? attrs[s])))
    const unknown = shape.find((_, i) => dims[i] === undefined)
    if (unknown !== undefined)
      throw new ShapeError(`${d.name}: output '${name}' has an axis ${unknown} that no input or constant names`)
    return { shape: dims as number[], dtype }
  })
}

function launchOf(d: Definition, specs: readonly OutputSpec[], caps: Capabilities): Launch {
  const { launch = 'element' } = d.common
  if (typeof launch === 'string') return launch
  const grid = launch.grid(...specs)
  const limit = (name: string, needed: number, available: number, fix: string) => {
    if (!(needed <= available)) throw new LimitError({ limit: name, needed, available, fix }, `'${d.name}'`)
  }
  const threads = launch.workgroup[0] * launch.workgroup[1] * launch.workgroup[2]
  limit('maxComputeInvocationsPerWorkgroup', threads, caps.maxInvocations, 'Use a smaller workgroup.')
  limit(
    'maxComputeWorkgroupsPerDimension',
    Math.max(...grid),
    caps.maxGrid,
    'Spread the grid over its other dimensions.',
  )
  return { workgroup: launch.workgroup, grid }
}

function programOf(
  d: Definition,
  inputs: readonly OutputSpec[],
  outputs: readonly OutputSpec[],
  attrs: CustomAttrs,
  caps: Capabilities,
) {
  const count = inputs.length + outputs.length
  if (count > caps.maxStorageBuffers)
    throw new LimitError(
      {
        limit: 'maxStorageBuffersPerShaderStage',
        needed: count,
        available: caps.maxStorageBuffers,
        fix: 'Join inputs into one tensor.',
      },
      `'${d.name}'`,
    )
  const chosen = (of: Readonly<Record<string, number>> = {}) =>
    Object.fromEntries(Object.keys(of).map((n) => [n, attrs[n]!]))
  const options: SourceOptions = {
    name: d.name,
    site: d.site,
    inputs: d.inputs.map(({ name, scalar, axes }, k): Bound => ({ ...inputs[k]!, name, scalar, axes })),
    outputs: d.outputs.map(({ name, shape }, k): Bound => {
      const named = typeof shape !== 'function' && shape.every((s) => typeof s === 'string')
      return { ...outputs[k]!, name, scalar: false, axes: named ? (shape as string[]) : undefined }
    }),
    launch: launchOf(d, inputs, caps),
    body: d.common.wgsl,
    functions: d.common.functions ?? '',
    constants: chosen(d.common.constants),
    uniforms: chosen(d.common.uniforms),
  }
  return customProgram(options, caps)
}

/** The user's gradients by name, checked, in the order of the inputs. */
function gradientsOf(d: Definition, node: Node<'custom'>, dys: readonly (Node | undefined)[]): (Node | undefined)[] {
  const byName = <T>(items: readonly { name: string }[], f: (k: number) => T) =>
    Object.fromEntries(items.map(({ name }, k) => [name, f(k)]))
  const zeros = (k: number) => b.full(node.outputs[k]!.shape, 0, node.outputs[k]!.dtype)
  const given = d.vjp!(
    byName(d.inputs, (k) => new Tensor(node.inputs[k]!)),
    d.outputs.map((_, k) => new Tensor(dys[k] ?? zeros(k))),
    { outputs: byName(d.outputs, (k) => new Tensor(b.pick(node, k))), attrs: node.attrs.attrs },
  )
  for (const name of Object.keys(given))
    if (!d.inputs.some((i) => i.name === name))
      throw new Error(
        `${d.name}: its vjp gave a gradient for '${name}', which is none of ${d.inputs.map((i) => i.name)}`,
      )
  return d.inputs.map(({ name }, k) => {
    const g = given[name]
    const input = node.inputs[k]!
    if (!g || !isFloat(input.dtype)) return undefined
    if (!sameShape(g.shape, input.shape))
      throw new ShapeError(
        `${d.name}: its vjp gave ${formatShape(g.shape)} for '${name}', which is ${formatShape(input.shape)}; sum over what was broadcast`,
      )
    return b.cast(g.node, input.dtype)
  })
}

function customOp(d: Definition): CustomOp {
  return {
    byIdentity: true,
    name: d.name,
    outputs: (inputs, attrs) => outputShapes(d, inputs, attrs),
    ...(d.vjp ? { vjp: (node, dys) => gradientsOf(d, node as Node<'custom'>, dys) } : {}),
    lower: (node, operands: readonly PlacedOperand[], { caps }: LoweringContext): Call[] => {
      const specs = node.inputs.map((x) => x.outputs[0]!)
      const program = programOf(d, specs, node.outputs, node.attrs.attrs, caps)
      return [{ program, args: [...ins(...operands.keys()), ...outs(...node.outputs.keys())] }]
    },
  }
}

const isOperand = (x: unknown): x is Operand => typeof x === 'number' || x instanceof Tensor

/** Tells the tensors of a call from the attributes that may follow them. */
function readArguments(d: Definition, args: readonly unknown[]): { nodes: Node[]; attrs: CustomAttrs } {
  const defaults = { ...d.common.constants, ...d.common.uniforms }
  const last = args.at(-1)
  const extra = args.length && !isOperand(last) ? (last as Readonly<Record<string, number>>) : undefined
  const operands = extra ? args.slice(0, -1) : args
  if (operands.length !== d.inputs.length || !operands.every(isOperand))
    throw new ShapeError(`${d.name}: takes ${d.inputs.map((i) => i.name).join(', ')}, got ${operands.length} inputs`)
  for (const [name, value] of Object.entries(extra ?? {})) {
    if (!(name in defaults))
      throw new Error(`${d.name}: has no attribute '${name}'; it has ${Object.keys(defaults).join(', ') || 'none'}`)
    if (!Number.isFinite(value)) throw new Error(`${d.name}: attribute '${name}' must be a finite number, got ${value}`)
  }
  const nodes = (operands as Operand[]).map((x, k) => {
    const node = typeof x === 'number' ? scalar(x, d.inputs[k]!.dtype).node : x.node
    return node.dtype === 'f16' && d.inputs[k]!.dtype === 'f32' ? b.cast(node, 'f32') : node
  })
  return { nodes, attrs: { ...defaults, ...extra } }
}

function capabilities(): Capabilities {
  try {
    return currentDevice().caps
  } catch {
    return baselineCapabilities
  }
}

/**
 * Makes an op from its inputs, its output's shape, a WGSL body and, to be differentiated, a vjp.
 * @throws Error when a name is no name in WGSL or is taken
 */
export function defineOp<const I extends Inputs>(definition: OpDefinition<I>): DefinedOp<Tensor>
export function defineOp<const I extends Inputs, const O extends Outputs>(
  definition: OpDefinitionOfMany<I, O>,
): DefinedOp<{ [K in keyof O]: Tensor }>
export function defineOp(
  definition: OpDefinition<Inputs> | OpDefinitionOfMany<Inputs, Outputs>,
): DefinedOp<Tensor | Record<string, Tensor>> {
  const many = 'outputs' in definition
  const outputs = Object.entries(many ? definition.outputs : { y: definition.output }).map(([n, o]) => outputOf(n, o))
  const inputs = Object.entries(definition.inputs).map(([n, s]) => inputOf(n, s))
  const byName = (dys: readonly Tensor[]) => Object.fromEntries(outputs.map(({ name }, k) => [name, dys[k]!]))
  const { vjp } = definition
  const d: Definition = {
    name: definition.name ?? 'custom op',
    site: callSite(),
    inputs,
    outputs,
    common: definition,
    vjp: vjp && ((x, dys, context) => vjp(x, (many ? byName(dys) : dys[0]!) as never, context as never)),
  }
  const shapes = outputs.flatMap(({ shape }) => (typeof shape === 'function' ? [] : shape))
  const constants = Object.keys(definition.constants ?? {})
  checkNames({
    op: d.name,
    inputs: inputs.map((i) => i.name),
    outputs: outputs.map((o) => o.name),
    attributes: [...constants, ...Object.keys(definition.uniforms ?? {})],
    axes: [
      ...inputs.flatMap((i) => i.axes ?? []),
      ...shapes.filter((s): s is string => typeof s === 'string' && !constants.includes(s)),
    ],
  })
  const op = customOp(d)
  const call = (...args: unknown[]) => {
    const { nodes, attrs } = readArguments(d, args)
    const node = b.record('custom', nodes, { op, attrs })
    return many
      ? Object.fromEntries(outputs.map(({ name }, k) => [name, new Tensor(b.pick(node, k))]))
      : new Tensor(node)
  }
  const source = (...args: unknown[]) => {
    const { nodes, attrs } = readArguments(d, args)
    const specs = nodes.map((n) => n.outputs[0]!)
    return programOf(d, specs, op.outputs(specs, attrs), attrs, capabilities()).wgsl
  }
  return Object.assign(call, { opName: d.name, source }) as DefinedOp<Tensor | Record<string, Tensor>>
}
