/**
 * What can happen to frames, on the device: the operations that training augments with (augment.ts) and those of the robustness
 * study (IV-D). Frames are x [B, T, H, W, 3], RGB in [0, 1].
 *
 * The study's are those of DeeperForensics-1.0 (Jiang et al. 2020; github.com/EndlessSora/DeeperForensics-1.0,
 * perturbation/add_distortion_to_video.py), which works on bytes: colours are cut off after the point, blurred and resized
 * ones rounded. Its seventh, H.264 compression, is train/video's.
 */
import {
  arange,
  concat,
  type HostRandom,
  resize,
  type Shape,
  ShapeError,
  type Tensor,
  tensor,
} from '../engine/index.ts'

/** Rec. 601 luma, [..., 1]. */
export const luma = (x: Tensor): Tensor => x.mul(tensor([0.299, 0.587, 0.114])).sum(-1, true)

/** Distance from grey times `factor`; the same as scaling the chroma of YCbCr about its middle. */
export function saturate(x: Tensor, factor: Tensor | number): Tensor {
  const grey = luma(x)
  return grey.add(x.sub(grey).mul(factor))
}

/** x plus normal noise of standard deviation `sigma`; `normal` has the shape of x. */
export const addNoise = (x: Tensor, normal: Tensor, sigma: Tensor | number): Tensor => x.add(normal.mul(sigma))

/** Noise in (Y, Cb, Cr) as what it adds to RGB. */
export function chromaNoise(ycc: Tensor): Tensor {
  const [y, cb, cr] = ycc.split(3, -1) as [Tensor, Tensor, Tensor]
  return concat([y.add(cr.mul(1.403)), y.sub(cr.mul(0.714)).sub(cb.mul(0.344)), y.add(cb.mul(1.773))], -1)
}

/** Weights of a Gaussian of odd size k, σ = k/6, in the middle of `width` taps. */
export function blurTaps(size: number, width = size): number[] {
  const raw = Array.from({ length: width }, (_, i) => {
    const d = i - (width - 1) / 2
    return Math.abs(d) > (size - 1) / 2 ? 0 : Math.exp((-d * d) / (2 * (size / 6) ** 2))
  })
  const total = raw.reduce((a, b) => a + b, 0)
  return raw.map((w) => w / total)
}

/** Positions −half … n−1+half, mirrored at the first and the last without repeating them. i32 [n + 2 half] */
function mirrored(n: number, half: number): Tensor {
  const at = arange(-half, n + half, 1, 'i32')
  if (n === 1) return at.mul(0)
  const period = 2 * n - 2
  return at
    .mod(period)
    .sub(n - 1)
    .abs()
    .neg()
    .add(n - 1)
}

function blurAlong(x: Tensor, taps: Tensor, axis: number): Tensor {
  const [clips, width] = taps.shape as [number, number]
  const size = x.shape[axis]!
  const padded = x.take(mirrored(size, (width - 1) / 2), axis)
  const terms = Array.from({ length: width }, (_, i) =>
    padded.narrow(axis, i, i + size).mul(taps.select(1, i).reshape([clips, 1, 1, 1, 1])),
  )
  return terms.reduce((sum, term) => sum.add(term)).contiguous()
}

/** Separable blur by taps [B or 1, odd number], frames mirrored at their edges. */
export const blur = (x: Tensor, taps: Tensor): Tensor => blurAlong(blurAlong(x, taps, 2), taps, 3)

export const blockSide = 8

/** Grey (128 of 255) 8×8 blocks, corners [B, T, N, 2] as row and column. Blocks are cut where the frame ends. */
export function coverBlocks(x: Tensor, corners: Tensor): Tensor {
  const covers = (axis: number, part: number): Tensor => {
    const at = arange(x.shape[axis]!, undefined, 1, 'i32').unsqueeze(1) // [H, 1]
    const from = corners.select(3, part).unsqueeze(2) // [B, T, 1, N]
    return at
      .greaterEqual(from)
      .and(at.less(from.add(blockSide)))
      .cast('f32') // [B, T, H, N]
  }
  const covered = covers(2, 0).matmul(covers(3, 1).transpose()).minimum(1).unsqueeze(4) // [B, T, H, W, 1]
  return x.add(covered.mul(x.neg().add(128 / 255)))
}

