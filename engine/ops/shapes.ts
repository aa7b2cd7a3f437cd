/** Shape and dtype rule of every op: what it accepts, what comes out. Errors name the op, the shapes and the argument. */

import { foldShape } from '../../kernels/pooling/fold.ts'
import { isFloat } from '../dtype.ts'
import type { OutputSpec } from '../graph.ts'
import { formatShape, numel, resolveShape, type Shape, ShapeError, sameShape } from '../shape.ts'
import { graphShapes } from './graph-shapes.ts'
import type { AttentionAttrs, BinaryOp, OpAttrs, OpName, ReduceOp, UnaryOp } from './names.ts'

type Rule<K extends OpName> = (inputs: readonly OutputSpec[], attrs: OpAttrs[K], op: K) => OutputSpec[]

const fail = (message: string): never => {
  throw new ShapeError(message)
}
const show = (s: OutputSpec) => `${s.dtype}${formatShape(s.shape)}`
const out = (shape: Shape, dtype: OutputSpec['dtype']): OutputSpec[] => [{ shape, dtype }]

const same: Rule<OpName> = ([x]) => out(x!.shape, x!.dtype)

const float: Rule<UnaryOp> = ([x], _, op) =>
  isFloat(x!.dtype) ? out(x!.shape, x!.dtype) : fail(`${op}: needs a float tensor, got ${show(x!)}; use .cast('f32')`)

const number: Rule<UnaryOp> = ([x], _, op) =>
  x!.dtype === 'bool' ? fail(`${op}: bool tensors have no arithmetic; use .cast('i32')`) : out(x!.shape, x!.dtype)

const test: Rule<UnaryOp> = ([x]) => out(x!.shape, 'bool')

function needsF32(op: string, ...inputs: readonly OutputSpec[]): void {
  for (const x of inputs) if (x.dtype !== 'f32') fail(`${op}: needs f32 tensors, got ${show(x)}; use .cast('f32')`)
}

function needsNumbers(op: string, x: OutputSpec): void {
  if (x.dtype === 'bool') fail(`${op}: needs numbers, got ${show(x)}; use .cast('u32')`)
}

function sameInputs(op: string, inputs: readonly OutputSpec[]): OutputSpec {
  const [first, ...rest] = inputs
  for (const other of rest)
    if (!sameShape(first!.shape, other.shape) || first!.dtype !== other.dtype)
      fail(`${op}: operands must agree, got ${inputs.map(show).join(' and ')}`)
  return first!
}

const arithmetic: Rule<BinaryOp> = (inputs, _, op) => {
  const s = sameInputs(op, inputs)
  if (s.dtype === 'bool') fail(`${op}: bool tensors have no arithmetic; use .cast('i32') or logical ops`)
  return [s]
}
const compare: Rule<BinaryOp> = (inputs, _, op) => out(sameInputs(op, inputs).shape, 'bool')
const order: Rule<BinaryOp> = (inputs, _, op) => {
  const s = sameInputs(op, inputs)
  return s.dtype === 'bool' ? fail(`${op}: bool tensors have no order; use .cast('i32')`) : out(s.shape, 'bool')
}
const logical: Rule<BinaryOp> = (inputs, _, op) => {
  const s = sameInputs(op, inputs)
  return s.dtype === 'bool' ? [s] : fail(`${op}: needs bool tensors, got ${inputs.map(show).join(' and ')}`)
}

const reduce: Rule<ReduceOp> = ([x], { axes }, op) => {
  if (x!.dtype === 'bool') fail(`${op}: cannot reduce bool; use .cast('i32')`)
  const shape = x!.shape.filter((_, i) => !axes.includes(i))
  if (op !== 'sum' && op !== 'prod' && axes.some((a) => x!.shape[a] === 0)) fail(`${op}: axis of size 0 in ${show(x!)}`)
  return out(shape, x!.dtype)
}

