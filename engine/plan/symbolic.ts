/**
 * Index arithmetic: sums of integer multiples of atoms, where an atom is a variable, a quotient or a remainder. Enough algebra
 * to see that a reshaped, permuted, sliced index is often just the thread's own index, so that views cost nothing.
 *
 * Values are u32 with wrap-around: an expression may pass through negative intermediate values, its result may not.
 */

export interface Atom {
  readonly key: string
  /** WGSL text; for quotients and remainders built from `of`. */
  readonly kind: 'variable' | 'quotient' | 'remainder'
  readonly of?: Index
  readonly by?: number
  /** Largest value (smallest is 0). */
  readonly max: number
}

export class Index {
  private text: string | undefined

  constructor(
    readonly terms: ReadonlyMap<string, { atom: Atom; factor: number }>,
    readonly constant: number,
  ) {}

  /** Equal texts are equal indices. */
  get key(): string {
    this.text ??= [...[...this.terms].map(([k, t]) => `${t.factor}*${k}`).sort(), this.constant].join('+')
    return this.text
  }

  get isConstant(): boolean {
    return this.terms.size === 0
  }

  /** Smallest and largest value over the ranges of the atoms. */
  bounds(): [number, number] {
    let lo = this.constant
    let hi = this.constant
    for (const { atom, factor } of this.terms.values())
      if (factor > 0) hi += factor * atom.max
      else lo += factor * atom.max
    return [lo, hi]
  }
}

export const constant = (value: number): Index => new Index(new Map(), value)

/** A variable of 0 … size−1. A size of 1 is the constant 0. */
export const variable = (name: string, size: number): Index =>
  size === 1 ? constant(0) : fromAtom({ key: name, kind: 'variable', max: size - 1 })

const fromAtom = (atom: Atom): Index => new Index(new Map([[atom.key, { atom, factor: 1 }]]), 0)

const single = (e: Index): Atom | undefined => {
  if (e.constant !== 0 || e.terms.size !== 1) return undefined
  const [{ atom, factor }] = [...e.terms.values()] as [{ atom: Atom; factor: number }]
  return factor === 1 ? atom : undefined
}

export function times(e: Index, factor: number): Index {
  if (factor === 0) return constant(0)
  if (factor === 1) return e
  return new Index(
    new Map([...e.terms].map(([k, t]) => [k, { atom: t.atom, factor: t.factor * factor }])),
    e.constant * factor,
  )
}

export function plus(a: Index, b: Index | number): Index {
  if (typeof b === 'number') return b === 0 ? a : new Index(a.terms, a.constant + b)
  const terms = new Map(a.terms)
  for (const [key, { atom, factor }] of b.terms) {
    const sum = (terms.get(key)?.factor ?? 0) + factor
    if (sum === 0) terms.delete(key)
    else terms.set(key, { atom, factor: sum })
  }
  return rejoin(new Index(terms, a.constant + b.constant))
}

/** by·(x / by) + x mod by = x, at any common factor. */
function rejoin(e: Index): Index {
  for (const { atom, factor } of e.terms.values()) {
    if (atom.kind !== 'remainder') continue
    const quotient = single(dividedBy(atom.of!, atom.by!))
    const partner = quotient && e.terms.get(quotient.key)
    if (!partner || partner.factor !== factor * atom.by!) continue
    const terms = new Map(e.terms)
    terms.delete(atom.key)
    terms.delete(quotient.key)
    return plus(new Index(terms, e.constant), times(atom.of!, factor))
  }
  return e
}

/** Terms whose factor `by` divides, and the rest. */
function split(e: Index, by: number): [Index, Index] {
  const whole = new Map<string, { atom: Atom; factor: number }>()
  const rest = new Map<string, { atom: Atom; factor: number }>()
  for (const [key, t] of e.terms)
    if (t.factor % by === 0) whole.set(key, { atom: t.atom, factor: t.factor / by })
    else rest.set(key, t)
  const q = Math.floor(e.constant / by)
  return [new Index(whole, q), new Index(rest, e.constant - q * by)]
}

