/** Programs of fused pointwise chains and reductions, and the epilogues of matmuls: WGSL around what the emitter writes. */
import {
  type Binding,
  type Capabilities,
  declareBindings,
  type Epilogue,
  foldGrid,
  type Program,
} from '../../kernels/kernel.ts'
import { byteSize, computeType, storageType } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { ReduceOp } from '../ops/names.ts'
import { helpersFor } from '../ops/pointwise.ts'
import { contiguousStrides, numel } from '../shape.ts'
import { cooperativeHelper, Emitter, type ValueRef } from './emit.ts'
import { isReduction, type Partition } from './partition.ts'
import { constant, dot, unflatten, variable } from './symbolic.ts'

export interface Generated {
  readonly program: Program
  /** Values read, in binding order; the output binding follows. */
  readonly inputs: ValueRef[]
}

const noUniforms = new Uint32Array(0)

/** Reductions computed inside the step of `sink`. */
function inlinedReductions(sink: Node, part: Partition): Node<ReduceOp>[] {
  const found: Node<ReduceOp>[] = []
  const seen = new Set<Node>()
  const visit = (node: Node) => {
    if (seen.has(node)) return
    seen.add(node)
    if (isReduction(node)) found.push(node as Node<ReduceOp>)
    for (const x of node.inputs) if (!part.inMemory(x)) visit(x)
  }
  visit(sink)
  return found
}

/** Invocations that share a reduction, or 0 for one invocation an output. */
function cooperation(outputs: number, length: number, caps: Capabilities): number {
  if (length < 128) return 0
  if (caps.software) return outputs >= 32 ? 0 : length >= 4096 ? 128 : 32
  if (outputs >= 65536) return 0
  return length >= 1024 ? 256 : 64
}

export const usesHalf = (bindings: readonly Binding[]): boolean => bindings.some((b) => b.type === 'f16')

/** WGSL that stores a computed value as dtype. */
export const stored = (value: string, node: Node): string =>
  node.dtype === 'bool' ? `select(0u, 1u, ${value})` : node.dtype === 'f16' ? `f16(${value})` : value

function bytesOf(refs: readonly ValueRef[]): number {
  return refs.reduce((sum, r) => {
    const { shape, dtype } = r.node.outputs[r.output]!
    return sum + numel(shape) * byteSize(dtype)
  }, 0)
}

export interface InPlace {
  /** Value that the output binding already holds: read through it where the index is the output's own. */
  readonly target: Node
}

/** One launch that computes stored node `sink` from values in memory. Undefined when in-place reading would not be safe. */
export function generate(sink: Node, part: Partition, caps: Capabilities, inPlace?: InPlace): Generated | undefined {
  const reductions = inlinedReductions(sink, part)
  const outputs = numel(sink.shape)
  const length = Math.max(0, ...reductions.map((r) => r.attrs.axes.reduce((p, a) => p * r.inputs[0]!.shape[a]!, 1)))
  const cooperative = cooperation(outputs, length, caps)
  const threads = cooperative || 64
  // The sink itself is computed here, everything else in memory is read.
  const emitter = new Emitter({ inMemory: (n) => n !== sink && part.inMemory(n), cooperative })
  const linear = variable('i', outputs)
  if (inPlace) emitter.redirect(inPlace.target, linear, 'out0')
  const value = stored(emitter.value(sink, unflatten(linear, sink.shape)), sink)
  if (emitter.conflict) return undefined
  const bindings: Binding[] = emitter.inputs.map((input) => ({
    name: input.name,
    type: storageType(input.node.outputs[input.output]!.dtype),
    access: 'read',
  }))
  bindings.push({ name: 'out0', type: storageType(sink.dtype), access: 'read_write' })
  const ops = [...new Set(reductions.map((r) => `${r.op}:${computeType(r.dtype)}`))]
  const tree = cooperative
    ? ops.map((o) => cooperativeHelper(o.split(':')[0] as ReduceOp, o.split(':')[1]!, cooperative))
    : []
  const group = 'wid.y * nwg.x + wid.x'
  const index = cooperative ? `let i = ${group};` : `let i = (${group}) * ${threads}u + lid;`
  const store = `out0[i] = ${value};`
  const body = emitter.body
  const wgsl = `${usesHalf(bindings) ? 'enable f16;\n' : ''}${declareBindings(bindings)}
${[helpersFor(body), ...tree].filter(Boolean).join('\n')}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
${index}
if (i >= ${outputs}u) { return; }
${body}
${cooperative ? `if (lid == 0u) { ${store} }` : store}
}
`
  const grid = foldGrid(cooperative ? outputs : Math.ceil(outputs / threads), caps.maxGrid)
  const cost = {
    flops: emitter.flops * Math.max(outputs, ...reductions.map((r) => numel(r.inputs[0]!.shape))),
    bytes: bytesOf(emitter.inputs) + outputs * byteSize(sink.dtype),
  }
  const label = reductions.length ? `reduce.${reductions[0]!.op}` : 'pointwise'
  return { program: { label, wgsl, bindings, uniforms: noUniforms, grid, cost }, inputs: emitter.inputs }
}

/** The pointwise chain from `matmul` to `sink` as the tail that a matmul kernel calls on four columns of its result. */
export function generateEpilogue(
  sink: Node,
  matmul: Node,
  part: Partition,
): { epilogue: Epilogue; inputs: ValueRef[] } {
  const provided = new Map([[matmul, 'acc']])
  const emitter = new Emitter({ inMemory: (n) => n !== sink && part.inMemory(n), cooperative: 0, provided }, 'e')
  const shape = matmul.shape
  const rank = shape.length
  const batch = numel(shape.slice(0, -2))
  const at = [variable('batch', batch), variable('row', shape[rank - 2]!), variable('col', shape[rank - 1]!)]
  const linear = dot(at, contiguousStrides([batch, shape[rank - 2]!, shape[rank - 1]!]))
  const same = sink.shape.length === 2 && rank === 2
  const value = emitter.value(sink, same ? [at[1] ?? constant(0), at[2] ?? constant(0)] : unflatten(linear, sink.shape))
  const bindings: Binding[] = emitter.inputs.map((input) => ({
    name: input.name,
    type: storageType(input.node.outputs[input.output]!.dtype),
    access: 'read',
  }))
  const lanes = ['x', 'y', 'z', 'w'].map((c, i) => `epilogueLane(acc.${c}, batch, row, col + ${i}u)`)
  const wgsl = `${helpersFor(emitter.body)}
fn epilogueLane(acc: f32, batch: u32, row: u32, col: u32) -> f32 {
${emitter.body}
return ${value};
}
fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f {
  return vec4f(${lanes.join(', ')});
}
`
  return { epilogue: { bindings, wgsl, flopsPerOutput: emitter.flops }, inputs: emitter.inputs }
}