function attentionShapes([q, k, v]: readonly OutputSpec[], op: string) {
  const r = q!.shape.length
  if (r < 3 || k!.shape.length !== r || v!.shape.length !== r)
    fail(`${op}: q, k, v must be [batch…, length, heads, d], got ${[q!, k!, v!].map(show).join(', ')}`)
  const ok =
    sameShape(k!.shape, v!.shape) &&
    sameShape(q!.shape.slice(0, r - 3), k!.shape.slice(0, r - 3)) &&
    sameShape(q!.shape.slice(r - 2), k!.shape.slice(r - 2))
  if (!ok) fail(`${op}: q, k, v disagree: ${[q!, k!, v!].map(show).join(', ')} for [batch…, length, heads, d]`)
  return { batch: q!.shape.slice(0, r - 3), lq: q!.shape[r - 3]!, heads: q!.shape[r - 2]!, lk: k!.shape[r - 3]! }
}

function checkAttentionExtras(inputs: readonly OutputSpec[], attrs: AttentionAttrs) {
  const { batch, lq, lk, heads } = attentionShapes(inputs, 'attention')
  const full = [...batch, heads, lq, lk]
  if (attrs.hasBias) {
    const bias = inputs[3]!
    const fits =
      bias.shape.length === full.length && bias.shape.every((d, i) => d === full[i] || (d === 1 && i < full.length - 2))
    if (!fits)
      fail(`attention: bias ${show(bias)} does not broadcast to ${formatShape(full)} (batch and head axes may be 1)`)
  }
  if (attrs.hasMask) {
    const mask = inputs[attrs.hasBias ? 4 : 3]!
    const want = [...batch, lk]
    const fits =
      mask.shape.length === want.length && mask.shape.every((d, i) => d === want[i] || (d === 1 && i < want.length - 1))
    if (!fits) fail(`attention: keyMask ${show(mask)} does not broadcast to ${formatShape(want)}`)
  }
}

const conv2d: Rule<'conv2d'> = (inputs, { stride, padding, dilation, groups }) => {
  const [x, w, bias] = inputs
  if (x!.shape.length !== 4 || w!.shape.length !== 4)
    fail(`conv2d: x must be [N, C, H, W] and weight [O, C/groups, KH, KW], got ${show(x!)} and ${show(w!)}`)
  const [n, c, h, wd] = x!.shape as [number, number, number, number]
  const [o, cg, kh, kw] = w!.shape as [number, number, number, number]
  if (c !== cg * groups || o % groups)
    fail(`conv2d: ${c} input and ${o} output channels do not fit weight ${show(w!)} with ${groups} groups`)
  if (bias && !sameShape(bias.shape, [o])) fail(`conv2d: bias must be [${o}], got ${show(bias)}`)
  const oh = Math.floor((h + padding[0] + padding[2] - dilation[0] * (kh - 1) - 1) / stride[0]) + 1
  const ow = Math.floor((wd + padding[1] + padding[3] - dilation[1] * (kw - 1) - 1) / stride[1]) + 1
  if (oh < 1 || ow < 1) fail(`conv2d: kernel ${formatShape([kh, kw])} is larger than the padded input ${show(x!)}`)
  return out([n, o, oh, ow], x!.dtype)
}

const shared: { [K in UnaryOp | BinaryOp | ReduceOp]: Rule<K> } = {
  neg: number,
  abs: number,
  sign: number,
  floor: number,
  ceil: number,
  round: number,
  exp: float,
  log: float,
  sqrt: float,
  rsqrt: float,
  reciprocal: float,
  sin: float,
  cos: float,
  tanh: float,
  erf: float,
  sigmoid: float,
  softplus: float,
  logicalNot: ([x]) =>
    x!.dtype === 'bool' ? out(x!.shape, 'bool') : fail(`logicalNot: needs a bool tensor, got ${show(x!)}`),
  isNan: test,
  isFinite: test,
  add: arithmetic,
  sub: arithmetic,
  mul: arithmetic,
  div: arithmetic,
  pow: arithmetic,
  mod: arithmetic,
  maximum: arithmetic,
  minimum: arithmetic,
  less: order,
  lessEqual: order,
  greater: order,
  greaterEqual: order,
  equal: compare,
  notEqual: compare,
  logicalAnd: logical,
  logicalOr: logical,
  sum: reduce,
  max: reduce,
  min: reduce,
  prod: reduce,
}

