/** Slots by liveness: values alive together never share, and each fits. */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { assignSlots, type Lifetime } from '../../engine/plan/slots.ts'

const slots = suite('engine/plan/slots')

const lifetime = fc
  .record({ bytes: fc.integer({ min: 4, max: 4096 }), from: fc.nat(30), length: fc.nat(12) })
  .map(({ bytes, from, length }): Lifetime => ({ bytes, from, to: from + length }))

slots('lifetimes that overlap never share a slot, and every value fits its slot', () => {
  fc.assert(
    fc.property(fc.array(lifetime, { maxLength: 40 }), (lifetimes) => {
      const { sizes, slotOf } = assignSlots(lifetimes)
      lifetimes.forEach((a, i) => {
        assert.ok(sizes[slotOf[i]!]! >= a.bytes, `value ${i} of ${a.bytes} bytes in ${sizes[slotOf[i]!]}`)
        for (let j = 0; j < i; j++) {
          const b = lifetimes[j]!
          // A step reads and writes: a value that ends where another begins is alive with it.
          const together = a.from <= b.to && b.from <= a.to
          assert.not(together && slotOf[i] === slotOf[j], `values ${i} and ${j} share slot ${slotOf[i]}`)
        }
      })
    }),
  )
})

slots('no more slots than values are ever alive together', () => {
  fc.assert(
    fc.property(fc.array(lifetime, { minLength: 1, maxLength: 40 }), (lifetimes) => {
      const alive = Math.max(
        ...lifetimes.map(({ from }) => lifetimes.filter((l) => l.from <= from && from <= l.to).length),
      )
      assert.is(assignSlots(lifetimes).sizes.length, alive)
    }),
  )
})

slots('a chain of values needs two slots', () => {
  const chain = Array.from({ length: 9 }, (_, i) => ({ bytes: 64, from: i, to: i + 1 }))
  assert.equal(assignSlots(chain).sizes, [64, 64])
})

slots.run()
