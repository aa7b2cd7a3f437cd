/** Gradient rules of the affine warp. */
import type { Node } from '../graph.ts'
import type { Shape } from '../shape.ts'
import * as b from './build.ts'
import { add, cast, mul, reshape, scale, shift, stack, sub, sum, unary } from './build.ts'
import type { Grads, Partials, Vjp } from './rule.ts'

/** −1 … 1 over `count` pixel centres. */
const centres = (count: number): Node => shift(scale(shift(scale(b.iota(count, 'f32'), 2), 1), 1 / count), -1)

/** (u, v, 1) of every output pixel, [OH·OW, 3]. */
function outputPoints(oh: number, ow: number): Node {
  const u = b.expand(reshape(centres(ow), [1, ow]), [oh, ow])
  const v = b.expand(reshape(centres(oh), [oh, 1]), [oh, ow])
  return reshape(stack([u, v, b.full([oh, ow], 1)], 2), [oh * ow, 3])
}

const halfSides = ({ 2: h, 3: w }: Shape): Node => b.concat([b.full([1], w! / 2), b.full([1], h! / 2)], 0)

/** Gradient of the matrices [N, 2, 3] from that of the source points, [N, OH, OW, 2] in pixels of x. */
function matrixGradient(points: Node, x: Shape): Node {
  const [n, oh, ow] = points.shape as [number, number, number]
  const g = mul(reshape(points, [n, oh * ow, 2]), halfSides(x))
  return b.matmul(b.transpose(g), outputPoints(oh, ow))
}

const gradPosition = (x: Node, matrix: Node, dy: Node): Node =>
  b.record('affineWarpGradPosition', [x, matrix, dy], {} as never)
const gradInput = (dy: Node, matrix: Node, x: Shape): Node =>
  b.record('affineWarpGradInput', [dy, matrix], { height: x[2]!, width: x[3]! })

export const affineWarpVjp: Vjp<'affineWarp'> = (node, dy) => {
  const [x, matrix] = node.inputs as [Node, Node]
  return [gradInput(dy, matrix, x.shape), matrixGradient(gradPosition(x, matrix, dy), x.shape)]
}

/** Linear in dy: Σ g·Wᵀdy = Σ (W g)·dy, so that g takes the place of x. */
export const affineWarpGradInputVjp: Vjp<'affineWarpGradInput'> = (node, g) => {
  const [dy, matrix] = node.inputs as [Node, Node]
  const [height, width] = [dy.shape[2]!, dy.shape[3]!]
  return [b.record('affineWarp', [g, matrix], { height, width }), matrixGradient(gradPosition(g, matrix, dy), g.shape)]
}

/** The gradient of the source points in plain ops: the four corners gathered, their differences weighted. */
function plainPosition(x: Node, matrix: Node, dy: Node): Node {
  const [n, c, h, w] = x.shape as [number, number, number, number]
  const [oh, ow] = [dy.shape[2]!, dy.shape[3]!]
  const count = oh * ow
  const unit = b.matmul(b.expand(outputPoints(oh, ow), [n, count, 3]), b.transpose(matrix)) // [N, OH·OW, 2] in ±1
  const points = shift(mul(shift(unit, 1), halfSides(x.shape)), -0.5) // in pixels
  const part = (p: Node, i: number) => reshape(b.narrow(p, 2, i, i + 1), [n, 1, count])
  const [sx, sy] = [part(points, 0), part(points, 1)]
  const [x0, y0] = [unary('floor', sx), unary('floor', sy)]
  const planes = reshape(x, [n, c, h * w])
  const within = (p: Node, size: number) =>
    b.binary('logicalAnd', b.binary('greaterEqual', p, b.like(p, 0)), b.binary('less', p, b.like(p, size)))
  const clamped = (p: Node, size: number) =>
    b.binary('minimum', b.binary('maximum', p, b.like(p, 0)), b.like(p, size - 1))
  const corner = (row: Node, column: Node): Node => {
    const index = cast(add(scale(clamped(row, h), w), clamped(column, w)), 'i32')
    const value = b.record('gather', [planes, index], { axis: 2 }) // [N, C, OH·OW]
    return mul(value, cast(b.binary('logicalAnd', within(row, h), within(column, w)), 'f32'))
  }
  const [x1, y1] = [shift(x0, 1), shift(y0, 1)]
  const [v00, v01, v10, v11] = [corner(y0, x0), corner(y0, x1), corner(y1, x0), corner(y1, x1)]
  const between = (p: Node, q: Node, t: Node) => add(p, mul(sub(q, p), t))
  const g = reshape(dy, [n, c, count])
  const slope = (first: Node, second: Node, t: Node) => sum(mul(g, between(first, second, t)), 1)
  const gx = slope(sub(v01, v00), sub(v11, v10), sub(sy, y0))
  const gy = slope(sub(v10, v00), sub(v11, v01), sub(sx, x0))
  return reshape(stack([gx, gy], 2), [n, oh, ow, 2])
}

export const affineWarpGradPositionVjp: Vjp<'affineWarpGradPosition'> = (node, g, _, partials: Partials): Grads => {
  const own = node.inputs.map(b.standIn)
  return partials(plainPosition(own[0]!, own[1]!, own[2]!), own, g)
}
