/**
 * Gradient rule of every op, in ordinary ops: from the gradients of a node's outputs to those of its inputs. Hence gradients can
 * be differentiated again. `undefined` stands for zero. What a rule reads (inputs, or the node's own output) is what its
 * forward pass keeps in memory.
 */
import { isFloat } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { numel } from '../shape.ts'
import * as b from './build.ts'
import {
  add,
  cast,
  div,
  exp,
  like,
  mul,
  neg,
  pick,
  reshape,
  scale,
  shift,
  square,
  sub,
  sum,
  unary,
  unbroadcast,
  where,
} from './build.ts'
import type { OpName } from './names.ts'

export type Grads = readonly (Node | undefined)[]
type Vjp<K extends OpName> = (node: Node<K>, dy: Node, all: Grads) => Grads

/** For ops whose value does not change smoothly: comparisons, rounding, indices. */
const zero: Vjp<any> = (node) => node.inputs.map(() => undefined)

/** Thrown when a gradient of a gradient is asked of a fused kernel that has a first-order rule only. */
const firstOrder =
  (name: string): Vjp<any> =>
  () => {
    throw new Error(
      `grad: '${name}' is a first-order op, its own gradient is not available; build the layer from plain ops for second derivatives`,
    )
  }

const x0 = (node: Node): Node => node.inputs[0]!
const x1 = (node: Node): Node => node.inputs[1]!
const mask = (condition: Node, dy: Node): Node => where(condition, dy, b.zerosLike(dy))
const compare = (op: 'less' | 'lessEqual' | 'greater' | 'greaterEqual' | 'equal', a: Node, c: Node) =>
  b.binary(op, a, c)

/** Puts reduced axes back as 1 and broadcasts over them. */
function spread(dy: Node, node: Node<'sum' | 'max' | 'min' | 'prod'>): Node {
  const { shape } = x0(node)
  return b.expand(
    reshape(
      dy,
      shape.map((d, i) => (node.attrs.axes.includes(i) ? 1 : d)),
    ),
    shape,
  )
}

/** max/min: the gradient is shared equally among ties. */
const extremum: Vjp<'max' | 'min'> = (node, dy) => {
  const hit = cast(compare('equal', x0(node), spread(node, node)), node.dtype)
  const ties = b.reduce('sum', hit, node.attrs.axes)
  return [mul(hit, spread(div(dy, ties), node))]
}

const pairExtremum =
  (op: 'greaterEqual' | 'lessEqual'): Vjp<'maximum' | 'minimum'> =>
  (node, dy) => {
    const [p, q] = [x0(node), x1(node)]
    const tie = compare('equal', p, q)
    const half = scale(dy, 0.5)
    return [where(tie, half, mask(compare(op, p, q), dy)), where(tie, half, mask(compare(op, q, p), dy))]
  }

const attentionExtras = (node: Node<'attention'>) => node.inputs.slice(3)

const attentionVjp: Vjp<'attention'> = (node, dy, all) => {
  if (all[1]) throw new Error('grad: the log-sum-exp output of attention is not differentiable')
  const { attrs } = node
  const [q, k, v] = node.inputs as [Node, Node, Node]
  const lse = pick(node, 1)
  const delta = b.record('attentionDelta', [node, dy], {} as never)
  const shared = [q, k, v, ...attentionExtras(node), dy, lse, delta]
  const dkv = b.record('attentionGradKeyValue', shared, attrs)
  const grads: (Node | undefined)[] = [b.record('attentionGradQuery', shared, attrs), dkv, pick(dkv, 1)]
  if (attrs.hasBias) grads.push(b.record('attentionGradBias', shared, attrs))
  if (attrs.hasMask) grads.push(undefined)
  return grads
}

const layerNormVjp: Vjp<'layerNorm'> = (node, dy, all) => {
  if (all[1] || all[2]) throw new Error('grad: the saved statistics of layerNorm are not differentiable')
  const [x, gamma] = node.inputs as [Node, Node]
  const [mean, rstd] = [pick(node, 1), pick(node, 2)]
  const dx = b.record('layerNormGradInput', [x, gamma, dy, mean, rstd], {} as never)
  const params = b.record('layerNormGradParams', [x, dy, mean, rstd], {} as never)
  return [dx, params, pick(params, 1)]
}

