/**
 * Renders a talking head: background, shoulders and neck, hair behind, ears, the head as a shaded ellipsoid with its skin
 * texture and moving features, hair in front. Each pixel's ray is met with the ellipsoid in head coordinates, so that
 * yaw and pitch move the features over the head as they do on a real one; edges are anti-aliased analytically.
 */
import { type Ink, paintFeatures } from './features.ts'
import type { Pose } from './motion.ts'
import { clamp, smoothstep } from './random.ts'
import type { Scene } from './scene.ts'
import { type Look, SKIN_CHANNELS, SKIN_EXTENT, SKIN_SIDE } from './skin.ts'

/** RGB in 0…255, not yet rounded, [size, size, 3]. */
export type Picture = Float32Array

/** The head's coordinate frame in a pose: what turns a pixel into a ray, and a head point into a pixel. */
export interface Placement {
  centerX: number
  centerY: number
  /** Pixels per head unit. */
  radius: number
  /** Camera axes (columns) in head coordinates: head = right·u + down·v + toward·w. */
  right: number[]
  down: number[]
  toward: number[]
}

export function place(pose: Pose, size: number): Placement {
  const [sy, cy] = [Math.sin(pose.yaw), Math.cos(pose.yaw)]
  const [sp, cp] = [Math.sin(pose.pitch), Math.cos(pose.pitch)]
  const [sr, cr] = [Math.sin(pose.roll), Math.cos(pose.roll)]
  // the inverse of Ry(yaw)·Rx(pitch), applied to the camera axes turned by the roll
  const turn = (u: number, v: number, w: number) => {
    const [x, z] = [cy * u - sy * w, sy * u + cy * w]
    return [x, cp * v + sp * z, -sp * v + cp * z]
  }
  return {
    centerX: pose.x * size,
    centerY: pose.y * size,
    radius: pose.radius * size,
    right: turn(cr, -sr, 0),
    down: turn(sr, cr, 0),
    toward: turn(0, 0, 1),
  }
}

/** Where a point of the head (X, Y, Z in head units) falls in the picture, in pixels. */
export function project(
  { centerX, centerY, radius, right, down }: Placement,
  X: number,
  Y: number,
  Z: number,
): [number, number] {
  const x = right[0] * X + right[1] * Y + right[2] * Z
  const y = down[0] * X + down[1] * Y + down[2] * Z
  return [centerX + radius * x, centerY + radius * y]
}

const skinAt = new Float32Array(SKIN_CHANNELS)
const ink: Ink = { r: 0, g: 0, b: 0, glint: 0 }

function sampleSkin(skin: Float32Array, X: number, Y: number): void {
  const scale = (SKIN_SIDE - 1) / (2 * SKIN_EXTENT)
  const x = clamp((X + SKIN_EXTENT) * scale, 0, SKIN_SIDE - 1.001)
  const y = clamp((Y + SKIN_EXTENT) * scale, 0, SKIN_SIDE - 1.001)
  const i = x | 0
  const j = y | 0
  const u = x - i
  const v = y - j
  const at = (j * SKIN_SIDE + i) * SKIN_CHANNELS
  const below = at + SKIN_SIDE * SKIN_CHANNELS
  for (let c = 0; c < SKIN_CHANNELS; c++) {
    const top = skin[at + c] + (skin[at + SKIN_CHANNELS + c] - skin[at + c]) * u
    const bottom = skin[below + c] + (skin[below + SKIN_CHANNELS + c] - skin[below + c]) * u
    skinAt[c] = top + (bottom - top) * v
  }
}

/** Height of the relief, and hair strands, at the nearest texel: enough for parallax and for the hair behind. */
const heightAt = (skin: Float32Array, X: number, Y: number) => skin[texel(X, Y) + 5]
const strandAt = (skin: Float32Array, X: number, Y: number) => skin[texel(X, Y) + 6]

