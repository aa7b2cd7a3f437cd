/**
 * Graphs of neighbouring nodes and the diffusion on them: the forms in plain ops, which larger graphs and second derivatives take, and
 * the gradient rules of the kernels (`kernels/diffusion` has the formulas).
 */
import { autocast } from '../autocast.ts'
import type { Node } from '../graph.ts'
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
  sub,
  sum,
  transpose,
  unary,
  where,
} from './build.ts'
import { compare, type Partials, type Vjp, x0, x1 } from './rule.ts'
import { matrixPower } from './sugar.ts'

/** Beyond it exp(−μ d²) is 0 anyway; a square that overflowed float32 would make the gradient 0·∞. */
const farthest = 1e30
/** exp(−10⁴) is 0. */
const largestExponent = 1e4
/** Bounds of ln μ that keep μ finite: 0·∞ would be NaN where two nodes are equal. */
const bounds = 80

const least = (x: Node, most: number): Node => b.binary('minimum', x, like(x, most))

/** ‖x_i − x_j‖² of the rows of x [B, n, d], as sums of squared differences: never negative, exactly 0 for equal rows. */
export function squaredDistances(x: Node): Node {
  const [batch, n, d] = x.shape as [number, number, number]
  return sum(b.square(sub(reshape(x, [batch, n, 1, d]), reshape(x, [batch, 1, n, d]))), -1)
}

/** Whether nodes i and j are at most `half` positions apart, [n, n]; both directions have n/2 positions. */
function near(n: number, half: number): Node {
  const index = b.iota(n)
  const position = where(compare('less', index, like(index, n / 2)), index, b.shift(index, -n / 2))
  const apart = unary('abs', sub(reshape(position, [n, 1]), reshape(position, [1, n])))
  return compare('lessEqual', apart, like(apart, half))
}

/** W and μ d² of features [B, n, E]; both 0 where nodes are no neighbours. */
export function plainAffinities(features: Node, logMu: Node, half: number): { weight: Node; exponent: Node } {
  const [batch, n] = features.shape as [number, number]
  const mu = exp(b.binary('maximum', least(logMu, bounds), like(logMu, -bounds)))
  const x = least(mul(least(squaredDistances(cast(features, 'f32')), farthest), mu), largestExponent)
  const inside = b.expand(near(n, half), [batch, n, n])
  return { weight: where(inside, exp(neg(x)), like(x, 0)), exponent: where(inside, x, like(x, 0)) }
}

/** S − √π √πᵀ and √π [B, n, 1] of W [B, n, n], every row sum above 0. */
export function transientWalk(w: Node): { walk: Node; root: Node } {
  const degree = sum(w, -1, true)
  const root = unary('sqrt', div(degree, sum(degree, 1, true)))
  const inverse = unary('rsqrt', degree)
  const s = mul(mul(w, inverse), transpose(inverse))
  return { walk: sub(s, mul(root, transpose(root))), root }
}

/** Squared diffusion distances with the walk raised by `power`. */
export function plainDistances(w: Node, power: (walk: Node) => Node): Node {
  const { walk, root } = transientWalk(w)
  return squaredDistances(div(power(walk), root))
}

const byProducts = (w: Node, steps: number): Node =>
  autocast('f32', () => plainDistances(w, (walk) => matrixPower(walk, steps)))

/** Derivative of a gradient that `form` writes in plain ops of the inputs given. */
function throughForm(inputs: readonly Node[], form: (...x: Node[]) => Node, g: Node, partials: Partials) {
  return autocast('f32', () => {
    const own = inputs.map(b.standIn)
    return partials(form(...own), own, g)
  })
}

export const affinitiesVjp: Vjp<'affinities'> = (node, dy, all, partials) => {
  if (all[1]) throw new Error('grad: the saved exponents of affinities are not differentiable')
  const { half } = node.attrs
  const [features, logMu] = [x0(node), x1(node)]
  const inside = compare('lessEqual', unary('abs', logMu), like(logMu, bounds))
  const slope = neg(sum(mul(mul(dy, node), pick(node, 1))))
  const value = where(inside, slope, like(slope, 0))
  const form = (f: Node, log: Node, dw: Node): Node => {
    const { weight, exponent } = plainAffinities(f, log, half)
    return where(inside, neg(sum(mul(mul(dw, weight), exponent))), like(log, 0))
  }
  const vjp = (g: Node) => throughForm([features, logMu, dy], form, g, partials)
  return [
    b.record('affinitiesGrad', [features, logMu, node, dy], node.attrs),
    b.record('withGradient', [value, features, logMu, dy], { vjp }),
  ]
}

export const affinitiesGradVjp: Vjp<'affinitiesGrad'> = (node, g, _, partials) => {
  const [features, logMu, , dw] = node.inputs as [Node, Node, Node, Node]
  const form = (f: Node, log: Node, dW: Node): Node => {
    const { weight } = plainAffinities(f, log, node.attrs.half)
    const factor = mul(scale(mul(add(dW, transpose(dW)), weight), -2), exp(log))
    const wide = cast(f, 'f32')
    return cast(sub(mul(sum(factor, -1, true), wide), b.matmul(factor, wide)), f.dtype)
  }
  const [gf, gLog, gw] = throughForm([features, logMu, dw], form, g, partials)
  return [gf, gLog, undefined, gw]
}

export const diffusionVjp: Vjp<'diffusion'> = (node, dy, all) => {
  if (all[1]) throw new Error('grad: the saved power of diffusion is not differentiable')
  return [b.record('diffusionGrad', [x0(node), pick(node, 1), dy], node.attrs)]
}

export const diffusionGradVjp: Vjp<'diffusionGrad'> = (node, g, _, partials) => {
  const [w, , gradient] = node.inputs as [Node, Node, Node]
  const form = (own: Node, dDist: Node): Node => {
    const [dw] = partials(byProducts(own, node.attrs.steps), [own], dDist)
    return scale(add(dw!, transpose(dw!)), 0.5)
  }
  const [gw, gd] = throughForm([w, gradient], form, g, partials)
  return [gw, undefined, gd]
}
