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
import {
  attentionDeltaVjp,
  attentionGradBiasVjp,
  attentionGradKeyValueVjp,
  attentionGradQueryVjp,
  attentionVjp,
  conv2dGradInputVjp,
  conv2dGradWeightVjp,
  conv2dVjp,
  directionalPoolGradVjp,
  directionalPoolVjp,
  eighVjp,
  layerNormGradInputVjp,
  layerNormGradParamsVjp,
  layerNormVjp,
} from './fused.ts'
import { affinitiesGradVjp, affinitiesVjp, diffusionGradVjp, diffusionVjp } from './graphs.ts'
import type { OpName } from './names.ts'
import { compare, mask, refused, type Vjp, x0, x1, zero } from './rule.ts'
import { affineWarpGradInputVjp, affineWarpGradPositionVjp, affineWarpVjp } from './warp.ts'

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
  windows: (n, dy) => {
    const { axes, strides, dilations } = n.attrs
    return [b.fold(dy, { axes, strides, dilations, lengths: axes.map((a) => x0(n).shape[a]!) })]
  },
  fold: (n, dy) => {
    const { axes, strides, dilations } = n.attrs
    const sizes = x0(n).shape.slice(n.shape.length)
    // Lengths may go past the last window: what lies there came from nowhere.
    const used = axes.map((a, j) => (x0(n).shape[a]! - 1) * strides[j]! + (sizes[j]! - 1) * dilations[j]! + 1)
    const cut = axes.reduce((x, a, j) => b.narrow(x, a, 0, used[j]), dy)
    return [b.windows(cut, { axes, sizes, strides, dilations })]
  },
  gather: (n, dy) => [b.scatterAdd(dy, x1(n), n.attrs.axis, x0(n).shape[n.attrs.axis]!), undefined],
  scatterAdd: (n, dy) => [b.gather(dy, x1(n), n.attrs.axis), undefined],
  cumsum: (n, dy) => {
    const { axis } = n.attrs
    return [b.flip(b.cumsum(b.flip(dy, axis), axis), axis)]
  },
  argmax: zero,
  sort: (n, dy, all) => {
    if (all[1]) throw new Error('grad: the indices of sort are integers')
    const axis = n.shape.length - 1
    return [b.scatterAdd(dy, pick(n, 1), axis, n.shape[axis]!)]
  },

  sum: (n, dy) => [spread(dy, n)],
  max: extremum,
  min: extremum,
  prod: prodVjp,
  matmul: matmulVjp,
  softmax: softmaxVjp,
  softmaxGrad: softmaxGradVjp,
  layerNorm: layerNormVjp,
  layerNormGradInput: layerNormGradInputVjp,
  layerNormGradParams: layerNormGradParamsVjp,
  attention: attentionVjp,
  attentionDelta: attentionDeltaVjp,
  attentionGradQuery: attentionGradQueryVjp,
  attentionGradKeyValue: attentionGradKeyValueVjp,
  attentionGradBias: attentionGradBiasVjp,
  conv2d: conv2dVjp,
  conv2dGradInput: conv2dGradInputVjp,
  conv2dGradWeight: conv2dGradWeightVjp,
  affineWarp: affineWarpVjp,
  affineWarpGradInput: affineWarpGradInputVjp,
  affineWarpGradPosition: affineWarpGradPositionVjp,
  directionalPool: directionalPoolVjp,
  directionalPoolGrad: directionalPoolGradVjp,
  affinities: affinitiesVjp,
  affinitiesGrad: affinitiesGradVjp,
  diffusion: diffusionVjp,
  diffusionGrad: diffusionGradVjp,
  eigh: eighVjp,
  custom: (n, _, all) => {
    const { op } = n.attrs
    if (!op.vjp)
      throw new Error(
        `grad: '${op.name}' was defined without a vjp; give defineOp one, or .detach() what it is computed from`,
      )
    return op.vjp(n, all)
  },
  pick: () => {
    throw new Error('grad: pick is walked with the op it picks from')
  },
  pack: (n, dy) => n.inputs.map((x, i) => reshape(b.slice(dy, [n.attrs.offsets[i]!], [numel(x.shape)]), x.shape)),
  assign: (_, dy) => [undefined, dy],
  adamw: refused('adamw', 'changes parameters: differentiate the loss, not the step'),
}