function texel(X: number, Y: number): number {
  const scale = (SKIN_SIDE - 1) / (2 * SKIN_EXTENT)
  const i = clamp((X + SKIN_EXTENT) * scale + 0.5, 0, SKIN_SIDE - 1) | 0
  const j = clamp((Y + SKIN_EXTENT) * scale + 0.5, 0, SKIN_SIDE - 1) | 0
  return (j * SKIN_SIDE + i) * SKIN_CHANNELS
}

/** Renders one frame into `out` and returns it. */
export function renderFrame(
  look: Look,
  scene: Scene,
  pose: Pose,
  out: Picture = new Float32Array(scene.size ** 2 * 3),
): Picture {
  drawBackground(scene, pose, out)
  drawBody(look, scene, pose, out)
  drawHead(look, scene, pose, out)
  return out
}

/** A part of the picture, in pixels: columns left…right−1 and rows top…bottom−1. */
export interface Region {
  left: number
  top: number
  right: number
  bottom: number
}

function drawBackground({ size, margin, background }: Scene, pose: Pose, out: Picture): void {
  const side = size + 2 * margin
  const shiftX = margin + pose.cameraX * size
  const shiftY = margin + pose.cameraY * size
  const [i, j] = [Math.floor(shiftX), Math.floor(shiftY)]
  const [u, v] = [shiftX - i, shiftY - j]
  const weights = [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v]
  const gain = pose.light
  for (let y = 0, at = 0; y < size; y++) {
    let from = ((y + j) * side + i) * 3
    for (let x = 0; x < size * 3; x++, at++, from++) {
      const below = from + side * 3
      out[at] =
        gain *
        (weights[0] * background[from] +
          weights[1] * background[from + 3] +
          weights[2] * background[below] +
          weights[3] * background[below + 3])
    }
  }
}

/** Shoulders and neck, lit evenly and following the head at a distance. */
function drawBody({ person }: Look, { size, cloth, light, lightColor }: Scene, pose: Pose, out: Picture): void {
  const radius = pose.radius * size
  const bodyX = (0.5 + 0.6 * (pose.x - 0.5)) * size
  const top = (0.49 + 0.5 * (pose.y - 0.49) + 0.32 * 1.2) * size
  const neckX = 0.5 * (bodyX + pose.x * size)
  const neck = 0.46 * radius
  // the collar's edge and the folds' phase depend on the column alone
  const edges = new Float32Array(size)
  for (let x = 0; x < size; x++) {
    const dx = (x + 0.5 - bodyX) / size
    const shoulder = top + size * (0.9 * dx * dx + 2.5 * dx ** 4) - 0.035 * size * Math.exp(-((dx / 0.14) ** 2))
    const collar = top + 0.06 * size - 0.2 * size * Math.max(0, Math.abs(dx) - 0.05)
    edges[x] = Math.abs(dx) < 0.2 ? Math.max(shoulder, collar) : shoulder
  }
  for (let y = Math.floor(pose.y * size); y < size; y++) {
    const sway = 5 * Math.sin((y / size) * 9)
    for (let x = 0; x < size; x++) {
      const at = (y * size + x) * 3
      const across = (x + 0.5 - neckX) / neck
      const neckCover = clamp((1 - Math.abs(across)) * neck + 0.5)
      if (neckCover > 0) {
        const shade = pose.light * (0.62 + 0.25 * light[0] * across - 0.2 * across * across)
        for (let c = 0; c < 3; c++) out[at + c] += (person.skin[c] * shade * lightColor[c] - out[at + c]) * neckCover
      }
      const cover = clamp(y + 1 - edges[x])
      if (cover > 0) {
        const dx = (x + 0.5 - bodyX) / size
        const fold = 0.05 * Math.sin(dx * 38 + sway)
        const shade = pose.light * (0.72 + 0.5 * light[0] * dx + fold + 0.2 * smoothstep(0, 12, edges[x] + 8 - y))
        for (let c = 0; c < 3; c++) out[at + c] += (cloth[c] * shade * lightColor[c] - out[at + c]) * cover
      }
    }
  }
}