export function dividedBy(e: Index, by: number): Index {
  if (by === 1) return e
  const [whole, rest] = split(e, by)
  const [lo, hi] = rest.bounds()
  if (lo >= 0 && hi < by) return whole
  if (lo < 0)
    return fromAtom({ key: `((${e.key})/${by})`, kind: 'quotient', of: e, by, max: Math.floor(e.bounds()[1] / by) })
  const inner = single(rest)
  const atom: Atom =
    inner?.kind === 'quotient'
      ? {
          key: `((${inner.of!.key})/${inner.by! * by})`,
          kind: 'quotient',
          of: inner.of!,
          by: inner.by! * by,
          max: Math.floor(hi / by),
        }
      : { key: `((${rest.key})/${by})`, kind: 'quotient', of: rest, by, max: Math.floor(hi / by) }
  return whole.isConstant && whole.constant === 0 ? fromAtom(atom) : plus(whole, fromAtom(atom))
}

export function modulo(e: Index, by: number): Index {
  if (by === 1) return constant(0)
  const [, rest] = split(e, by)
  const [lo, hi] = rest.bounds()
  if (lo >= 0 && hi < by) return rest
  const base = lo < 0 ? e : rest
  const inner = single(base)
  if (inner?.kind === 'remainder' && inner.by! % by === 0) return modulo(inner.of!, by)
  return fromAtom({
    key: `((${base.key})%${by})`,
    kind: 'remainder',
    of: base,
    by,
    max: Math.min(by - 1, lo < 0 ? by - 1 : hi),
  })
}

/** Row-major coordinates of a linear index. */
export function unflatten(linear: Index, shape: readonly number[]): Index[] {
  const out = new Array<Index>(shape.length)
  let inner = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    const part = dividedBy(linear, inner)
    out[i] = i === 0 && part.bounds()[1] < shape[0]! ? part : modulo(part, shape[i]!)
    inner *= shape[i]!
  }
  return out
}

/** Σ coordinate · stride + offset. */
export function dot(coordinates: readonly Index[], strides: readonly number[], offset = 0): Index {
  let e = constant(offset)
  coordinates.forEach((c, i) => {
    e = plus(e, times(c, strides[i]!))
  })
  return e
}

/**
 * Coordinates in `from` of the element that stands at `coordinates` in `to`, both row-major views of the same elements.
 * Axes are matched in groups of equal product, so that untouched axes pass through without arithmetic.
 */
export function reshapeCoordinates(
  coordinates: readonly Index[],
  to: readonly number[],
  from: readonly number[],
): Index[] {
  const out: Index[] = []
  let i = 0
  let j = 0
  while (i < to.length || j < from.length) {
    const group = { i, j, a: to[i] ?? 1, b: from[j] ?? 1 }
    let [ni, nj] = [i + 1, j + 1]
    while (group.a !== group.b) {
      if (group.a < group.b) group.a *= to[ni++] ?? 1
      else group.b *= from[nj++] ?? 1
      if (ni > to.length + 1 || nj > from.length + 1) throw new Error(`reshape of [${from}] to [${to}]`)
    }
    const shapeTo = to.slice(i, ni)
    let linear = constant(0)
    let stride = 1
    for (let k = Math.min(ni, to.length) - 1; k >= i; k--) {
      linear = plus(linear, times(coordinates[k]!, stride))
      stride *= to[k]!
    }
    const shapeFrom = from.slice(j, Math.min(nj, from.length))
    if (shapeFrom.length === 1 && shapeTo.length === 1) out.push(coordinates[i]!)
    else out.push(...unflatten(linear, shapeFrom))
    i = Math.min(ni, to.length)
    j = Math.min(nj, from.length)
  }
  return out
}

/** Coordinates in a tensor of the element at `at` of its windows: position · stride + place in the window · dilation. */
export function windowCoordinates(
  attrs: {
    readonly axes: readonly number[]
    readonly strides: readonly number[]
    readonly dilations: readonly number[]
  },
  at: readonly Index[],
): Index[] {
  const { axes, strides, dilations } = attrs
  const out = at.slice(0, at.length - axes.length)
  axes.forEach((axis, j) => {
    out[axis] = plus(times(at[axis]!, strides[j]!), times(at[out.length + j]!, dilations[j]!))
  })
  return out
}