export const shapeRules: { [K in OpName]: Rule<K> } = {
  ...shared,
  leaf: () => fail('leaf: has no rule'),
  constant: () => fail('constant: has no rule'),
  iota: () => fail('iota: has no rule'),
  randomBits: () => fail('randomBits: has no rule'),
  cast: ([x], { to }) => out(x!.shape, to),
  bitcast: ([x], { to }) =>
    [x!.dtype, to].some((d) => d === 'f16' || d === 'bool')
      ? fail(`bitcast: between f32, i32 and u32 only, got ${show(x!)} to ${to}`)
      : out(x!.shape, to),
  where: ([condition, a, b]) => {
    if (condition!.dtype !== 'bool') fail(`where: the condition must be bool, got ${show(condition!)}`)
    if (!sameShape(condition!.shape, a!.shape)) fail(`where: condition ${show(condition!)} against ${show(a!)}`)
    return [sameInputs('where', [a!, b!])]
  },
  detach: same,
  withGradient: same,
  after: same,
  contiguous: same,

  reshape: ([x], { shape }) => out(resolveShape(shape, numel(x!.shape), 'reshape'), x!.dtype),
  permute: ([x], { axes }) => {
    const rank = x!.shape.length
    if (axes.length !== rank || [...axes].sort((a, b) => a - b).some((a, i) => a !== i))
      fail(`permute: [${axes}] is not an order of the ${rank} axes of ${show(x!)}`)
    return out(
      axes.map((a) => x!.shape[a]!),
      x!.dtype,
    )
  },
  expand: ([x], { shape }) => {
    const fits = x!.shape.length === shape.length && x!.shape.every((d, i) => d === shape[i] || d === 1)
    return fits ? out(shape, x!.dtype) : fail(`expand: ${show(x!)} does not expand to ${formatShape(shape)}`)
  },
  slice: ([x], { starts, steps, sizes }) => {
    const rank = x!.shape.length
    if (starts.length !== rank || steps.length !== rank || sizes.length !== rank)
      fail(`slice: ${starts.length} ranges for ${show(x!)}`)
    for (let i = 0; i < rank; i++) {
      const last = starts[i]! + (sizes[i]! - 1) * steps[i]!
      const d = x!.shape[i]!
      if (
        steps[i] === 0 ||
        sizes[i]! < 0 ||
        (sizes[i]! > 0 && (starts[i]! < 0 || starts[i]! >= d || last < 0 || last >= d))
      )
        fail(`slice: axis ${i} from ${starts[i]} step ${steps[i]} count ${sizes[i]} leaves ${show(x!)}`)
    }
    return out(sizes, x!.dtype)
  },
  pad: ([x], { before, after }) => {
    if (
      before.length !== x!.shape.length ||
      after.length !== x!.shape.length ||
      [...before, ...after].some((p) => p < 0)
    )
      fail(`pad: [${before}] and [${after}] must give a count ≥ 0 for every axis of ${show(x!)}`)
    return out(
      x!.shape.map((d, i) => d + before[i]! + after[i]!),
      x!.dtype,
    )
  },
  windows: ([x], { axes, sizes, strides, dilations }) => {
    const counts = axes.map((axis, j) => {
      const extent = dilations[j]! * (sizes[j]! - 1) + 1
      const d = x!.shape[axis]!
      if (sizes[j]! < 1 || strides[j]! < 1 || dilations[j]! < 1)
        fail(`windows: size, stride and dilation must be ≥ 1, got ${sizes[j]}, ${strides[j]}, ${dilations[j]}`)
      if (extent > d) fail(`windows: a window of ${extent} is longer than axis ${axis} of ${show(x!)}`)
      return Math.floor((d - extent) / strides[j]!) + 1
    })
    const shape = x!.shape.map((d, i) => (axes.includes(i) ? counts[axes.indexOf(i)]! : d))
    return out([...shape, ...sizes], x!.dtype)
  },
  fold: ([x], { axes, lengths, strides, dilations }) => {
    needsF32('fold', x!)
    const rank = x!.shape.length - axes.length
    axes.forEach((axis, j) => {
      const reach = (x!.shape[axis]! - 1) * strides[j]! + (x!.shape[rank + j]! - 1) * dilations[j]! + 1
      if (reach > lengths[j]!) fail(`fold: windows of ${show(x!)} reach ${reach}, past ${lengths[j]} of axis ${axis}`)
    })
    return out(foldShape({ input: x!.shape, axes, lengths, strides, dilations }), x!.dtype)
  },
  concat: (inputs, { axis }) => {
    const [first] = inputs
    for (const x of inputs)
      if (
        x.dtype !== first!.dtype ||
        x.shape.length !== first!.shape.length ||
        x.shape.some((d, i) => i !== axis && d !== first!.shape[i])
      )
        fail(`concat: ${inputs.map(show).join(', ')} do not fit along axis ${axis}`)
    const total = inputs.reduce((a, x) => a + x.shape[axis]!, 0)
    return out(
      first!.shape.map((d, i) => (i === axis ? total : d)),
      first!.dtype,
    )
  },
  gather: ([x, index], { axis }) => {
    if (index!.dtype !== 'i32' && index!.dtype !== 'u32') fail(`gather: index must be i32 or u32, got ${show(index!)}`)
    const fits =
      index!.shape.length === x!.shape.length &&
      index!.shape.every((d, i) => i === axis || d === 1 || d === x!.shape[i])
    if (!fits) fail(`gather: index ${show(index!)} does not fit ${show(x!)} along axis ${axis}`)
    return out(
      x!.shape.map((d, i) => (i === axis ? index!.shape[axis]! : d)),
      x!.dtype,
    )
  },
  scatterAdd: ([x, index], { axis, size }) => {
    needsNumbers('scatterAdd', x!)
    const fits =
      index!.shape.length === x!.shape.length &&
      index!.shape.every((d, i) => d === x!.shape[i] || (d === 1 && i !== axis))
    if (!fits || (index!.dtype !== 'i32' && index!.dtype !== 'u32'))
      fail(`scatterAdd: index ${show(index!)} does not fit ${show(x!)} along axis ${axis}`)
    return out(
      x!.shape.map((d, i) => (i === axis ? size : d)),
      x!.dtype,
    )
  },
  cumsum: ([x]) => {
    needsNumbers('cumsum', x!)
    return out(x!.shape, x!.dtype)
  },
  argmax: ([x], { axis }) => {
    needsNumbers('argmax', x!)
    const shape = x!.shape.filter((_, i) => i !== axis)
    return x!.shape[axis] ? out(shape, 'i32') : fail(`argmax: axis of size 0 in ${show(x!)}`)
  },
  sort: ([x]) => {
    needsNumbers('sort', x!)
    return [
      { shape: x!.shape, dtype: x!.dtype },
      { shape: x!.shape, dtype: 'i32' },
    ]
  },

  matmul: ([a, b]) => {
    const rank = a!.shape.length
    if (rank < 2 || b!.shape.length !== rank || a!.dtype !== b!.dtype || !isFloat(a!.dtype))
      fail(`matmul: operands must be float matrices of one dtype, got ${show(a!)} and ${show(b!)}`)
    if (a!.shape[rank - 1] !== b!.shape[rank - 2])
      fail(`matmul: inner dimensions differ: ${show(a!)} times ${show(b!)}`)
    const batch = a!.shape.slice(0, -2).map((d, i) => (d === 1 ? b!.shape[i]! : d))
    b!.shape
      .slice(0, -2)
      .forEach((d, i) => d === 1 || d === batch[i] || fail(`matmul: batch axes differ: ${show(a!)} times ${show(b!)}`))
    return out([...batch, a!.shape[rank - 2]!, b!.shape[rank - 1]!], a!.dtype)
  },
  softmax: ([x]) => out(x!.shape, x!.dtype),
  softmaxGrad: ([y]) => out(y!.shape, y!.dtype),
  layerNorm: ([x, gamma, beta]) => {
    const width = x!.shape.at(-1)
    if (width === undefined || !sameShape(gamma!.shape, [width]) || !sameShape(beta!.shape, [width]))
      fail(`layerNorm: weight and bias must be [${width}], got ${show(gamma!)} and ${show(beta!)} for x ${show(x!)}`)
    const rows = x!.shape.slice(0, -1)
    return [
      { shape: x!.shape, dtype: x!.dtype },
      { shape: rows, dtype: 'f32' },
      { shape: rows, dtype: 'f32' },
    ]
  },
  layerNormGradInput: ([x]) => out(x!.shape, x!.dtype),
  layerNormGradParams: ([x]) => {
    const width = [x!.shape.at(-1)!]
    return [
      { shape: width, dtype: 'f32' },
      { shape: width, dtype: 'f32' },
    ]
  },
  attention: (inputs, attrs) => {
    const { batch, lq, heads } = attentionShapes(inputs, 'attention')
    checkAttentionExtras(inputs, attrs)
    return [
      { shape: inputs[0]!.shape, dtype: inputs[0]!.dtype },
      { shape: [...batch, heads, lq], dtype: 'f32' },
    ]
  },
  // inputs: o, dO
  attentionDelta: ([o]) => {
    const r = o!.shape.length
    return out([...o!.shape.slice(0, r - 3), o!.shape[r - 2]!, o!.shape[r - 3]!], 'f32')
  },
  // inputs: q, k, v, [bias], [mask], dO, lse, delta
  attentionGradQuery: ([q]) => out(q!.shape, q!.dtype),
  attentionGradKeyValue: ([, k]) => [
    { shape: k!.shape, dtype: k!.dtype },
    { shape: k!.shape, dtype: k!.dtype },
  ],
  attentionGradBias: (inputs) => out(inputs[3]!.shape, inputs[3]!.dtype),
  conv2d,
  conv2dGradInput: ([dy], { inputShape }) => out(inputShape, dy!.dtype),
  conv2dGradWeight: ([x], { weightShape }) => out(weightShape, x!.dtype),
  affineWarp: ([x, matrix], { height, width }) => {
    needsF32('affineWarp', x!, matrix!)
    const [n, c] = x!.shape as [number, number]
    if (x!.shape.length !== 4 || !sameShape(matrix!.shape, [n, 2, 3]))
      fail(`affineWarp: needs x [N, C, H, W] and matrix [N, 2, 3], got ${show(x!)} and ${show(matrix!)}`)
    if (!(height >= 1 && width >= 1) || x!.shape[2]! < 1 || x!.shape[3]! < 1)
      fail(`affineWarp: ${show(x!)} to ${formatShape([height, width])}: sizes must be at least 1`)
    return out([n, c, height, width], 'f32')
  },
  // inputs: dy, matrix
  affineWarpGradInput: ([dy], { height, width }) => out([dy!.shape[0]!, dy!.shape[1]!, height, width], 'f32'),
  // inputs: x, matrix, dy
  affineWarpGradPosition: ([, , dy]) => out([dy!.shape[0]!, dy!.shape[2]!, dy!.shape[3]!, 2], 'f32'),
  directionalPool: ([z], { mode, side }) => {
    const s = z!.shape
    if (s.length !== 4 || s[2] !== side * side + 1)
      fail(`directionalPool: z must be [B, T, ${side}²+1, E], got ${show(z!)}`)
    const [b, , , e] = s as [number, number, number, number]
    const rows = { shape: [b, side, e], dtype: z!.dtype }
    const index = { shape: [b, side, e], dtype: 'u32' as const }
    const cls = { shape: [b, 1, e], dtype: z!.dtype }
    return mode === 'mean' ? [rows, rows, cls] : [rows, rows, cls, index, index]
  },
  directionalPoolGrad: ([dzh], { side, frames }) =>
    out([dzh!.shape[0]!, frames, side * side + 1, dzh!.shape[2]!], dzh!.dtype),
  ...graphShapes,
  eigh: ([s]) => {
    const r = s!.shape.length
    if (r < 2 || s!.shape[r - 1] !== s!.shape[r - 2] || s!.dtype !== 'f32')
      fail(`eigh: needs square f32 matrices, got ${show(s!)}`)
    const batch = s!.shape.slice(0, -2)
    return [
      { shape: [...batch, s!.shape[r - 1]!], dtype: 'f32' },
      { shape: s!.shape, dtype: 'f32' },
      { shape: [...batch, 2], dtype: 'f32' },
    ]
  },
  custom: (inputs, { op, attrs }) => op.outputs(inputs, attrs),
  pick: () => fail('pick: has no rule'),
  pack: ([x], { total }) => out([total], x!.dtype),
  assign: ([target, value]) => {
    if (!sameShape(target!.shape, value!.shape) || target!.dtype !== value!.dtype)
      fail(`assign: ${show(value!)} does not fit ${show(target!)}`)
    return out(target!.shape, target!.dtype)
  },
  adamw: ([p, m, v]) => [p!, m!, v!].map((x) => ({ shape: x.shape, dtype: x.dtype })),
}
