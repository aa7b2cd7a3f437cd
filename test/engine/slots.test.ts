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

slots('little more memory than is alive at once: never one slot of the largest size for every value alive', () => {
  fc.assert(
    fc.property(fc.array(lifetime, { minLength: 1, maxLength: 40 }), (lifetimes) => {
      const alive = Math.max(
        ...lifetimes.map(({ from }) => lifetimes.filter((l) => l.from <= from && from <= l.to).length),
      )
      const { sizes } = assignSlots(lifetimes)
      const total = sizes.reduce((a, b) => a + b, 0)
      assert.ok(total <= alive * Math.max(...lifetimes.map(({ bytes }) => bytes)))
      // A slot is as large as the largest value in it, and no slot is empty.
      assert.ok(total <= lifetimes.reduce((sum, { bytes }) => sum + bytes, 0))
    }),
  )
})

slots('a small value does not sit in a large slot that is soon needed again', () => {
  const lives = [
    { bytes: 1024, from: 0, to: 3 },
    { bytes: 512, from: 2, to: 9 },
    { bytes: 64, from: 4, to: 9 },
    { bytes: 1024, from: 5, to: 9 },
  ]
  assert.equal(assignSlots(lives).sizes, [1024, 512, 64])
})

slots('a chain of values needs two slots', () => {
  const chain = Array.from({ length: 9 }, (_, i) => ({ bytes: 64, from: i, to: i + 1 }))
  assert.equal(assignSlots(chain).sizes, [64, 64])
})

slots.run()
