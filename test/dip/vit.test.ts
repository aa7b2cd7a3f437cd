/** Weights of a ViT in timm's names: where each goes, positions resized as PyTorch does, pieces and halves, what does not fit. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { DIP, formatVitReport, loadVit, makeConfig, resizePositions, VitError, vitNames } from '../../dip/index.ts'
import { type Device, nn, openDevice } from '../../engine/index.ts'
import { floatToHalf, halfToFloat, type SafetensorsTensor, writeSafetensors } from '../../engine/safetensors.ts'
import { readWeights } from '../../train/weights.ts'
import { randomArray } from '../support/program.ts'

const vit = suite('ViT weights')
const folder = mkdtempSync(join(tmpdir(), 'diptych-vit-'))
let device: Device

vit.before(async () => {
  device = await openDevice()
})
vit.after(() => {
  device.destroy()
  rmSync(folder, { recursive: true, force: true })
})

const config = makeConfig({ T: 2, M: 10, P: 2, E: 6, H: 2, U: 2, SA: 1, TA: 1, C: 1, r: 2 })

/** A ViT of four blocks on 3×3 patches, with a classifier. */
function timm(): Map<string, SafetensorsTensor> {
  const tensors = new Map<string, SafetensorsTensor>()
  const add = (name: string, ...shape: number[]) => {
    const data = randomArray(
      shape.reduce((a, b) => a * b, 1),
      10 + tensors.size,
    )
    tensors.set(name, { dtype: 'F32', shape, data })
  }
  add('patch_embed.proj.weight', 6, 3, 2, 2)
  add('patch_embed.proj.bias', 6)
  add('cls_token', 1, 1, 6)
  add('pos_embed', 1, 10, 6)
  for (let i = 0; i < 4; i++) {
    const linear = (name: string, out: number, inputs: number) => {
      add(`blocks.${i}.${name}.weight`, out, inputs)
      add(`blocks.${i}.${name}.bias`, out)
    }
    for (const norm of ['norm1', 'norm2']) for (const p of ['weight', 'bias']) add(`blocks.${i}.${norm}.${p}`, 6)
    linear('attn.qkv', 18, 6)
    linear('attn.proj', 6, 6)
    linear('mlp.fc1', 12, 6)
    linear('mlp.fc2', 6, 12)
  }
  for (const p of ['weight', 'bias']) add(`norm.${p}`, 6)
  add('head.weight', 1000, 6)
  return tensors
}

const valuesOf = (model: DIP) => nn.flatten(model).read()
const rejection = (work: Promise<unknown>) =>
  work.then(
    () => assert.unreachable('accepted'),
    (error: Error) => error,
  ) as Promise<Error>

vit('blocks in order to the units; temporal projections zero; the rest as it was', async () => {
  const model = new DIP(config)
  const before = await valuesOf(model)
  const file = timm()
  const report = await loadVit(model, file)
  const after = await valuesOf(model)
  const blocks = ['0.spatial.0', '0.temporal.0', '1.spatial.0', '1.temporal.0']
  blocks.forEach((ours, i) => {
    for (const part of ['norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2'])
      for (const p of ['weight', 'bias']) {
        const got = [...after.get(`encoder.units.${ours}.${part}.${p}`)!.data]
        const given = [...(file.get(`blocks.${i}.${part}.${p}`)!.data as Float32Array)]
        assert.equal(got, i % 2 && part === 'attn.proj' ? given.map(() => 0) : given, `${ours} ${part}.${p}`)
      }
  })
  for (const [ours, theirs] of [
    ['patch_embed.proj.weight', 'patch_embed.proj.weight'],
    ['patch_embed.proj.bias', 'patch_embed.proj.bias'],
    ['cls_token', 'cls_token'],
    ['encoder.norm.weight', 'norm.weight'],
    ['encoder.norm.bias', 'norm.bias'],
  ])
    assert.equal([...after.get(ours!)!.data], [...(file.get(theirs!)!.data as Float32Array)])
  const positions = resizePositions(file.get('pos_embed')!.data as Float32Array, 3, 5, 6)
  assert.equal([...after.get('pos_embed_spatial')!.data], [...positions])
  const given = new Set(vitNames(config).keys())
  for (const [name, { data }] of before) if (!given.has(name)) assert.equal(after.get(name)!.data, data, name)
  assert.ok([...before.keys()].some((name) => !given.has(name)))

  assert.is(report.used.length, given.size)
  assert.equal(report.missing, [])
  assert.equal(report.leftOver, ['head.weight [1000, 6]'])
  const text = formatVitReport(report)
  assert.match(text, 'pos_embed [1, 10, 6] → pos_embed_spatial, resized from 3×3 to 5×5 patches')
  assert.match(text, 'blocks.1.attn.proj.weight [6, 6] → encoder.units.0.temporal.0.attn.proj.weight, set to zero')
  assert.match(text, /left over: 1\n {2}head\.weight/)
})

vit('temporal projections can be kept', async () => {
  const model = new DIP(config)
  const file = timm()
  await loadVit(model, file, { keepTemporalProjections: true })
  const got = (await valuesOf(model)).get('encoder.units.1.temporal.0.attn.proj.weight')!.data
  assert.equal([...got], [...(file.get('blocks.3.attn.proj.weight')!.data as Float32Array)])
})

