/**
 * Spatiotemporal augmentation (IV-A) on the device, its choices drawn on the host from a seeded generator: once per clip, each
 * operation with its own probability. A clip keeps its length: dropped frames are refilled by their predecessor, repeated
 * ones push the rest out.
 */
import { concat, type Generator, type HostRandom, type Tensor, tensor } from '../engine/index.ts'
import type { DipConfig } from './config.ts'

export type AugmentSettings = DipConfig['augment']

/** What was drawn for a batch of clips. */
export interface Augmentation {
  /** Odd kernel size 3, 5 or 7, or 1 for none; σ = size/6. */
  readonly blur: readonly number[]
  /** Factor on the distance from grey; 1 for none. */
  readonly saturation: readonly number[]
  /** Standard deviation in [0, 1] units; 0 for none. */
  readonly noise: readonly number[]
  /** Source frame of every frame, [B][T]. */
  readonly frames: readonly (readonly number[])[]
}

const widest = 7

/** Drops (refilled by their predecessor) or repeats frames; of clips under 16 frames proportionally fewer. */
function drawFrames(random: HostRandom, count: number, settings: AugmentSettings): number[] {
  const share = Math.min(1, count / 16)
  const amount = ({ p, min, max }: AugmentSettings['drop']) => {
    const least = Math.max(1, Math.round(min * share))
    const most = Math.max(least, Math.round(max * share))
    return random.uniform() < p ? least + Math.floor(random.uniform() * (most - least + 1)) : 0
  }
  let order = Array.from({ length: count }, (_, i) => i)
  const drop = amount(settings.drop)
  for (let i = 0; i < drop; i++) {
    const at = Math.floor(random.uniform() * count)
    order = order.map((f, j) => (j === at && j > 0 ? order[j - 1]! : f))
  }
  const repeat = amount(settings.repeat)
  for (let i = 0; i < repeat; i++) {
    const at = Math.floor(random.uniform() * count)
    order = [...order.slice(0, at + 1), order[at]!, ...order.slice(at + 1)].slice(0, count)
  }
  return order
}

export function drawAugmentation(
  random: HostRandom,
  clips: number,
  frames: number,
  settings: AugmentSettings,
): Augmentation {
  const { blur, saturation, noise } = settings
  const range = ({ min, max }: { min: number; max: number }) => min + (max - min) * random.uniform()
  const draw = (p: number, otherwise: number, f: () => number): number[] =>
    Array.from({ length: clips }, () => (random.uniform() < p ? f() : otherwise))
  const sizes = Array.from({ length: Math.floor((blur.max - blur.min) / 2) + 1 }, (_, i) => blur.min + 2 * i)
  return {
    blur: draw(blur.p, 1, () => sizes[Math.floor(random.uniform() * sizes.length)]!),
    saturation: draw(saturation.p, 1, () => range(saturation)),
    noise: draw(noise.p, 0, () => range(noise) / 255),
    frames: Array.from({ length: clips }, () => drawFrames(random, frames, settings)),
  }
}

/** Weights of the 7 taps of a Gaussian of odd size k, σ = k/6; 0 beyond its half width. */
export function blurTaps(size: number): number[] {
  const half = (size - 1) / 2
  const raw = Array.from({ length: widest }, (_, i) => {
    const d = i - (widest - 1) / 2
    return Math.abs(d) > half ? 0 : Math.exp((-d * d) / (2 * (size / 6) ** 2))
  })
  const total = raw.reduce((a, b) => a + b, 0)
  return raw.map((w) => w / total)
}

/** Weighted sum of seven neighbours along `axis`, the border pixel repeated. */
function blurAlong(x: Tensor, taps: Tensor, axis: number): Tensor {
  const size = x.shape[axis]!
  const half = (widest - 1) / 2
  const edge = x.shape.map((d, i) => (i === axis ? half : d))
  const before = x.narrow(axis, 0, 1).expand(edge)
  const after = x.narrow(axis, size - 1, size).expand(edge)
  const padded = concat([before, x, after], axis)
  let sum: Tensor | undefined
  for (let i = 0; i < widest; i++) {
    const weight = taps.narrow(1, i, i + 1).reshape([x.shape[0]!, 1, 1, 1, 1])
    const term = padded.narrow(axis, i, i + size).mul(weight)
    sum = sum ? sum.add(term) : term
  }
  return sum!
}

/** Rec. 601 luma [B, T, M, M, 1]. */
const luma = (x: Tensor): Tensor => x.mul(tensor([0.299, 0.587, 0.114])).sum(-1, true)

/** The draw as tensors, so that one plan serves every batch. */
export interface AugmentTensors {
  /** i32 [B, T, 1, 1, 1] */
  readonly order: Tensor
  /** [B, 7] */
  readonly taps: Tensor
  /** [B, 1, 1, 1, 1] each */
  readonly saturation: Tensor
  readonly noise: Tensor
}

export function augmentTensors(drawn: Augmentation): AugmentTensors {
  const b = drawn.blur.length
  const perClip = (values: readonly number[]) => tensor(Float32Array.from(values), [b, 1, 1, 1, 1])
  return {
    order: tensor(Int32Array.from(drawn.frames.flat()), [b, drawn.frames[0]!.length, 1, 1, 1]),
    taps: tensor(Float32Array.from(drawn.blur.flatMap(blurTaps)), [b, widest]),
    saturation: perClip(drawn.saturation),
    noise: perClip(drawn.noise),
  }
}

/** clip [B, T, M, M, 3] in [0, 1] → the same shape, augmented, clamped to [0, 1]. */
export function augment(clip: Tensor, drawn: AugmentTensors, noise: Generator): Tensor {
  const moved = clip.gather(drawn.order, 1)
  const blurred = blurAlong(blurAlong(moved, drawn.taps, 2).contiguous(), drawn.taps, 3).contiguous()
  const grey = luma(blurred)
  const x = grey.add(blurred.sub(grey).mul(drawn.saturation))
  return x.add(noise.normal(clip.shape).mul(drawn.noise)).clamp(0, 1)
}
