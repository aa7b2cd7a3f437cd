/**
 * The whole model against float64 values of independent implementations: every output, loss and gradient, by both ways to
 * Sᵗ. `tiny`: the preset; `ragged`: T = 3, L = 7, five heads of three; `extreme`: T = 1, L = 2, no neighbours, every clip an
 * anchor; `options`: max pooling, L_da summed and two-sided.
 */
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Device, openDevice } from '../../engine/index.ts'
import { parseSafetensors, type SafetensorsTensor, writeSafetensors } from '../../engine/safetensors.ts'
import { formatGolden, runGolden } from '../../train/golden.ts'

const golden = suite('golden files')
let device: Device

golden.before(async () => {
  device = await openDevice()
})
golden.after(() => device.destroy())

const read = (name: string) => readFileSync(new URL(`../golden/${name}.safetensors`, import.meta.url))

for (const name of ['tiny', 'ragged', 'extreme', 'options'])
  golden(`${name}: values, losses and gradients agree`, async () => {
    const report = await runGolden(read(name), { file: name })
    assert.ok(report.ok, formatGolden(report))
    const ways = new Set(report.rows.map((row) => row.diffuse))
    assert.equal([...ways], ['spectral', 'power'])
  })

/** `extreme` with its tensors changed, written anew. */
function changed(change: (tensors: Map<string, SafetensorsTensor>) => void): Uint8Array {
  const { metadata, tensors } = parseSafetensors(read('extreme'))
  change(tensors)
  return writeSafetensors(tensors, metadata)
}

async function refusal(bytes: Uint8Array): Promise<string> {
  try {
    await runGolden(bytes, { file: 'x', diffuse: ['power'] })
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

golden('a value that differs is found', async () => {
  const bytes = changed((tensors) => {
    const logits = tensors.get('out.logits')!
    logits.data = Float64Array.from(logits.data as Float64Array, (x) => x * 1.001)
  })
  const report = await runGolden(bytes, { diffuse: ['power'] })
  assert.not.ok(report.ok)
  assert.equal(
    report.rows.filter((row) => !row.ok).map((row) => row.name),
    ['out.logits'],
  )
  assert.match(formatGolden(report), /out\.logits .*FAILED, the limit is 0\.0001/)
})

golden('names that are missing or unknown are all listed', async () => {
  const renamed = (from: string, to: string) =>
    changed((tensors) => {
      tensors.set(to, tensors.get(from)!)
      tensors.delete(from)
    })
  for (const [from, to] of [
    ['param.head.bias', 'param.head.offset'],
    ['in.clip', 'in.video'],
    ['out.W', 'out.affinity'],
    ['grad.cls_token', 'grad.class'],
  ] as const) {
    const message = await refusal(renamed(from, to))
    assert.ok(message.includes(from) && message.includes(to), message)
  }
  assert.match(await refusal(renamed('out.W', 'W')), /not known:\n {4}W/)
})

golden('another format, and metadata without a configuration, are refused', async () => {
  assert.match(await refusal(new TextEncoder().encode('no safetensors')), /^x: /)
  const { tensors } = parseSafetensors(read('extreme'))
  assert.match(await refusal(writeSafetensors(tensors, {})), /no 'config'/)
  assert.match(await refusal(writeSafetensors(tensors, { config: '{"T":1}' })), /lacks M, P, E/)
})

golden.run()