vit('positions are resized as PyTorch does (bicubic, corners not aligned, no antialiasing)', () => {
  const wave = (n: number, width: number) =>
    Float32Array.from([
      ...new Array(width).fill(7),
      ...Array.from({ length: n * n * width }, (_, i) => Math.sin(1.7 * i)),
    ])
  // torch.nn.functional.interpolate in float64.
  const torch = {
    5: [0.108443, 1.357308, -0.171292, 0.153159, -0.362553, -1.05278, 0.2163, -0.022465, 0.729496, 1.075899, -0.461389],
    2: [-0.156295, 0.286449, 0.100803, 0.278477, 0.306446, -0.090419, 0.161682, -0.283961],
    4: [
      0.077926, 1.259951, -0.29916, -0.46127, -0.041317, -0.574459, 0.665636, 1.001956, -0.727216, -0.095332, 0.33526,
    ],
  }
  const close = (got: number, want: number) => assert.ok(Math.abs(got - want) < 2e-6, `${got} for ${want}`)
  for (const [to, want] of Object.entries(torch)) {
    const got = resizePositions(wave(3, 2), 3, Number(to), 2)
    assert.is(got.length, (Number(to) ** 2 + 1) * 2)
    assert.equal([...got.subarray(0, 2)], [7, 7])
    want.forEach((value, i) => void close(got[2 + i]!, value))
  }
  const shrunk = resizePositions(wave(14, 1), 14, 8, 1)
  ;[0.376888, -0.57858, 0.655093, -0.711832, 0.788077, -0.862256, 0.875435, -0.691768].forEach(
    (value, i) => void close(shrunk[1 + 56 + i]!, value),
  )
  assert.equal([...resizePositions(wave(4, 3), 4, 4, 3)], [...wave(4, 3)])
})

vit('pieces and halves', async () => {
  const file = timm()
  const names = [...file.keys()]
  const pieces = [names.slice(0, 20), names.slice(20)]
  pieces.forEach((part, i) => {
    const dtype = i ? ('BF16' as const) : ('F16' as const)
    const tensors = part.map((name) => [name, { ...file.get(name)!, dtype }] as const)
    writeFileSync(join(folder, `model-${i}.safetensors`), writeSafetensors(tensors))
  })
  const map = Object.fromEntries(pieces.flatMap((part, i) => part.map((name) => [name, `model-${i}.safetensors`])))
  const index = join(folder, 'model.safetensors.index.json')
  writeFileSync(index, JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }))
  for (const path of [index, folder]) {
    const read = await readWeights(path)
    assert.equal([...read.keys()].sort(), [...names].sort())
    names.forEach((name, i) => {
      const want = file.get(name)!.data as Float32Array
      const got = read.get(name)!.data as Float32Array
      want.forEach((x, j) => {
        if (i < 20) assert.is(got[j], halfToFloat(floatToHalf(x)))
        else assert.ok(Math.abs(got[j]! - x) <= Math.abs(x) * 2 ** -8)
      })
    })
  }
  const report = await loadVit(new DIP(config), await readWeights(folder))
  assert.equal(report.missing, [])

  writeFileSync(index, JSON.stringify({ weight_map: { ...map, 'blocks.9.norm1.weight': 'model-1.safetensors' } }))
  assert.match((await rejection(readWeights(index))).message, /model-1\.safetensors: it lacks blocks\.9\.norm1\.weight/)
  writeFileSync(index, JSON.stringify({ weight_map: { cls_token: '../../etc/passwd' } }))
  assert.match((await rejection(readWeights(index))).message, /outside the folder/)
  writeFileSync(index, '{}')
  assert.match((await rejection(readWeights(index))).message, /no weight_map/)
  mkdirSync(join(folder, 'bare'))
  assert.match((await rejection(readWeights(join(folder, 'bare')))).message, /neither model\.safetensors/)
})

vit(
  'a file with fewer blocks says what is missing; one of another shape changes nothing and names every tensor',
  async () => {
    const model = new DIP(config)
    const short = timm()
    for (const name of [...short.keys()]) if (name.startsWith('blocks.3')) short.delete(name)
    const report = await loadVit(model, short)
    assert.is(report.missing.length, 12)
    assert.match(report.missing[0]!, 'encoder.units.1.temporal.0.norm1.weight [6] (blocks.3.norm1.weight)')

    const before = await valuesOf(model)
    const odd = timm()
    const change = (name: string, shape: number[]) =>
      odd.set(name, { dtype: 'F32', shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) })
    change('patch_embed.proj.weight', [6, 3, 4, 4])
    change('pos_embed', [1, 11, 6])
    change('blocks.0.mlp.fc1.weight', [24, 6])
    const error = await rejection(loadVit(model, odd, { file: 'odd.safetensors' }))
    assert.instance(error, VitError)
    for (const words of [
      'odd.safetensors is a ViT of another shape',
      'patch_embed.proj.weight: [6, 3, 4, 4] in the file, [6, 3, 2, 2]',
      'pos_embed: [1, 11, 6] in the file, [1, 26, 6] as pos_embed_spatial',
      'blocks.0.mlp.fc1.weight: [24, 6] in the file, [12, 6] as encoder.units.0.spatial.0.mlp.fc1.weight',
    ])
      assert.match(error.message, words)
    assert.equal(await valuesOf(model), before)

    const other = new Map([['conv1.weight', timm().get('cls_token')!]])
    assert.match((await rejection(loadVit(model, other))).message, /no ViT: .*conv1\.weight/)
  },
)

vit.run()
