/** Soft masks over parts of a face, as forgeries blend with them: a landmark hull, and ellipses on the head's surface. */
import type { Person } from './person.ts'
import { type Random, smoothstep } from './random.ts'
import { type Placement, project, type Region } from './render.ts'

export interface Mask {
  region: Region
  /** 0…1, rows of the region. */
  alpha: Float32Array
}

/** Depth of the head's surface at (X, Y). */
const surface = (p: Person, X: number, Y: number) =>
  p.halfDepth * Math.sqrt(Math.max(0, 1 - (X / p.halfWidth) ** 2 - Y * Y))

/** Landmarks around the inner face: over the brows, down the temples and cheeks, around the chin; in head units. */
const OUTLINE = [
  [0, -0.3],
  [0.24, -0.33],
  [0.44, -0.25],
  [0.55, 0],
  [0.54, 0.28],
  [0.44, 0.54],
  [0.26, 0.74],
  [0, 0.82],
  [-0.26, 0.74],
  [-0.44, 0.54],
  [-0.54, 0.28],
  [-0.55, 0],
  [-0.44, -0.25],
  [-0.24, -0.33],
]

/** The hull of the inner face, grown by `grow`, each landmark off by `jitter` pixels; the seam is `soft` pixels wide. */
export function faceHull(
  p: Person,
  head: Placement,
  size: number,
  { grow = 1, jitter = 0, soft, random }: { grow?: number; jitter?: number; soft: number; random: Random },
): Mask {
  const points = OUTLINE.map(([X, Y]) => {
    const [x, y] = project(head, X * grow, (Y - 0.24) * grow + 0.24, surface(p, X * grow, Y * grow))
    return [x + jitter * random.normal(), y + jitter * random.normal()]
  })
  const region = around(points, soft + 1, size)
  return fill(region, (x, y) => smoothstep(-soft, soft, insideBy(points, x, y)))
}

/** Ellipses on the head's surface, each [X, Y, radius along X, radius along Y] in head units; `edge` of each radius fades. */
export function surfaceEllipses(p: Person, head: Placement, size: number, ellipses: number[][], edge: number): Mask {
  const shapes = ellipses.map(([X, Y, rx, ry]) => {
    const [cx, cy] = project(head, X, Y, surface(p, X, Y))
    const [ax, ay] = project(head, X + 0.1, Y, surface(p, X, Y))
    const [bx, by] = project(head, X, Y + 0.1, surface(p, X, Y))
    return {
      cx,
      cy,
      ux: (ax - cx) * 10 * rx,
      uy: (ay - cy) * 10 * rx,
      vx: (bx - cx) * 10 * ry,
      vy: (by - cy) * 10 * ry,
    }
  })
  const corners = shapes.flatMap(({ cx, cy, ux, uy, vx, vy }) => {
    const [w, h] = [Math.abs(ux) + Math.abs(vx), Math.abs(uy) + Math.abs(vy)]
    return [
      [cx - w, cy - h],
      [cx + w, cy + h],
    ]
  })
  return fill(around(corners, 1, size), (x, y) => {
    let alpha = 0
    for (const { cx, cy, ux, uy, vx, vy } of shapes) {
      const det = ux * vy - uy * vx
      const a = ((x - cx) * vy - (y - cy) * vx) / det
      const b = ((y - cy) * ux - (x - cx) * uy) / det
      alpha = Math.max(alpha, smoothstep(1, 1 - edge, Math.sqrt(a * a + b * b)))
    }
    return alpha
  })
}

function around(points: number[][], margin: number, size: number): Region {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)]
  return {
    left: Math.max(0, Math.floor(Math.min(...xs) - margin)),
    top: Math.max(0, Math.floor(Math.min(...ys) - margin)),
    right: Math.min(size, Math.ceil(Math.max(...xs) + margin)),
    bottom: Math.min(size, Math.ceil(Math.max(...ys) + margin)),
  }
}

function fill(region: Region, value: (x: number, y: number) => number): Mask {
  const width = Math.max(0, region.right - region.left)
  const alpha = new Float32Array(width * Math.max(0, region.bottom - region.top))
  for (let i = 0; i < alpha.length; i++) {
    alpha[i] = value(region.left + (i % width) + 0.5, region.top + Math.floor(i / width) + 0.5)
  }
  return { region, alpha }
}

/** Distance from a point to a polygon's outline, positive inside (even-odd rule). */
function insideBy(points: number[][], x: number, y: number): number {
  let nearest = Infinity
  let inside = false
  let [px, py] = points[points.length - 1]
  for (const [qx, qy] of points) {
    const dx = qx - px
    const dy = qy - py
    const t = Math.min(1, Math.max(0, ((x - px) * dx + (y - py) * dy) / (dx * dx + dy * dy || 1)))
    const ex = x - px - t * dx
    const ey = y - py - t * dy
    nearest = Math.min(nearest, ex * ex + ey * ey)
    if (qy > y !== py > y && x < ((px - qx) * (y - qy)) / (py - qy) + qx) inside = !inside
    px = qx
    py = qy
  }
  return Math.sqrt(nearest) * (inside ? 1 : -1)
}
