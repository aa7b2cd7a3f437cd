/**
 * Gradient rules of the kernels that do much at once: attention, layerNorm, convolution, directional pooling, eigh. Their first
 * gradient is a kernel too; the gradient of that goes through plain ops (`plain.ts`) or, where it is linear, through its transpose.
 */
import type { Node } from '../graph.ts'
import { numel, type Shape } from '../shape.ts'
import * as b from './build.ts'
import { add, cast, div, like, mul, pick, reshape, scale, sub, sum, unary, where } from './build.ts'
import type { AttentionAttrs, Conv2dAttrs } from './names.ts'
import { attentionGradients, layerNormGradients } from './plain.ts'
import { compare, type Grads, mask, type Partials, type Vjp, x0, x1 } from './rule.ts'

/** Rule of a fused kernel's gradient: the derivative of the same quantity written in plain ops. */
function throughPlainForm(inputs: readonly Node[], form: (...x: Node[]) => Node, g: Node, partials: Partials): Grads {
  const own = inputs.map(b.standIn)
  return partials(form(...own), own, g)
}

/**
 * Gradients that are sums over few elements are written in plain ops: such sums go together into one launch with others, which
 * saves more than a kernel of its own gains.
 */
const isSmall = (x: Node): boolean => x.dtype === 'f32' && numel(x.shape) <= 2 ** 16

/** Σ dO∘O over a head, [batch…, heads, length] of [batch…, length, heads, d]. */
function attentionDelta(o: Node, dy: Node): Node {
  if (!isSmall(o)) return b.record('attentionDelta', [o, dy], {} as never)
  const sums = sum(mul(o, dy), -1)
  const rank = sums.shape.length
  return b.permute(sums, [...sums.shape.slice(0, -2).map((_, i) => i), rank - 1, rank - 2])
}

const attentionExtras = (node: Node<'attention'>) => node.inputs.slice(3)

export const attentionVjp: Vjp<'attention'> = (node, dy, all) => {
  if (all[1]) throw new Error('grad: the log-sum-exp output of attention is not differentiable')
  const { attrs } = node
  const [q, k, v] = node.inputs as [Node, Node, Node]
  const lse = pick(node, 1)
  const delta = attentionDelta(node, dy)
  const shared = [q, k, v, ...attentionExtras(node), dy, lse, delta]
  const dkv = b.record('attentionGradKeyValue', shared, attrs)
  const grads: (Node | undefined)[] = [b.record('attentionGradQuery', shared, attrs), dkv, pick(dkv, 1)]
  if (attrs.hasBias) grads.push(b.record('attentionGradBias', shared, attrs))
  if (attrs.hasMask) grads.push(undefined)
  return grads
}

interface PlainAttention {
  /** Stand-ins of q, k, v, [bias], [mask], dO. */
  readonly own: readonly Node[]
  readonly gradients: ReturnType<typeof attentionGradients>
}

/** Plain forms by their delta: the kernels of one backward pass share theirs. */
const plainAttention = new WeakMap<Node, PlainAttention>()

/** Inputs of the kernels: q, k, v, [bias], [mask], dO, lse, delta; the last two are functions of the others. */
function plainAttentionOf(node: Node, attrs: AttentionAttrs): PlainAttention {
  const delta = node.inputs.at(-1)!
  let plain = plainAttention.get(delta)
  if (!plain) {
    const own = node.inputs.slice(0, -2).map(b.standIn)
    plainAttention.set(delta, (plain = { own, gradients: attentionGradients(own, attrs) }))
  }
  return plain
}

export const attentionGradQueryVjp: Vjp<'attentionGradQuery'> = (node, g, _, partials) => {
  const { own, gradients } = plainAttentionOf(node, node.attrs)
  return partials(gradients.dq, own, g)
}

export const attentionGradBiasVjp: Vjp<'attentionGradBias'> = (node, g, _, partials) => {
  const { own, gradients } = plainAttentionOf(node, node.attrs)
  return partials(gradients.dbias!, own, g)
}

export const attentionGradKeyValueVjp: Vjp<'attentionGradKeyValue'> = (node, _, all, partials) => {
  const { own, gradients } = plainAttentionOf(node, node.attrs)
  const terms = [gradients.dk, gradients.dv].flatMap((x, i) => (all[i] ? [sum(cast(mul(x, all[i]), 'f32'))] : []))
  return partials(terms.reduce(add), own, b.full([], 1))
}

export const layerNormVjp: Vjp<'layerNorm'> = (node, dy, all, partials) => {
  if (all[1] || all[2]) throw new Error('grad: the saved statistics of layerNorm are not differentiable')
  const [x, gamma] = node.inputs as [Node, Node]
  const [mean, rstd] = [pick(node, 1), pick(node, 2)]
  const dx = b.record('layerNormGradInput', [x, gamma, dy, mean, rstd], node.attrs)
  if (isSmall(x)) {
    const rows = x.shape.slice(0, -1).map((_, i) => i)
    const column = (statistic: Node) => reshape(statistic, [...statistic.shape, 1])
    const normal = mul(sub(x, column(mean)), column(rstd))
    // The saved statistics have no gradient of their own: a second derivative goes through the plain form.
    const vjp = (g: Node) =>
      throughPlainForm([x, dy], (p, q) => layerNormGradients(p, q, node.attrs.epsilon).dgamma, g, partials)
    return [dx, b.record('withGradient', [sum(mul(dy, normal), rows), x, dy], { vjp }), sum(dy, rows)]
  }
  const params = b.record('layerNormGradParams', [x, dy, mean, rstd], node.attrs)
  return [dx, params, pick(params, 1)]
}

