/** The index algebra against plain integer arithmetic, on random expressions at random points. */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Atom,
  constant,
  dividedBy,
  dot,
  type Index,
  modulo,
  plus,
  reshapeCoordinates,
  times,
  unflatten,
  variable,
} from '../../engine/plan/symbolic.ts'
import { contiguousStrides, numel } from '../../engine/shape.ts'

const symbolic = suite('engine/plan/symbolic')

type Point = Readonly<Record<string, number>>

function evaluate(e: Index, at: Point): number {
  let sum = e.constant
  for (const { atom, factor } of e.terms.values()) sum += factor * evaluateAtom(atom, at)
  return sum
}

function evaluateAtom(atom: Atom, at: Point): number {
  const value =
    atom.kind === 'variable'
      ? at[atom.key]!
      : atom.kind === 'quotient'
        ? Math.floor(evaluate(atom.of!, at) / atom.by!)
        : evaluate(atom.of!, at) % atom.by!
  assert.ok(value >= 0 && value <= atom.max, `${atom.key} is ${value}, declared 0…${atom.max}`)
  return value
}

interface Expression {
  readonly index: Index
  readonly plain: (at: Point) => number
}

const sizes: Readonly<Record<string, number>> = { a: 7, b: 1, c: 12, d: 30 }
const point = fc.record(
  Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, fc.nat(size - 1)])) as Record<
    string,
    fc.Arbitrary<number>
  >,
)

const leaf: fc.Arbitrary<Expression> = fc.oneof(
  fc.nat(20).map((v) => ({ index: constant(v), plain: () => v })),
  fc
    .constantFrom(...Object.keys(sizes))
    .map((name) => ({ index: variable(name, sizes[name]!), plain: (at: Point) => at[name]! })),
)

const { expression } = fc.letrec<{ expression: Expression }>((tie) => ({
  expression: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    leaf,
    fc.tuple(tie('expression'), tie('expression')).map(([p, q]) => ({
      index: plus(p.index, q.index),
      plain: (at: Point) => p.plain(at) + q.plain(at),
    })),
    fc.tuple(tie('expression'), fc.integer({ min: 0, max: 13 })).map(([p, k]) => ({
      index: times(p.index, k),
      plain: (at: Point) => p.plain(at) * k,
    })),
    fc.tuple(tie('expression'), fc.integer({ min: 1, max: 16 })).map(([p, k]) => ({
      index: dividedBy(p.index, k),
      plain: (at: Point) => Math.floor(p.plain(at) / k),
    })),
    fc.tuple(tie('expression'), fc.integer({ min: 1, max: 16 })).map(([p, k]) => ({
      index: modulo(p.index, k),
      plain: (at: Point) => p.plain(at) % k,
    })),
    // Counting down from the largest value, as a flip does: passes through negative factors, stays at 0 or above.
    tie('expression').map((p) => {
      const top = p.index.bounds()[1]
      return { index: plus(times(p.index, -1), top), plain: (at: Point) => top - p.plain(at) }
    }),
  ),
}))

symbolic('sums, products, quotients, remainders and reversals are those of integers', () => {
  fc.assert(
    fc.property(expression, fc.array(point, { minLength: 5, maxLength: 5 }), (e, points) => {
      const [low, high] = e.index.bounds()
      for (const at of points) {
        const want = e.plain(at)
        assert.is(evaluate(e.index, at), want, e.index.key)
        assert.ok(low <= want && want <= high, `${e.index.key} is ${want}, bounds ${low}…${high}`)
      }
    }),
    { numRuns: 1000 },
  )
})

/** Two factorizations of one number of elements, ones included. */
const shapes = fc
  .tuple(fc.array(fc.constantFrom(1, 2, 3, 4, 5), { minLength: 1, maxLength: 5 }), fc.infiniteStream(fc.nat()))
  .map(([to, choices]) => {
    const from: number[] = [...to].sort(() => (choices.next().value! % 3) - 1)
    for (let i = 0; i + 1 < from.length; ) {
      if (choices.next().value! % 2) from.splice(i, 2, from[i]! * from[i + 1]!)
      else i++
    }
    return { to, from }
  })

symbolic('reshaping finds the element with the same place in memory', () => {
  fc.assert(
    fc.property(shapes, ({ to, from }) => {
      const moved = reshapeCoordinates(
        to.map((d, i) => variable(`c${i}`, d)),
        to,
        from,
      )
      const strides = contiguousStrides(to)
      for (let linear = 0; linear < numel(to); linear++) {
        const at = Object.fromEntries(to.map((d, i) => [`c${i}`, Math.floor(linear / strides[i]!) % d]))
        const got = moved.map((e) => evaluate(e, at))
        assert.ok(
          got.every((v, i) => v >= 0 && v < from[i]!),
          `[${got}] leaves [${from}]`,
        )
        assert.is(
          contiguousStrides(from).reduce((sum, s, i) => sum + s * got[i]!, 0),
          linear,
        )
      }
    }),
  )
})

symbolic('flattening what was unflattened is the thread index itself', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 5 }), (shape) => {
      const i = variable('i', numel(shape))
      assert.is(dot(unflatten(i, shape), contiguousStrides(shape)).key, i.key)
    }),
  )
})

symbolic.run()
