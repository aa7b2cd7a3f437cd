/**
 * A small seeded generator for everything that is drawn on the host: splits, triplets, bootstraps.
 * sfc32 (Doty-Humphrey, PractRand), its state filled from the seeds by FNV-1a with murmur3's finaliser. A generator is made from
 * any list of seeds, so position p of epoch e has its own, and a run resumes anywhere without replaying what came before.
 */
export class Random {
  private a: number
  private b: number
  private c: number
  private counter = 1

  constructor(...seeds: (number | string)[]) {
    const text = JSON.stringify(seeds)
    this.a = hash(text, 0x9e3779b9)
    this.b = hash(text, 0x243f6a88)
    this.c = hash(text, 0xb7e15162)
    for (let i = 0; i < 12; i++) this.uint32()
  }

  uint32(): number {
    const t = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + t
    return t >>> 0
  }

  /** Uniform in [0, 1), 53 bits. */
  float(): number {
    return ((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) / 9007199254740992
  }

  /** Uniform in 0 … n − 1. */
  int(n: number): number {
    return Math.floor(this.float() * n)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)]
  }

  /** A shuffled copy (Fisher–Yates). */
  shuffle<T>(list: readonly T[]): T[] {
    const out = [...list]
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.int(i + 1)
      ;[out[i], out[j]] = [out[j], out[i]]
    }
    return out
  }
}

function hash(text: string, seed: number): number {
  let h = seed
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) | 0
}