/** dA = dC Bᵀ and dB = Aᵀ dC, summed back over broadcast batch axes. */
const matmulVjp: Vjp<'matmul'> = (node, dy) => {
  const [p, q] = [x0(node), x1(node)]
  return [unbroadcast(b.matmul(dy, b.transpose(q)), p.shape), unbroadcast(b.matmul(b.transpose(p), dy), q.shape)]
}

/** y·(dy − Σ y·dy), or for log-softmax dy − softmax·Σ dy; one fused kernel, differentiable through its plain form. */
const softmaxVjp: Vjp<'softmax'> = (node, dy) => [b.record('softmaxGrad', [node, dy], node.attrs)]

const softmaxGradVjp: Vjp<'softmaxGrad'> = (node, g) => {
  const [y, dy] = [x0(node), x1(node)]
  if (node.attrs.log) {
    const p = exp(y)
    const total = sum(dy, -1, true)
    const weighted = sum(mul(p, g), -1, true)
    return [neg(mul(mul(p, g), total)), sub(g, b.expand(weighted, g.shape))]
  }
  const dot = sum(mul(y, dy), -1, true)
  const gy = sum(mul(g, y), -1, true)
  return [sub(mul(g, sub(dy, dot)), mul(dy, gy)), mul(y, sub(g, gy))]
}

/** f′ of pow: b·a^(b−1) and ln(a)·a^b, the latter 0 at a = 0. */
const powVjp: Vjp<'pow'> = (node, dy) => {
  const [base, power] = [x0(node), x1(node)]
  const zeroBase = compare('equal', base, like(base, 0))
  const log = mask(b.unary('logicalNot', zeroBase), unary('log', where(zeroBase, like(base, 1), base)))
  return [mul(dy, mul(power, b.binary('pow', base, shift(power, -1)))), mul(dy, mul(node, log))]
}

/** dy times the product of the others: p/x, or where an element is 0, the product of the rest unless that holds a 0 too. */
const prodVjp: Vjp<'prod'> = (node, dy) => {
  const x = x0(node)
  const isZero = compare('equal', x, like(x, 0))
  const zeros = spread(b.reduce('sum', cast(isZero, node.dtype), node.attrs.axes), node)
  const filled = where(isZero, like(x, 1), x)
  const rest = spread(b.reduce('prod', filled, node.attrs.axes), node)
  const others = where(compare('equal', zeros, cast(isZero, node.dtype)), div(rest, filled), like(x, 0))
  return [mul(spread(dy, node), others)]
}

/** dS = Q (diag(dλ) + Qᵀ dQ ∘ F) Qᵀ, F_ab = 1/(λ_b − λ_a), 0 where they meet: use spectral functions where spectra repeat. */
const eighVjp: Vjp<'eigh'> = (node, _, all) => {
  const [dValues, dVectors] = all
  const q = pick(node, 1)
  const qt = b.transpose(q)
  const n = node.shape.at(-1)!
  const column = (x: Node) => reshape(x, [...x.shape, 1])
  const row = (x: Node) => reshape(x, [...x.shape.slice(0, -1), 1, n])
  const diagonal = compare('equal', reshape(b.iota(n), [n, 1]), reshape(b.iota(n), [1, n]))
  let inner: Node | undefined
  if (dValues) inner = mask(b.expand(diagonal, q.shape), b.expand(column(dValues), q.shape))
  if (dVectors) {
    const gap = sub(row(node), column(node))
    const meet = compare('lessEqual', unary('abs', gap), like(gap, 1e-12))
    const f = where(meet, like(gap, 0), div(like(gap, 1), where(meet, like(gap, 1), gap)))
    const rotated = mul(b.matmul(qt, dVectors), f)
    inner = inner ? add(inner, rotated) : rotated
  }
  if (!inner) return [undefined]
  const ds = b.matmul(b.matmul(q, inner), qt)
  return [scale(add(ds, b.transpose(ds)), 0.5)]
}

