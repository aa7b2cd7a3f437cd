/**
 * Kernels along one axis that are no reductions: running sums, arg-max, stable sort, scatter-add. One invocation a line (or an
 * output), in a fixed order, so that equal inputs give equal bits; no float atomics.
 *
 * RTX 3090 class (kernel.ts): for short lines, many of them. A line is a chain of n loads and n additions, some 40 clocks an element from L1,
 * and wants 30,000 lines to draw on all of memory; where `inner` is 1, neighbours read words n apart, and L1 holds what a sector
 * has besides. Sort and scatter-add read a line for each of its elements, n flops or more for 8 bytes: arithmetic from n = 300 on.
 * One or two values a thread, no workgroup memory.
 *
 * Values are f32, f16 or integers in memory; sums of floats f32. A tensor [outer…, n, inner…] is seen as outer × n × inner; line (o, i) holds the elements o·n·inner + k·inner + i.
 */
import { type Binding, type Capabilities, ceilDiv, declareBindings, foldGrid, type Program } from '../kernel.ts'
import { enableHalf, type FloatArray, type FloatType, floatArray, floatBytes, floatFunctions } from '../storage.ts'

const numel = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

function lines(shape: readonly number[], axis: number) {
  return { outer: numel(shape.slice(0, axis)), n: shape[axis]!, inner: numel(shape.slice(axis + 1)) }
}

function program(
  label: string,
  bindings: Binding[],
  invocations: number,
  body: string,
  bytes: number,
  flops: number,
  accumulators: number,
  caps: Capabilities,
  floats: readonly FloatArray[],
): Program {
  return {
    label,
    wgsl: `${enableHalf(bindings)}${declareBindings(bindings)}
${floatFunctions(floats)}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let t = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (t >= ${invocations}u) { return; }
${body}
}
`,
    bindings,
    uniforms: new Uint32Array(0),
    grid: foldGrid(ceilDiv(invocations, 64), caps.maxGrid),
    cost: { flops, bytes },
    workgroupBytes: 0,
    accumulators,
  }
}

/** Type of the elements in memory; floats are summed in f32, integers wrap. */
export type ScanType = FloatType | 'i32' | 'u32'

const isInteger = (type: ScanType): type is 'i32' | 'u32' => type === 'i32' || type === 'u32'

function arrayOf(name: string, caps: Capabilities, type: ScanType, access: Binding['access']): FloatArray {
  if (!isInteger(type)) return floatArray(name, caps, { type, access })
  return {
    name,
    binding: { name, type, access },
    functions: '',
    load: (i) => `${name}[${i}]`,
    store: (i, value) => `${name}[${i}] = ${value};`,
  }
}

/** x as it is read, y as it is written. */
const arrays = (caps: Capabilities, type: ScanType): { x: FloatArray; y: FloatArray } => ({
  x: arrayOf('x', caps, type, 'read'),
  y: arrayOf('y', caps, type, 'read_write'),
})

const bytesOf = (type: ScanType): number => (isInteger(type) ? 4 : floatBytes(type))
const zeroOf = (type: ScanType): string => (isInteger(type) ? `${type}(0)` : '0.0')

/** y[k] = x[0] + … + x[k] along `axis`. Bindings x, y. */
export function cumsumProgram(
  shape: readonly number[],
  axis: number,
  caps: Capabilities,
  type: ScanType = 'f32',
): Program {
  const { x, y } = arrays(caps, type)
  const { outer, n, inner } = lines(shape, axis)
  const body = `  let base = (t / ${inner}u) * ${n * inner}u + t % ${inner}u;
  var total = ${zeroOf(type)};
  for (var k = 0u; k < ${n}u; k++) { total += ${x.load(`base + k * ${inner}u`)}; ${y.store(`base + k * ${inner}u`, 'total')} }`
  const bytes = 2 * bytesOf(type) * numel(shape)
  return program('cumsum', [x.binding, y.binding], outer * inner, body, bytes, numel(shape), 1, caps, [x, y])
}

