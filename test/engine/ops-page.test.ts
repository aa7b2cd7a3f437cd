/** engine/ops/README.md names every op once and says truly how often each can be differentiated. */
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { zero } from '../../engine/ops/rule.ts'
import { shapeRules } from '../../engine/ops/shapes.ts'
import { vjps } from '../../engine/ops/vjps.ts'

const page = suite('page of the ops')
const text = readFileSync(new URL('../../engine/ops/README.md', import.meta.url), 'utf8')
const rows = [...text.matchAll(/^\| (\w+) \|[^|]*\|[^|]*\| ([^|]*) \|$/gm)]
  .map(([, op, gradient]) => ({ op: op!, gradient: gradient! }))
  .filter(({ op }) => op !== 'op')

page('names every op once, and no other', () =>
  assert.equal(rows.map(({ op }) => op).sort(), Object.keys(shapeRules).sort()),
)

page('says which have a gradient', () => {
  for (const { op, gradient } of rows) {
    const rule = vjps[op as keyof typeof vjps]
    // Which ops refuse is known by asking: a refusal looks at nothing.
    let refuses = false
    try {
      if (op === 'adamw') rule({} as never, {} as never, [], () => [])
    } catch {
      refuses = true
    }
    const none = rule === zero || op === 'detach'
    assert.is(gradient === '—', none, `${op}: ${gradient}`)
    assert.is(gradient === 'refused', refuses, `${op}: ${gradient}`)
  }
})

page.run()