const concatVjp: Vjp<'concat'> = (node, dy) => {
  let at = 0
  return node.inputs.map((x) => {
    const size = x.shape[node.attrs.axis]!
    at += size
    return b.narrow(dy, node.attrs.axis, at - size, at)
  })
}

/** Scatters back what the slice took: padding where the step is ±1, a scatter along the axis otherwise. */
const sliceVjp: Vjp<'slice'> = (node, dy) => {
  const { starts, steps, sizes } = node.attrs
  const { shape } = x0(node)
  let g = b.flip(
    dy,
    steps.flatMap((s, i) => (s < 0 ? [i] : [])),
  )
  const first = starts.map((s, i) => (steps[i]! < 0 ? s + (sizes[i]! - 1) * steps[i]! : s))
  steps.forEach((step, axis) => {
    const stride = Math.abs(step)
    if (stride === 1 || sizes[axis]! < 2) return
    // Interleave zeros: [.., n, ..] → [.., n, stride, ..] → [.., n·stride, ..], cut to the span between first and last.
    const split = [...g.shape.slice(0, axis + 1), 1, ...g.shape.slice(axis + 1)]
    const widened = b.pad(
      reshape(g, split),
      split.map(() => 0),
      split.map((_, i) => (i === axis + 1 ? stride - 1 : 0)),
    )
    const merged = reshape(
      widened,
      g.shape.map((d, i) => (i === axis ? d * stride : d)),
    )
    g = b.narrow(merged, axis, 0, (sizes[axis]! - 1) * stride + 1)
  })
  return [
    b.pad(
      g,
      first,
      shape.map((d, i) => d - first[i]! - g.shape[i]!),
    ),
  ]
}