/** Index of the first largest element along `axis`, the axis dropped. Bindings x, index (i32). */
export function argmaxProgram(
  shape: readonly number[],
  axis: number,
  caps: Capabilities,
  type: ScanType = 'f32',
): Program {
  const { x } = arrays(caps, type)
  const { outer, n, inner } = lines(shape, axis)
  const body = `  let base = (t / ${inner}u) * ${n * inner}u + t % ${inner}u;
  var best = ${x.load('base')};
  var at = 0;
  for (var k = 1u; k < ${n}u; k++) { let v = ${x.load(`base + k * ${inner}u`)}; if (v > best) { best = v; at = i32(k); } }
  index[t] = at;`
  return program(
    'argmax',
    [x.binding, { name: 'index', type: 'i32', access: 'read_write' }],
    outer * inner,
    body,
    bytesOf(type) * numel(shape),
    numel(shape),
    2,
    caps,
    [x],
  )
}

/**
 * Stable order along the last axis by counting: an element's place is the number of elements before it in the order, ties
 * by index. Quadratic in n, one pass, no exchange. Bindings x, y, index (i32). NaN sorts last.
 */
export function sortProgram(
  shape: readonly number[],
  descending: boolean,
  caps: Capabilities,
  type: ScanType = 'f32',
): Program {
  const { x, y } = arrays(caps, type)
  const n = shape[shape.length - 1]!
  const before = descending ? 'w > v' : 'w < v'
  const isNan = (name: string) => (!isInteger(type) ? `(bitcast<u32>(${name}) & 0x7fffffffu) > 0x7f800000u` : 'false')
  const body = `  let row = (t / ${n}u) * ${n}u;
  let own = t - row;
  let v = ${x.load('t')};
  let vNan = ${isNan('v')};
  var place = 0u;
  for (var k = 0u; k < ${n}u; k++) {
    let w = ${x.load('row + k')};
    let wNan = ${isNan('w')};
    let first = select(${before}, !wNan, vNan && !wNan) && !wNan;
    let tie = select(w == v, wNan && vNan, vNan || wNan) && k < own;
    if (first || tie) { place++; }
  }
  ${y.store('row + place', 'v')}
  index[row + place] = i32(own);`
  const bindings: Binding[] = [x.binding, y.binding, { name: 'index', type: 'i32', access: 'read_write' }]
  const bytes = (4 + 2 * bytesOf(type)) * numel(shape)
  return program('sort', bindings, numel(shape), body, bytes, 2 * numel(shape) * n, 2, caps, [x, y])
}

export interface ScatterAddProblem {
  readonly input: readonly number[]
  /** As input, or 1 on axes along which the same indices serve. */
  readonly index: readonly number[]
  readonly axis: number
  /** Length of `axis` in the output. */
  readonly size: number
  /** The index is i32 rather than u32. */
  readonly signed: boolean
  /** Of x and y; default f32. */
  readonly type?: ScanType
}

/** out[…index[…k…]…] += x[…k…]: each output looks for its own sources, in order of k. Bindings x, index, y. */
export function scatterAddProgram(p: ScatterAddProblem, caps: Capabilities): Program {
  const { x, y } = arrays(caps, p.type ?? 'f32')
  const output = p.input.map((d, i) => (i === p.axis ? p.size : d))
  const { outer, n, inner } = lines(p.input, p.axis)
  const strides = p.index.map((d, i) => (d === 1 && i !== p.axis ? 0 : numel(p.index.slice(i + 1))))
  const terms: string[] = []
  let step = 1
  for (let i = output.length - 1; i >= 0; i--) {
    if (i !== p.axis && strides[i]) terms.push(`(t / ${step}u % ${output[i]}u) * ${strides[i]}u`)
    step *= output[i]!
  }
  const count = outer * p.size * inner
  const body = `  let lane = t % ${inner}u;
  let own = t / ${inner}u % ${p.size}u;
  let base = (t / ${inner * p.size}u) * ${n * inner}u + lane;
  let at = ${terms.join(' + ') || '0u'};
  var total = ${zeroOf(p.type ?? 'f32')};
  for (var k = 0u; k < ${n}u; k++) { if (u32(index[at + k * ${strides[p.axis]}u]) == own) { total += ${x.load(`base + k * ${inner}u`)}; } }
  ${y.store('t', 'total')}`
  const index: Binding = { name: 'index', type: p.signed ? 'i32' : 'u32', access: 'read' }
  const bytes = bytesOf(p.type ?? 'f32') * (numel(p.input) + count)
  return program('scatterAdd', [x.binding, index, y.binding], count, body, bytes, n * count, 1, caps, [x, y])
}