/** Whole bytes over 255; the slack is far below a step and above what float32 rounds. */
const wholeBytes = (x: Tensor, add: number): Tensor =>
  x
    .mul(255)
    .add(add + 1e-3)
    .floor()
    .clamp(0, 255)
    .div(255)
const cutOff = (x: Tensor): Tensor => wholeBytes(x, 0)
/** Halves up. */
const rounded = (x: Tensor): Tensor => wholeBytes(x, 0.5)

/** Shrunk `factor` times and enlarged again, bilinearly, rounded to bytes on the way. */
export function pixelate(x: Tensor, factor: number): Tensor {
  const [h, w] = [x.shape[2]!, x.shape[3]!]
  const channels = x.permute([0, 1, 4, 2, 3])
  const small = rounded(resize(channels, Math.max(1, Math.floor(h / factor)), Math.max(1, Math.floor(w / factor))))
  return resize(small, h, w).permute([0, 1, 3, 4, 2])
}

export type DistortionName = 'cs' | 'cc' | 'bw' | 'gnc' | 'gb' | 'px'

export interface Distortion {
  readonly title: string
  /** Parameter at levels 1 to 5. */
  readonly levels: readonly [number, number, number, number, number]
}

export const distortions: Readonly<Record<DistortionName, Distortion>> = {
  cs: { title: 'saturation', levels: [0.4, 0.3, 0.2, 0.1, 0] },
  cc: { title: 'contrast', levels: [0.85, 0.725, 0.6, 0.475, 0.35] },
  bw: { title: 'blocks', levels: [16, 32, 48, 64, 80] },
  gnc: { title: 'Gaussian noise', levels: [0.001, 0.002, 0.005, 0.01, 0.05] },
  gb: { title: 'Gaussian blur', levels: [7, 9, 13, 17, 21] },
  px: { title: 'pixelation', levels: [2, 3, 4, 5, 6] },
}

export const distortionNames = Object.keys(distortions) as DistortionName[]

/** Blocks on a frame of h×w pixels: (min(h, w) div 256)·p, at least p. */
export const blockCount = (h: number, w: number, p: number): number => Math.max(1, Math.floor(Math.min(h, w) / 256)) * p

/** Corners of `count` blocks on each of `frames` frames, i32 [frames, count, 2]; where DeeperForensics draws them from. */
export function drawBlocks(random: HostRandom, frames: number, h: number, w: number, count: number): Int32Array {
  const below = (n: number) => Math.floor(random.uniform() * Math.max(1, n))
  const last = (n: number) => n - blockSide
  return Int32Array.from({ length: frames * count * 2 }, (_, i) => below(i % 2 ? last(w) : last(h)))
}

export interface DistortRandomness {
  /** Draws the blocks. */
  readonly host: HostRandom
  /** Standard normal tensors. */
  readonly normal: (shape: Shape) => Tensor
}

/** A distortion at level 1 to 5 of x [B, T, H, W, 3] in [0, 1], whole bytes over 255 again. */
export function distort(x: Tensor, name: DistortionName, level: number, random: DistortRandomness): Tensor {
  const p = distortions[name].levels[level - 1]
  if (p === undefined) throw new RangeError(`distort: level must be 1 to 5, got ${level}`)
  if (x.rank !== 5 || x.shape[4] !== 3) throw new ShapeError(`distort: needs [B, T, H, W, 3], got [${x.shape}]`)
  const [b, t, h, w] = x.shape as [number, number, number, number]
  switch (name) {
    case 'cs':
      return cutOff(saturate(x, p))
    case 'cc':
      return cutOff(x.mul(p))
    case 'bw': {
      const count = blockCount(h, w, p)
      return coverBlocks(x, tensor(drawBlocks(random.host, b * t, h, w, count), [b, t, count, 2]))
    }
    case 'gnc': {
      // Noise of variance p in YCbCr scaled to 16…235 and 16…240 of 255; undoing the scaling enlarges it.
      const normal = random.normal(x.shape).mul(tensor([255 / 219, 255 / 224, 255 / 224]))
      return cutOff(addNoise(x, chromaNoise(normal), Math.sqrt(p)))
    }
    case 'gb':
      return rounded(blur(x, tensor([blurTaps(p)])))
    case 'px':
      return rounded(pixelate(x, p))
  }
}
