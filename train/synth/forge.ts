/**
 * Four forgeries of a rendered clip, each leaving the traces of what it imitates. They are made before sensor noise is
 * added and touch nothing outside the face: noise, flicker of the light, background and encoding are the real clip's own.
 *
 * swap        another head's inner face, rendered in the target's pose, its colour matched imperfectly, softened by a
 *             generator's low resolution, blended in by a hull of jittering landmarks (DeepFakes, FaceSwap)
 * reenact     eyes and mouth driven by another clip, low in resolution, a little late and loosely attached (Face2Face)
 * self-blend  the clip's own face of a few frames earlier, shifted in place, scale and colour (self-blended images)
 * texture     the mouth region low-passed and given a synthetic fine texture that flickers (NeuralTextures)
 */
import { faceHull, surfaceEllipses } from './masks.ts'
import type { Pose } from './motion.ts'
import { blendIn, blur, grown, meanColor, shifted } from './picture.ts'
import { clamp, key, mix, Random, valueNoise } from './random.ts'
import { drawHead, type Picture, place } from './render.ts'
import type { Scene } from './scene.ts'
import type { Look } from './skin.ts'

export const METHODS = ['swap', 'reenact', 'self-blend', 'texture'] as const
export type Method = (typeof METHODS)[number]

/** Frames rendered ahead of a clip's first, for forgeries that lag. */
export const LEAD = 4

/** A real clip before noise; frame i is `clean[i + LEAD]`. */
export interface Clip {
  look: Look
  scene: Scene
  fps: number
  motion: (seconds: number) => Pose
  clean: Picture[]
}

/** Returns a function that makes frame i of the forged clip. `strength` scales every trace; 1 is visible to a careful eye. */
export function forge(
  method: Method,
  target: Clip,
  source: Clip,
  seed: number,
  strength = 1,
): (frame: number) => Picture {
  const settings = new Random(key(seed, 'settings'))
  const make = { swap, reenact, 'self-blend': selfBlend, texture }[method](target, source, settings, strength)
  return (frame) => make(frame, new Random(key(seed, 'frame', frame)))
}

type Make = (target: Clip, source: Clip, settings: Random, strength: number) => (i: number, r: Random) => Picture

/** Either sign, magnitude between low and high. */
const signed = (r: Random, low: number, high: number) => (r.chance(0.5) ? 1 : -1) * r.uniform(low, high)

const swap: Make = (target, source, settings, strength) => {
  const { size } = target.scene
  const pixel = (size / 160) * strength
  const match = settings.uniform(0.75, 0.95)
  const cast = [0, 1, 2].map(() => signed(settings, 2, 7) * strength)
  const level = signed(settings, 3, 7) * strength
  const soft = settings.uniform(1.4, 2.6) * (size / 160)
  const grow = settings.uniform(0.94, 1.04)
  return (i, r) => {
    const out = target.clean[i + LEAD].slice()
    const pose = target.motion(i / target.fps)
    const mask = faceHull(target.look.person, place(pose, size), size, { grow, jitter: 0.9 * pixel, soft, random: r })
    const region = grown(mask.region, 3, size)
    const patch = out.slice()
    const driven = {
      ...pose,
      x: pose.x + (1.1 * pixel * r.normal()) / size,
      y: pose.y + (1.1 * pixel * r.normal()) / size,
      roll: pose.roll + 0.012 * strength * r.normal(),
      yaw: pose.yaw + 0.03 * strength * r.normal(),
    }
    drawHead(source.look, target.scene, driven, patch, region)
    blur(patch, size, region, Math.max(1, Math.round(size / 160)), 1)
    const have = meanColor(patch, size, mask)
    const want = meanColor(out, size, mask)
    const flicker = 9 * strength * r.normal()
    const gain = have.map((h, c) => clamp(want[c] / Math.max(1, h), 0.3, 3) ** match)
    blendIn(
      out,
      patch,
      size,
      mask,
      cast.map((c) => c + level + flicker),
      gain,
    )
    return out
  }
}

const reenact: Make = (target, source, settings, strength) => {
  const { size } = target.scene
  const { person } = target.look
  const pixel = (size / 160) * strength
  const lag = settings.uniform(1.2, 2.2) / target.fps
  const cast = [0, 1, 2].map(() => signed(settings, 3, 8) * strength)
  const coarse = Math.max(2, Math.round((size / 160) * 2))
  const { eyeX, eyeY, mouthY, mouthWidth } = person
  const parts = [
    [0, mouthY + 0.04, mouthWidth * 1.55, 0.27],
    [-eyeX, eyeY - 0.06, 0.26, 0.24],
    [eyeX, eyeY - 0.06, 0.26, 0.24],
  ]
  return (i, r) => {
    const out = target.clean[i + LEAD].slice()
    const t = i / target.fps
    const pose = target.motion(t)
    const late = target.motion(t - lag)
    const driver = source.motion(t - lag)
    const loose = 0.45 * Math.min(1, strength)
    const driven: Pose = {
      ...pose,
      x: mix(pose.x, late.x, loose) + (0.8 * pixel * r.normal()) / size,
      y: mix(pose.y, late.y, loose) + (0.8 * pixel * r.normal()) / size,
      yaw: mix(pose.yaw, late.yaw, loose),
      pitch: mix(pose.pitch, late.pitch, loose),
      roll: mix(pose.roll, late.roll, loose),
      mouth: clamp(driver.mouth * 1.1 + 0.05 * r.normal()),
      smile: driver.smile,
      lids: driver.lids,
      gazeX: driver.gazeX,
      gazeY: driver.gazeY,
      brows: driver.brows,
    }
    const mask = surfaceEllipses(person, place(pose, size), size, parts, 0.3)
    const region = grown(mask.region, 2 * coarse, size)
    const patch = out.slice()
    drawHead(target.look, target.scene, driven, patch, region)
    pixelate(patch, size, region, coarse)
    const flicker = 10 * strength * r.normal()
    blendIn(
      out,
      patch,
      size,
      mask,
      cast.map((c) => c + flicker),
    )
    return out
  }
}

