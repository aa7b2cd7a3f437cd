/**
 * Random numbers from a counter (Philox 4×32-10): element i of stream s under a key is the same on every adapter and in
 * every order of execution.
 */
import * as b from './ops/build.ts'
import type { Shape } from './shape.ts'
import { Tensor } from './tensor.ts'

/** High word of the 64-bit product of two u32: partial products of 16 bits stay exact in a double. */
const high = (x: number, y: number): number => {
  const x0 = x & 0xffff
  const x1 = x >>> 16
  const y0 = y & 0xffff
  const y1 = y >>> 16
  const m1 = x1 * y0 + ((x0 * y0) >>> 16)
  const m2 = x0 * y1 + (m1 & 0xffff)
  return (x1 * y1 + Math.floor(m1 / 65536) + Math.floor(m2 / 65536)) >>> 0
}

/** Philox 4×32-10 of counter c0…c3 under a key, into `out`: Random123's `philox4x32`, word for word. */
export function philoxBlock(
  key: readonly [number, number],
  counter: readonly [number, number, number, number],
  out: Uint32Array,
): void {
  let [k0, k1] = [key[0] >>> 0, key[1] >>> 0]
  let [c0, c1, c2, c3] = [counter[0] >>> 0, counter[1] >>> 0, counter[2] >>> 0, counter[3] >>> 0]
  for (let round = 0; round < 10; round++) {
    const n0 = (high(0xcd9e8d57, c2) ^ c1 ^ k0) >>> 0
    const n1 = Math.imul(0xcd9e8d57, c2) >>> 0
    const n2 = (high(0xd2511f53, c0) ^ c3 ^ k1) >>> 0
    const n3 = Math.imul(0xd2511f53, c0) >>> 0
    c0 = n0
    c1 = n1
    c2 = n2
    c3 = n3
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  out[0] = c0
  out[1] = c1
  out[2] = c2
  out[3] = c3
}

const words = new Uint32Array(4)

/** Word `index` of a stream, on the host: the reference of the WGSL function of the same name. */
export function philox(key0: number, key1: number, stream: number, index: number): number {
  philoxBlock([key0, key1], [index >>> 2, stream, 0, 0], words)
  return words[index & 3]!
}

/** Numbers on the host from the same generator, one after another. */
export class HostRandom {
  private index = 0
  private readonly block = new Uint32Array(4)

  constructor(
    private readonly seed: number,
    private readonly stream = 0x517cc1b7,
  ) {}

  /** [0, 1), 24 bits. */
  uniform(): number {
    const at = this.index++
    if ((at & 3) === 0) philoxBlock([this.seed, 0], [at >>> 2, this.stream, 0, 0], this.block)
    return (this.block[at & 3]! >>> 8) * 2 ** -24
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