/** Draws the head alone over what `out` holds, within `region` if one is given. */
export function drawHead(look: Look, scene: Scene, pose: Pose, out: Picture, region?: Region): void {
  const { person: p, skin } = look
  const { size, light, lightColor, ambient } = scene
  const head = place(pose, size)
  const { right, down, toward, radius } = head
  const reach = radius * p.hairVolume * 1.02 + 2
  const lengthReach = radius * Math.max(1.08, p.hairLength + 0.15) + 2
  const yStart = Math.max(region?.top ?? 0, Math.floor(head.centerY - reach))
  const yEnd = Math.min(region?.bottom ?? size, Math.ceil(head.centerY + lengthReach))
  const xStart = Math.max(region?.left ?? 0, Math.floor(head.centerX - reach))
  const xEnd = Math.min(region?.right ?? size, Math.ceil(head.centerX + reach))
  // the light in head coordinates: its camera coordinates along the camera's axes
  const lx = right[0] * light[0] + down[0] * light[1] + toward[0] * light[2]
  const ly = right[1] * light[0] + down[1] * light[1] + toward[1] * light[2]
  const lz = right[2] * light[0] + down[2] * light[1] + toward[2] * light[2]
  const halfway = Math.hypot(lx + toward[0], ly + toward[1], lz + toward[2])
  const [hx, hy, hz] = [(lx + toward[0]) / halfway, (ly + toward[1]) / halfway, (lz + toward[2]) / halfway]
  const gain = pose.light
  const ears = [-1, 1].map((side) => project(head, side * p.halfWidth * 0.99, 0.06, -0.08))
  for (let row = yStart; row < yEnd; row++) {
    for (let column = xStart; column < xEnd; column++) {
      const at = (row * size + column) * 3
      const u = (column + 0.5 - head.centerX) / radius
      const v = (row + 0.5 - head.centerY) / radius
      const ax = right[0] * u + down[0] * v
      const ay = right[1] * u + down[1] * v
      const az = right[2] * u + down[2] * v
      let r = out[at]
      let g = out[at + 1]
      let b = out[at + 2]

      // hair behind: the shell of the hair, below the middle widened into a curtain of its length
      const shellWidth = (p.halfWidth + 0.02) * p.hairVolume
      const wide = v < 0 ? u / shellWidth : u / (shellWidth * (1 + 0.04 * Math.min(1, v)))
      const shell = v < 0 ? Math.sqrt(wide * wide + (v * v) / (p.hairVolume * p.hairVolume)) : Math.abs(wide)
      const strand = shell < 1.1 ? strandAt(skin, ax * 0.9, ay * 0.9) : 0
      const end = clamp((p.hairLength + 0.08 * strand - v) * radius * 0.5 + 0.5)
      const behind = clamp((1 - shell) * radius * shellWidth + 0.5) * end
      if (behind > 0) {
        const shade = gain * (0.5 + 0.3 * strand + 0.25 * Math.max(0, -v))
        r += (p.hair[0] * shade - r) * behind
        g += (p.hair[1] * shade - g) * behind
        b += (p.hair[2] * shade - b) * behind
      }

      if (p.hairLength < 0.3) {
        for (let side = 0; side < 2; side++) {
          const dx = (column + 0.5 - ears[side][0]) / (0.105 * radius)
          const dy = (row + 0.5 - ears[side][1]) / (0.2 * radius)
          const distance = Math.sqrt(dx * dx + dy * dy)
          const ear = clamp((1 - distance) * 0.12 * radius + 0.5)
          if (ear > 0) {
            const shade = gain * (0.52 + 0.3 * distance)
            r += (p.skin[0] * shade * lightColor[0] - r) * ear
            g += (p.skin[1] * 0.88 * shade * lightColor[1] - g) * ear
            b += (p.skin[2] * 0.86 * shade * lightColor[2] - b) * ear
          }
        }
      }

      // the ray meets the head: smallest and nearest point of (X/a)² + Y² + (Z/d)² along it
      const low = v < 0.05 ? 0 : v - 0.05
      const a = p.halfWidth * (1 - p.taper * low * low)
      const ia = 1 / (a * a)
      const id = 1 / (p.halfDepth * p.halfDepth)
      const qa = toward[0] * toward[0] * ia + toward[1] * toward[1] + toward[2] * toward[2] * id
      const qb = ax * toward[0] * ia + ay * toward[1] + az * toward[2] * id
      const qc = ax * ax * ia + ay * ay + az * az * id
      const least = Math.sqrt(Math.max(0, qc - (qb * qb) / qa))
      const face = clamp((1 - least) * radius * 0.9 + 0.5)
      if (face > 0) {
        const w = (-qb + Math.sqrt(Math.max(0, qb * qb - qa * (qc - 1)))) / qa
        let X = ax + toward[0] * w
        let Y = ay + toward[1] * w
        let Z = az + toward[2] * w
        let nx = X * ia
        let ny = Y
        let nz = Z * id
        // what stands out of the head is seen shifted along the view (parallax)
        const lift = heightAt(skin, X, Y) / Math.max(0.4, toward[2])
        X += toward[0] * lift
        Y += toward[1] * lift
        Z += lift
        const chin = Y - 0.06 * pose.mouth * smoothstep(p.mouthY, p.mouthY + 0.2, Y)
        sampleSkin(skin, X, chin)
        const inverse = 1 / Math.sqrt(nx * nx + ny * ny + nz * nz)
        nx = nx * inverse - skinAt[3]
        ny = ny * inverse - skinAt[4]
        nz *= inverse
        const unit = 1 / Math.sqrt(nx * nx + ny * ny + nz * nz)
        ink.r = skinAt[0]
        ink.g = skinAt[1]
        ink.b = skinAt[2]
        ink.glint = 0
        if (Z > 0) paintFeatures(ink, p, pose, X, Y, skinAt[6], radius)
        const diffuse = Math.max(0, (nx * lx + ny * ly + nz * lz) * unit)
        const shine = Math.max(0, (nx * hx + ny * hy + nz * hz) * unit) ** 24 * 20
        let shade = gain * (ambient + 0.68 * diffuse) * (1 - 0.1 * Math.max(0, Y))
        // hair in front: everything above the hairline, which comes down at the sides
        const sideways = Math.max(0, Math.abs(X) - 0.42)
        const line = p.hairline + p.parting * 0.35 * X + p.hairSides * sideways * sideways * 2 + 0.035 * skinAt[6]
        const hair = clamp((line - Y) * radius * 0.6 + 0.5)
        if (hair > 0) {
          const sheen = 1 + 0.42 * skinAt[6] + 0.5 * Math.exp(-(((Y + 0.78) / 0.12) ** 2))
          ink.r += (p.hair[0] * sheen - ink.r) * hair
          ink.g += (p.hair[1] * sheen - ink.g) * hair
          ink.b += (p.hair[2] * sheen - ink.b) * hair
        } else shade *= 1 - 0.22 * Math.exp(-Math.max(0, Y - line) * 14)
        const light0 = ink.glint + gain * shine * (1 - hair)
        r += (ink.r * shade * lightColor[0] + light0 - r) * face
        g += (ink.g * shade * lightColor[1] + light0 - g) * face
        b += (ink.b * shade * lightColor[2] + light0 - b) * face
      }
      // the crown of the hair stands off the skull
      if (v < -0.2) {
        const crown = clamp((1 - shell) * radius * shellWidth + 0.5) * (1 - face)
        const shade = gain * (0.72 + 0.35 * strand)
        r += (p.hair[0] * shade - r) * crown
        g += (p.hair[1] * shade - g) * crown
        b += (p.hair[2] * shade - b) * crown
      }
      out[at] = r
      out[at + 1] = g
      out[at + 2] = b
    }
  }
}