export const vjps: { [K in OpName]: Vjp<K> } = {
  leaf: zero,
  constant: zero,
  iota: zero,
  randomBits: zero,
  neg: (_, dy) => [neg(dy)],
  abs: (n, dy) => [mul(dy, unary('sign', x0(n)))],
  sign: zero,
  floor: zero,
  ceil: zero,
  round: zero,
  logicalNot: zero,
  isNan: zero,
  isFinite: zero,
  exp: (n, dy) => [mul(dy, n)],
  log: (n, dy) => [div(dy, x0(n))],
  sqrt: (n, dy) => [div(scale(dy, 0.5), n)],
  rsqrt: (n, dy) => [mul(scale(dy, -0.5), mul(n, square(n)))],
  reciprocal: (n, dy) => [neg(mul(dy, square(n)))],
  sin: (n, dy) => [mul(dy, unary('cos', x0(n)))],
  cos: (n, dy) => [neg(mul(dy, unary('sin', x0(n))))],
  tanh: (n, dy) => [mul(dy, sub(like(n, 1), square(n)))],
  erf: (n, dy) => [mul(dy, scale(exp(neg(square(x0(n)))), 2 / Math.sqrt(Math.PI)))],
  sigmoid: (n, dy) => [mul(dy, mul(n, sub(like(n, 1), n)))],
  softplus: (n, dy) => [mul(dy, unary('sigmoid', x0(n)))],
  add: (_, dy) => [dy, dy],
  sub: (_, dy) => [dy, neg(dy)],
  mul: (n, dy) => [mul(dy, x1(n)), mul(dy, x0(n))],
  div: (n, dy) => {
    const da = div(dy, x1(n))
    return [da, neg(mul(da, n))]
  },
  pow: powVjp,
  mod: (n, dy) => [dy, neg(mul(dy, unary('floor', div(x0(n), x1(n)))))],
  maximum: pairExtremum('greaterEqual'),
  minimum: pairExtremum('lessEqual'),
  less: zero,
  lessEqual: zero,
  greater: zero,
  greaterEqual: zero,
  equal: zero,
  notEqual: zero,
  logicalAnd: zero,
  logicalOr: zero,
  where: (n, dy) => [undefined, mask(x0(n), dy), mask(unary('logicalNot', x0(n)), dy)],
  cast: (n, dy) => [isFloat(x0(n).dtype) && isFloat(n.dtype) ? cast(dy, x0(n).dtype) : undefined],
  bitcast: zero,
  detach: zero,
  withGradient: (n, dy, all) => [undefined, ...n.attrs.vjp(dy, all)],
  after: (_, dy) => [dy, undefined],
  contiguous: (_, dy) => [dy],

  reshape: (n, dy) => [reshape(dy, x0(n).shape)],
  permute: (n, dy) => [
    b.permute(
      dy,
      n.attrs.axes.map((_, i) => n.attrs.axes.indexOf(i)),
    ),
  ],
  expand: (n, dy) => [unbroadcast(dy, x0(n).shape)],
  slice: sliceVjp,
  pad: (n, dy) => [b.slice(dy, n.attrs.before, x0(n).shape)],
  concat: concatVjp,
  gather: (n, dy) => {
    const { axis } = n.attrs
    return [b.record('scatterAdd', [dy, x1(n)], { axis, size: x0(n).shape[axis]! }), undefined]
  },
  scatterAdd: (n, dy) => [b.record('gather', [dy, x1(n)], { axis: n.attrs.axis }), undefined],
  cumsum: (n, dy) => {
    const { axis } = n.attrs
    return [b.flip(b.record('cumsum', [b.flip(dy, axis)], { axis }), axis)]
  },
  argmax: zero,
  sort: (n, dy, all) => {
    if (all[1]) throw new Error('grad: the indices of sort are integers')
    const axis = n.shape.length - 1
    return [b.record('scatterAdd', [dy, pick(n, 1)], { axis, size: n.shape[axis]! })]
  },

  sum: (n, dy) => [spread(dy, n)],
  max: extremum,
  min: extremum,
  prod: prodVjp,
  matmul: matmulVjp,
  softmax: softmaxVjp,
  softmaxGrad: softmaxGradVjp,
  layerNorm: layerNormVjp,
  layerNormGradInput: firstOrder('layerNorm'),
  layerNormGradParams: firstOrder('layerNorm'),
  attention: attentionVjp,
  attentionDelta: firstOrder('attention'),
  attentionGradQuery: firstOrder('attention'),
  attentionGradKeyValue: firstOrder('attention'),
  attentionGradBias: firstOrder('attention'),
  conv2d: (n, dy) => {
    const [x, w, bias] = n.inputs as [Node, Node, Node | undefined]
    const dx = b.record('conv2dGradInput', [dy, w], { ...n.attrs, inputShape: x.shape })
    const dw = b.record('conv2dGradWeight', [x, dy], { ...n.attrs, weightShape: w.shape })
    return bias ? [dx, dw, sum(dy, [0, 2, 3])] : [dx, dw]
  },
  conv2dGradInput: firstOrder('conv2d'),
  conv2dGradWeight: firstOrder('conv2d'),
  directionalPool: (n, _, all) => {
    const { mode, side } = n.attrs
    const [b0, frames] = x0(n).shape as [number, number]
    const e = x0(n).shape[3]!
    const parts = [
      all[0] ?? b.full([b0, side, e], 0),
      all[1] ?? b.full([b0, side, e], 0),
      all[2] ?? b.full([b0, 1, e], 0),
    ]
    if (mode === 'max') parts.push(pick(n, 3), pick(n, 4))
    return [b.record('directionalPoolGrad', parts, { mode, side, frames })]
  },
  directionalPoolGrad: firstOrder('directionalPool'),
  eigh: eighVjp,
  custom: (n, _, all) => {
    const { op } = n.attrs
    if (!op.vjp) throw new Error(`grad: '${op.name}' was defined without a vjp`)
    return op.vjp(n, all)
  },
  pick: () => {
    throw new Error('grad: pick is walked with the op it picks from')
  },
  pack: (n, dy) => n.inputs.map((x, i) => reshape(b.slice(dy, [n.attrs.offsets[i]!], [numel(x.shape)]), x.shape)),
  assign: (_, dy) => [undefined, dy],
  adamw: firstOrder('adamw'),
}