export const layerNormGradInputVjp: Vjp<'layerNormGradInput'> = (node, g, _, partials) => {
  const form = (x: Node, gamma: Node, dy: Node) => layerNormGradients(x, dy, node.attrs.epsilon, gamma).dx
  return [...throughPlainForm(node.inputs.slice(0, 3), form, g, partials), undefined, undefined]
}

export const layerNormGradParamsVjp: Vjp<'layerNormGradParams'> = (node, _, all, partials) => {
  const [x, dy] = node.inputs as [Node, Node]
  const [gx, gy] = all[0]
    ? throughPlainForm([x, dy], (p, q) => layerNormGradients(p, q, node.attrs.epsilon).dgamma, all[0], partials)
    : []
  const direct = all[1] && b.expand(all[1], dy.shape)
  return [gx, gy && direct ? add(gy, direct) : (gy ?? direct), undefined, undefined]
}

const convAttrs = ({ stride, padding, dilation, groups }: Conv2dAttrs): Conv2dAttrs => ({
  stride,
  padding,
  dilation,
  groups,
})
const convGradInput = (dy: Node, w: Node, attrs: Conv2dAttrs, inputShape: Shape) =>
  b.record('conv2dGradInput', [dy, w], { ...convAttrs(attrs), inputShape })
const convGradWeight = (x: Node, dy: Node, attrs: Conv2dAttrs, weightShape: Shape) =>
  b.record('conv2dGradWeight', [x, dy], { ...convAttrs(attrs), weightShape })

export const directionalPoolVjp: Vjp<'directionalPool'> = (n, _, all) => {
  const { mode, side } = n.attrs
  const [samples, frames, , e] = x0(n).shape as [number, number, number, number]
  const parts = [
    all[0] ?? b.full([samples, side, e], 0),
    all[1] ?? b.full([samples, side, e], 0),
    all[2] ?? b.full([samples, 1, e], 0),
  ]
  if (mode === 'max') parts.push(pick(n, 3), pick(n, 4))
  return [b.record('directionalPoolGrad', parts, { mode, side, frames })]
}

/** The gradient is linear in its operands, and the pooling its transpose: of max, the elements that were picked. */
export const directionalPoolGradVjp: Vjp<'directionalPoolGrad'> = (n, g) => {
  const { mode, side, frames } = n.attrs
  if (mode === 'mean') {
    const pooled = b.record('directionalPool', [g], { mode, side })
    return [pooled, pick(pooled, 1), pick(pooled, 2)]
  }
  const [samples, , , e] = g.shape as [number, number, number, number]
  const tokens = reshape(b.narrow(g, 2, 1), [samples, frames * side * side, e])
  const picked = (index: Node) => b.record('gather', [tokens, index], { axis: 1 })
  return [picked(n.inputs[3]!), picked(n.inputs[4]!), b.mean(b.select(g, 2, 0), 1, true), undefined, undefined]
}

/** dS = Q (diag(dλ) + Qᵀ dQ ∘ F) Qᵀ, F_ab = 1/(λ_b − λ_a), 0 where they meet: use spectral functions where spectra repeat. */
export const eighVjp: Vjp<'eigh'> = (node, _, all) => {
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

export const attentionDeltaVjp: Vjp<'attentionDelta'> = (n, g) => {
  // [batch…, H, Lq] → [batch…, Lq, H, 1]
  const rank = x0(n).shape.length
  const lead = g.shape.slice(0, -2).map((_, i) => i)
  const rows = b.permute(reshape(g, [...g.shape, 1]), [...lead, rank - 2, rank - 3, rank - 1])
  return [mul(x1(n), rows), mul(x0(n), rows)]
}

export const conv2dVjp: Vjp<'conv2d'> = (n, dy) => {
  const [x, w, bias] = n.inputs as [Node, Node, Node | undefined]
  const [dx, dw] = [convGradInput(dy, w, n.attrs, x.shape), convGradWeight(x, dy, n.attrs, w.shape)]
  return bias ? [dx, dw, sum(cast(dy, 'f32'), [0, 2, 3])] : [dx, dw]
}

export const conv2dGradInputVjp: Vjp<'conv2dGradInput'> = (n, g) => [
  b.conv2d(g, x1(n), undefined, convAttrs(n.attrs)),
  convGradWeight(g, x0(n), n.attrs, x1(n).shape),
]

export const conv2dGradWeightVjp: Vjp<'conv2dGradWeight'> = (n, g) => [
  convGradInput(x1(n), g, n.attrs, x0(n).shape),
  b.conv2d(x0(n), g, undefined, convAttrs(n.attrs)),
]
