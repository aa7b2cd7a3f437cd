/**
 * Random numbers from a counter (Philox 4×32-10): element i of stream s under a key is the same on every adapter and in
 * every order of execution.
 */
import * as b from './ops/build.ts'
import type { Shape } from './shape.ts'
import { Tensor } from './tensor.ts'

const high = (x: number, y: number): number => {
  const [x0, x1, y0, y1] = [x & 0xffff, x >>> 16, y & 0xffff, y >>> 16]
  const low = x0 * y0
  const m1 = x1 * y0 + Math.floor(low / 65536)
  const m2 = x0 * y1 + (m1 % 65536)
  return (x1 * y1 + Math.floor(m1 / 65536) + Math.floor(m2 / 65536)) >>> 0
}

/** Word `index` of a stream, on the host: the reference of the WGSL function of the same name. */
export function philox(key0: number, key1: number, stream: number, index: number): number {
  let [c0, c1, c2, c3] = [index >>> 2, stream >>> 0, 0, 0]
  let [k0, k1] = [key0 >>> 0, key1 >>> 0]
  for (let round = 0; round < 10; round++) {
    const next = [
      (high(0xcd9e8d57, c2) ^ c1 ^ k0) >>> 0,
      Math.imul(0xcd9e8d57, c2) >>> 0,
      (high(0xd2511f53, c0) ^ c3 ^ k1) >>> 0,
      Math.imul(0xd2511f53, c0) >>> 0,
    ]
    ;[c0, c1, c2, c3] = next as [number, number, number, number]
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3][index & 3]!
}

/** Numbers on the host from the same generator, one after another. */
export class HostRandom {
  private index = 0

  constructor(
    private readonly seed: number,
    private readonly stream = 0x517cc1b7,
  ) {}

  /** [0, 1), 24 bits. */
  uniform(): number {
    return Math.floor(philox(this.seed >>> 0, 0, this.stream, this.index++) / 256) * 2 ** -24
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** Standard normal conditioned on |x| ≤ 2. */
  truncatedNormal(): number {
    for (;;) {
      const x = this.normal()
      if (Math.abs(x) <= 2) return x
    }
  }
}

/** A source of random tensors: each call takes the next stream. */
export class Generator {
  /** The next call's stream; set it to go on where another run was. */
  stream = 0

  constructor(readonly seed: number) {}

  private bits(shape: Shape): Tensor {
    const words = () => Uint32Array.of(this.seed >>> 0, Math.floor(this.seed / 2 ** 32) >>> 0, this.stream++, 0)
    const key = b.hostLeaf(words(), [4], 'u32')
    key.refresh = words
    return new Tensor(b.randomBits(key, shape))
  }

  /** [low, high), 24 bits. */
  uniform(shape: Shape, low = 0, highBound = 1): Tensor {
    const unit = this.bits(shape)
      .div(256)
      .cast('f32')
      .mul(2 ** -24)
    return low === 0 && highBound === 1 ? unit : unit.mul(highBound - low).add(low)
  }

  /** Standard normal (Box–Muller). */
  normal(shape: Shape): Tensor {
    const radius = this.uniform(shape).neg().add(1).log().mul(-2).sqrt()
    return radius.mul(
      this.uniform(shape)
        .mul(2 * Math.PI)
        .cos(),
    )
  }

  /** Standard normal conditioned on |x| ≤ `bound`, by the inverse distribution function (Giles 2012 for erf⁻¹). */
  truncatedNormal(shape: Shape, bound = 2): Tensor {
    const edge = 2 * normalTail(bound) - 1
    const x = this.uniform(shape, -edge, edge)
    const w = x.square().neg().add(1).log().neg().sub(2.5)
    const near = [
      2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6, 2.1858087e-4, -1.25372503e-3, -4.17768164e-3,
      2.46640727e-1, 1.50140941,
    ]
    const poly = near.slice(1).reduce((p, c) => p.mul(w).add(c), w.mul(0).add(near[0]!))
    return poly.mul(x).mul(Math.SQRT2).clamp(-bound, bound)
  }

  /** x with each element zeroed with probability p and the rest scaled by 1/(1−p). */
  dropout(x: Tensor, p: number): Tensor {
    return p === 0 ? x : x.mul(this.uniform(x.shape).greaterEqual(p).cast(x.dtype)).div(1 - p)
  }
}

/** Φ(x) by Simpson's rule on the density; once per call, host side. */
function normalTail(x: number): number {
  const steps = 1000
  const density = (t: number) => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI)
  let sum = density(0) + density(x)
  for (let i = 1; i < steps; i++) sum += density((x * i) / steps) * (i % 2 ? 4 : 2)
  return 0.5 + (sum * x) / steps / 3
}
