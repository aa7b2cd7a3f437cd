/**
 * Spatiotemporal augmentation (IV-A) on the device, its choices drawn on the host from a seeded generator: once per clip, each
 * operation with its own probability. A clip keeps its length: dropped frames are refilled by their predecessor, repeated
 * ones push the rest out.
 */
import { type Generator, type HostRandom, type Tensor, tensor } from '../engine/index.ts'
import type { DipConfig } from './config.ts'
import { addNoise, blur, blurTaps, saturate } from './distort.ts'

export type AugmentSettings = DipConfig['augment']

/** What was drawn for a batch of clips. */
export interface Augmentation {
  /** Odd kernel size in pixels, or 1 for none; σ = size/6. */
  readonly blur: readonly number[]
  /** Factor on the distance from grey; 1 for none. */
  readonly saturation: readonly number[]
  /** Standard deviation in [0, 1] units; 0 for none. */
  readonly noise: readonly number[]
  /** Source frame of every frame, [B][T]. */
  readonly frames: readonly (readonly number[])[]
}

/** `count` distinct numbers of 1 … below−1, as many as there are. */
function distinct(random: HostRandom, count: number, below: number): Set<number> {
  const chosen = new Set<number>()
  while (chosen.size < Math.min(count, below - 1)) chosen.add(1 + Math.floor(random.uniform() * (below - 1)))
  return chosen
}

/** Drops (refilled by their predecessor) or repeats frames; of clips under 16 frames proportionally fewer. */
function drawFrames(random: HostRandom, count: number, settings: AugmentSettings): number[] {
  const share = Math.min(1, count / 16)
  const amount = ({ p, min, max }: AugmentSettings['drop']) => {
    const least = Math.max(1, Math.round(min * share))
    const most = Math.max(least, Math.round(max * share))
    return random.uniform() < p ? least + Math.floor(random.uniform() * (most - least + 1)) : 0
  }
  const order: number[] = []
  const dropped = distinct(random, amount(settings.drop), count)
  for (let i = 0; i < count; i++) order.push(dropped.has(i) ? order[i - 1]! : i)
  const repeated = amount(settings.repeat)
  for (let i = 0; i < repeated; i++) {
    const at = Math.floor(random.uniform() * (count - 1))
    order.splice(at, 0, order[at]!)
    order.pop()
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

/** The draw as tensors, so that one plan serves every batch. */
export interface AugmentTensors {
  /** i32 [B, T, 1, 1, 1] */
  readonly order: Tensor
  /** [B, widest kernel] */
  readonly taps: Tensor
  /** [B, 1, 1, 1, 1] each */
  readonly saturation: Tensor
  readonly noise: Tensor
}

export function augmentTensors(drawn: Augmentation, settings: AugmentSettings): AugmentTensors {
  const b = drawn.blur.length
  const perClip = (values: readonly number[]) => tensor(Float32Array.from(values), [b, 1, 1, 1, 1])
  const widest = settings.blur.max
  return {
    order: tensor(Int32Array.from(drawn.frames.flat()), [b, drawn.frames[0]!.length, 1, 1, 1]),
    taps: tensor(Float32Array.from(drawn.blur.flatMap((size) => blurTaps(size, widest))), [b, widest]),
    saturation: perClip(drawn.saturation),
    noise: perClip(drawn.noise),
  }
}

/**
 * clip [B, T, M, M, 3] in [0, 1] → the same shape, augmented, clamped to [0, 1]. Operations of probability 0 are left out of
 * the plan.
 */
export function augment(clip: Tensor, drawn: AugmentTensors, settings: AugmentSettings, noise: Generator): Tensor {
  let x = clip
  if (settings.drop.p || settings.repeat.p) x = x.gather(drawn.order, 1)
  if (settings.blur.p) x = blur(x, drawn.taps)
  if (settings.saturation.p) x = saturate(x, drawn.saturation)
  if (settings.noise.p) x = addNoise(x, noise.normal(clip.shape), drawn.noise)
  return x.clamp(0, 1)
}