/** Averages blocks of `side` pixels and interpolates between them: what a patch of lower resolution looks like. */
function pixelate(picture: Picture, size: number, region: ReturnType<typeof grown>, side: number): void {
  blur(picture, size, region, side >> 1, 1)
  const held = picture.slice()
  for (let y = region.top; y < region.bottom; y++) {
    const fy = (y - region.top) / side
    const y0 = Math.min(region.bottom - 1, region.top + Math.floor(fy) * side)
    const y1 = Math.min(region.bottom - 1, y0 + side)
    const v = fy - Math.floor(fy)
    for (let x = region.left; x < region.right; x++) {
      const fx = (x - region.left) / side
      const x0 = Math.min(region.right - 1, region.left + Math.floor(fx) * side)
      const x1 = Math.min(region.right - 1, x0 + side)
      const u = fx - Math.floor(fx)
      for (let c = 0; c < 3; c++) {
        const upper = mix(held[(y0 * size + x0) * 3 + c], held[(y0 * size + x1) * 3 + c], u)
        const lower = mix(held[(y1 * size + x0) * 3 + c], held[(y1 * size + x1) * 3 + c], u)
        picture[(y * size + x) * 3 + c] = mix(upper, lower, v)
      }
    }
  }
}

const selfBlend: Make = (target, _source, settings, strength) => {
  const { size } = target.scene
  const pixel = (size / 160) * strength
  const lag = settings.pick([2, 3])
  const scale = 1 + signed(settings, 0.015, 0.04) * strength
  const [dx, dy] = [signed(settings, 0.6, 1.8) * pixel, signed(settings, 0.6, 1.8) * pixel]
  const cast = [0, 1, 2].map(() => signed(settings, 2, 6) * strength)
  const level = signed(settings, 5, 10) * strength
  const grow = settings.uniform(0.84, 1.04)
  const soft = settings.uniform(1.4, 3) * (size / 160)
  return (i, r) => {
    const out = target.clean[i + LEAD].slice()
    const head = place(target.motion(i / target.fps), size)
    const mask = faceHull(target.look.person, head, size, { grow, jitter: 0.7 * pixel, soft, random: r })
    const patch = new Float32Array(out.length)
    shifted(target.clean[i + LEAD - lag], patch, size, mask.region, {
      cx: head.centerX,
      cy: head.centerY,
      scale,
      dx: dx + 0.7 * pixel * r.normal(),
      dy: dy + 0.7 * pixel * r.normal(),
    })
    const flicker = 10 * strength * r.normal()
    blendIn(
      out,
      patch,
      size,
      mask,
      cast.map((c) => c + level + flicker),
    )
    return out
  }
}

const texture: Make = (target, _source, settings, strength) => {
  const { size } = target.scene
  const { person } = target.look
  const unit = size / 160
  const cast = [0, 1, 2].map(() => signed(settings, 2, 5) * strength)
  const period = settings.uniform(3.6, 5.2) * unit
  const amplitude = settings.uniform(7, 10) * strength
  const part = [[0, person.mouthY + 0.03, 0.46, 0.33]]
  return (i, r) => {
    const out = target.clean[i + LEAD].slice()
    const mask = surfaceEllipses(person, place(target.motion(i / target.fps), size), size, part, 0.3)
    const region = grown(mask.region, 4, size)
    const patch = out.slice()
    blur(patch, size, region, Math.max(1, Math.round(1.2 * unit * Math.min(2, Math.sqrt(strength)))), 2)
    // a lattice that stays with the image, as transposed convolutions leave, under grain drawn anew each frame
    const grain = valueNoise(r)
    const gain = r.uniform(0.4, 1)
    const [px, py] = [r.uniform(0, 64), r.uniform(0, 64)]
    const wave = (2 * Math.PI) / period
    for (let y = region.top; y < region.bottom; y++) {
      for (let x = region.left; x < region.right; x++) {
        const lattice = 0.55 * gain * Math.cos(x * wave) * Math.cos(y * wave)
        const value = amplitude * (lattice + 0.9 * grain(px + x / (2.2 * unit), py + y / (2.2 * unit)))
        for (let c = 0; c < 3; c++) patch[(y * size + x) * 3 + c] += value
      }
    }
    const flicker = 13 * strength * r.normal()
    blendIn(
      out,
      patch,
      size,
      mask,
      cast.map((c) => c + flicker),
    )
    return out
  }
}
