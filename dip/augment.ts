/**
 * Spatiotemporal augmentation (IV-A) on the device, its choices drawn on the host from a seeded generator: once per clip, each
 * operation with its own probability. A clip keeps its length: dropped frames are refilled by their predecessor, repeated
 * ones push the rest out.
 */
import { concat, type Generator, type HostRandom, type Tensor, tensor } from '../engine/index.ts'

export interface AugmentSettings {
  /** Probability of each operation; 0 switches it off. */
  readonly blur: number
  readonly saturation: number
  readonly noise: number
  readonly dropFrames: number
  readonly repeatFrames: number
}

export const defaultAugment: AugmentSettings = {
  blur: 0.5,
  saturation: 0.5,
  noise: 0.5,
  dropFrames: 0.5,
  repeatFrames: 0.5,
}

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

/** Drops or repeats 1 … ¼·T (at most 4) frames, as the paper does with up to 4 of 16. */
function drawFrames(random: HostRandom, count: number, settings: AugmentSettings): number[] {
  const most = Math.max(1, Math.min(4, Math.floor(count / 4)))
  const amount = () => 1 + Math.floor(random.uniform() * most)
  let order = Array.from({ length: count }, (_, i) => i)
  const drop = random.uniform() < settings.dropFrames ? amount() : 0
  for (let i = 0; i < drop; i++) {
    const at = Math.floor(random.uniform() * count)
    order = order.map((f, j) => (j === at && j > 0 ? order[j - 1]! : f))
  }
  const repeat = random.uniform() < settings.repeatFrames ? amount() : 0
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
  const chance = (p: number) => random.uniform() < p
  const range = (low: number, high: number) => low + (high - low) * random.uniform()
  const draw = <T>(f: () => T): T[] => Array.from({ length: clips }, f)
  return {
    blur: draw(() => (chance(settings.blur) ? 3 + 2 * Math.floor(random.uniform() * 3) : 1)),
    saturation: draw(() => (chance(settings.saturation) ? range(0.5, 1.5) : 1)),
    noise: draw(() => (chance(settings.noise) ? range(2, 10) / 255 : 0)),
    frames: draw(() => drawFrames(random, frames, settings)),
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

/** clip [B, T, M, M, 3] in [0, 1] → the same shape, augmented, clamped to [0, 1]. */
export function augment(clip: Tensor, drawn: Augmentation, noise: Generator): Tensor {
  const [b, t, m] = clip.shape as [number, number, number]
  const perClip = (values: readonly number[]) => tensor(Float32Array.from(values), [b, 1, 1, 1, 1])
  const order = tensor(Int32Array.from(drawn.frames.flat()), [b, t, 1, 1, 1])
  let x = clip.gather(order, 1)
  const taps = tensor(Float32Array.from(drawn.blur.flatMap(blurTaps)), [b, widest])
  x = blurAlong(blurAlong(x, taps, 2).contiguous(), taps, 3).contiguous()
  const grey = luma(x)
  x = grey.add(x.sub(grey).mul(perClip(drawn.saturation)))
  return x.add(noise.normal([b, t, m, m, 3]).mul(perClip(drawn.noise))).clamp(0, 1)
}
