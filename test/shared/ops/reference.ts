/** Plain float64 arrays with a shape, and the nested loops that references are written in. */
export interface Nd {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export type Coordinates = readonly number[]

export const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** Flat index; axes of length 1 are read at 0, so that broadcasting needs no copy. */
export function offset(shape: readonly number[], at: Coordinates): number {
  const skip = at.length - shape.length
  return shape.reduce((sum, d, i) => sum * d + (d === 1 ? 0 : at[i + skip]!), 0)
}

export const get = (x: Nd, ...at: number[]): number => x.data[offset(x.shape, at)]!

/** Every coordinate of a shape, last axis fastest. */
export function* coordinates(shape: readonly number[]): Generator<number[]> {
  const total = count(shape)
  for (let linear = 0; linear < total; linear++) {
    const at = new Array<number>(shape.length)
    let rest = linear
    for (let i = shape.length - 1; i >= 0; i--) {
      at[i] = rest % shape[i]!
      rest = Math.floor(rest / shape[i]!)
    }
    yield at
  }
}

export function build(shape: readonly number[], f: (at: number[]) => number): Nd {
  const data = new Float64Array(count(shape))
  let i = 0
  for (const at of coordinates(shape)) data[i++] = f(at)
  return { shape, data }
}

export const map = (x: Nd, f: (v: number) => number): Nd => ({ shape: x.shape, data: x.data.map(f) })

/** Elementwise over broadcast operands. */
export function zip(f: (...v: number[]) => number, ...xs: Nd[]): Nd {
  const rank = Math.max(...xs.map((x) => x.shape.length))
  const shape = Array.from({ length: rank }, (_, i) => {
    const sizes = xs.map((x) => x.shape[i - rank + x.shape.length] ?? 1)
    return sizes.find((d) => d !== 1) ?? 1
  })
  return build(shape, (at) => f(...xs.map((x) => x.data[offset(x.shape, at)]!)))
}

/** Folds the listed axes away. */
export function fold(x: Nd, axes: readonly number[], start: number, f: (acc: number, v: number) => number): Nd {
  const kept = x.shape.flatMap((_, i) => (axes.includes(i) ? [] : [i]))
  const shape = kept.map((i) => x.shape[i]!)
  const out: Nd = { shape, data: new Float64Array(count(shape)).fill(start) }
  let i = 0
  for (const at of coordinates(x.shape)) {
    const to = offset(
      shape.map((d) => d),
      kept.map((a) => at[a]!),
    )
    out.data[to] = f(out.data[to]!, x.data[i++]!)
  }
  return out
}

export const sumOver = (x: Nd, ...axes: number[]): Nd => fold(x, axes, 0, (a, v) => a + v)
export const maxOver = (x: Nd, ...axes: number[]): Nd => fold(x, axes, Number.NEGATIVE_INFINITY, Math.max)

export const reshaped = (x: Nd, ...shape: number[]): Nd => ({ shape, data: x.data })

/** Lines along the last axis, each mapped to a line of its own. */
export function alongLast(x: Nd, f: (line: Float64Array) => ArrayLike<number>): Nd {
  const n = x.shape.at(-1)!
  const lines = Array.from({ length: x.data.length / n }, (_, i) => f(x.data.slice(i * n, (i + 1) * n)))
  const width = lines[0]!.length
  const data = new Float64Array(lines.length * width)
  lines.forEach((line, i) => {
    data.set(line, i * width)
  })
  return { shape: [...x.shape.slice(0, -1), width], data }
}

export const transposed = (x: Nd, axes: readonly number[]): Nd =>
  build(
    axes.map((a) => x.shape[a]!),
    (at) => get(x, ...axes.map((_, i) => at[axes.indexOf(i)]!)),
  )

/** Batched, broadcasting matrix product. */
export function product(a: Nd, b: Nd): Nd {
  const [m, k, n] = [a.shape.at(-2)!, a.shape.at(-1)!, b.shape.at(-1)!]
  const lead = zip(
    () => 0,
    { shape: a.shape.slice(0, -2), data: a.data },
    { shape: b.shape.slice(0, -2), data: b.data },
  )
  return build([...lead.shape, m, n], (at) => {
    const [row, column] = [at[at.length - 2]!, at[at.length - 1]!]
    const batch = at.slice(0, -2)
    let sum = 0
    for (let i = 0; i < k; i++)
      sum += a.data[offset(a.shape, [...batch, row, i])]! * b.data[offset(b.shape, [...batch, i, column])]!
    return sum
  })
}

/** Error function by its Maclaurin series, or 1 − the continued fraction of erfc. */
export function erf(x: number): number {
  if (Math.abs(x) < 3) {
    let term = x
    let sum = x
    for (let n = 1; n < 120; n++) {
      term *= (-x * x) / n
      sum += term / (2 * n + 1)
    }
    return (2 / Math.sqrt(Math.PI)) * sum
  }
  const t = Math.abs(x)
  let fraction = t
  for (let n = 60; n > 0; n--) fraction = t + n / 2 / fraction
  return Math.sign(x) * (1 - Math.exp(-t * t) / (Math.sqrt(Math.PI) * fraction))
}
