/** The whole model, its losses and every parameter's gradient against float64 values of an independent implementation. */
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openDevice } from '../../engine/index.ts'
import { runGolden } from '../../train/golden.ts'

const test = suite('golden')
const device = await openDevice()
const bytes = readFileSync(new URL('../golden/tiny.safetensors', import.meta.url))

test('tiny, both ways to the diffusion', async () => {
  const report = await runGolden(bytes, { file: 'tiny.safetensors' })
  assert.ok(report.ok, JSON.stringify(report, null, 1).slice(0, 4000))
})

test('a golden file with a wrong value is found out', async () => {
  const wrong = Uint8Array.from(bytes)
  // The last tensor of the file is data of the comparison or an input: a changed exponent must show.
  for (let i = wrong.length - 400; i < wrong.length; i++) wrong[i] = wrong[i]! ^ 0x11
  const report = await runGolden(wrong, { file: 'wrong.safetensors' }).catch((error: Error) => error)
  assert.ok(report instanceof Error || !report.ok)
})

test.after(() => device.destroy())
test.run()
