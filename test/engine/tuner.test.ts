/** The tuner in Node: where it keeps what it found, and real kernels measured by the device's own clock. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { compile, concat, type Device, grad, nn, openDevice, optim, type Tensor, tensor } from '../../engine/index.ts'
import { bucketOf, exactOf } from '../../engine/tuner/bucket.ts'
import { cacheFolder, fileStore } from '../../engine/tuner/file.ts'
import { randomArray, relativeError } from '../support/program.ts'

const test = suite('tuner')
const folder = mkdtempSync(join(tmpdir(), 'diptych-tuner-'))
const before = process.env.DIPTYCH_CACHE
process.env.DIPTYCH_CACHE = join(folder, 'cache')
test.after(() => {
  if (before === undefined) delete process.env.DIPTYCH_CACHE
  else process.env.DIPTYCH_CACHE = before
  rmSync(folder, { recursive: true, force: true })
})
const file = join(folder, 'cache', 'tuning.json')

test('the cache folder is the one of the platform', () => {
  assert.is(cacheFolder({}, 'linux', '/home/u'), '/home/u/.cache/diptych')
  assert.is(cacheFolder({ XDG_CACHE_HOME: '/x' }, 'linux', '/home/u'), '/x/diptych')
  assert.is(cacheFolder({}, 'darwin', '/Users/u'), '/Users/u/Library/Caches/diptych')
  assert.match(cacheFolder({ LOCALAPPDATA: 'C:\\L' }, 'win32', 'C:\\u'), /^C:\\L.diptych$/)
  assert.is(cacheFolder({ DIPTYCH_CACHE: '/d', XDG_CACHE_HOME: '/x' }, 'linux', '/home/u'), '/d')
})

test('a file is replaced whole, and nothing is left beside it', async () => {
  const store = fileStore(join(folder, 'deep', 'er', 'tuning.json'))
  assert.is(await store.load(), undefined)
  await Promise.all(Array.from({ length: 8 }, (_, i) => store.save(String(i).repeat(10000))))
  assert.match((await store.load())!, /^(\d)\1{9999}$/)
  assert.equal(readdirSync(join(folder, 'deep', 'er')), ['tuning.json'])
})

test('problems are alike when only their exact sizes differ', () => {
  const problem = { batch: [2, 8], m: 197, n: 768, k: 64, a: { rowStride: 768, colStride: 1, offset: 0 }, dtype: 'f32' }
  assert.is(bucketOf(problem), 'batch≈16 dtype=f32 k≈64 m≈181* n≈724 a.colStride=1 a.rowStride=/4')
  assert.is(exactOf(problem), 'batch=16 dtype=f32 k=64 m=197 n=768 a.colStride=1 a.rowStride=/4')
  const same = (change: object) => bucketOf({ ...problem, ...change }) === bucketOf(problem)
  assert.ok(same({ batch: [16], m: 193, a: { rowStride: 2304, colStride: 1, offset: 0 }, scale: 0.125, epsilon: 1e-6 }))
  for (const change of [{ m: 196 }, { m: 97 }, { n: 770 }, { dtype: 'f16' }, { causal: true }, { batch: [4, 8] }])
    assert.not.ok(same(change), JSON.stringify(change))
  assert.not.ok(same({ a: { rowStride: 1, colStride: 768, offset: 0 } }), 'transposed')
  assert.not.ok(same({ epilogue: { wgsl: 'fn epilogue…', bindings: [{}], flopsPerOutput: 30 } }), 'with a tail')
})

const graph = () => {
  const x = tensor(randomArray(64 * 48, 1), [64, 48])
  const w = tensor(randomArray(48 * 80, 2), [48, 80])
  const s = tensor(randomArray(2 * 36, 3), [2, 6, 6])
  const { values } = s.add(s.transpose()).eigh()
  return concat([x.matmul(w).softmax().square().sum(0), values.flatten()])
}

test('real kernels: all variants agree, and values stay the same with the winners, in a new device too', async () => {
  const first = await openDevice()
  const plain = await graph().data()
  assert.is(first.tuner.size, 0)
  const { problems, skipped, whole } = await first.tune(graph, { rounds: 2, confirm: true })
  assert.equal(skipped, [])
  assert.equal(problems.map((p) => p.kernel).sort(), ['eigh', 'matmul', 'softmax'])
  for (const { kernel, choice } of problems) {
    assert.equal(choice.rejected, {}, kernel)
    assert.ok(Object.values(choice.times).every((t) => Number.isFinite(t) && t > 0))
    assert.ok(choice.winner in choice.times)
  }
  assert.ok(whole!.heuristic > 0 && whole!.tuned > 0)
  assert.ok(relativeError(await graph().data(), plain) < 1e-5)
  assert.ok(existsSync(file))
  first.destroy()

  const second = await openDevice()
  assert.is(second.tuner.size, problems.length)
  const again = await second.tune(graph, { clock: () => Promise.reject(new Error('measured again')) })
  assert.ok(again.problems.every((p) => !p.fresh))
  const matmul = problems.find((p) => p.kernel === 'matmul')!.choice
  const steps = second.plan([graph().node]).steps.filter((s) => s.program.label.startsWith('matmul'))
  const [kind] = matmul.winner.split('.')
  assert.ok(steps.length === 1 && steps[0]!.program.label.startsWith(`matmul.${kind}`), steps[0]!.program.label)
  second.destroy()
})

test('a remembered winner that is no variant any more leaves the heuristic its choice, and is measured again', async () => {
  const labels = (device: Device) => device.plan([graph().node]).steps.map((s) => s.program.label)
  const plain = await openDevice({ tune: 'off' })
  const [want, heuristic] = [await graph().data(), labels(plain)]
  plain.destroy()
  const kept = JSON.parse(readFileSync(file, 'utf8'))
  for (const choices of Object.values<Record<string, { winner: string; times: Record<string, number> }>>(kept.adapters))
    for (const choice of Object.values(choices)) {
      choice.winner = 'variant.of.another.version'
      choice.times[choice.winner] = 0.001
    }
  writeFileSync(file, JSON.stringify(kept))
  const device = await openDevice()
  assert.ok(device.tuner.size > 0)
  assert.equal(labels(device), heuristic)
  assert.ok(relativeError(await graph().data(), want) < 1e-6)
  const { problems } = await device.tune(graph, { rounds: 1 })
  assert.ok(problems.length > 0 && problems.every((p) => p.fresh && p.choice.winner in p.choice.times))
  assert.ok(problems.every((p) => !('variant.of.another.version' in p.choice.times)))
  device.destroy()
})

test('a corrupt file is said once and survived; the next tuning replaces it', async () => {
  writeFileSync(file, '{"format":"diptych-tun')
  const warnings: string[] = []
  const { warn } = console
  console.warn = (text: string) => void warnings.push(text)
  let device: Device
  try {
    device = await openDevice()
  } finally {
    console.warn = warn
  }
  assert.is(warnings.length, 1)
  assert.match(warnings[0]!, `diptych: tuning results in ${file}: not JSON`)
  assert.is(device.tuner.size, 0)
  await device.tune(() => tensor(randomArray(64, 1), [2, 32]).softmax(), { rounds: 1 })
  assert.is(JSON.parse(readFileSync(file, 'utf8')).format, 'diptych-tuning')
  device.destroy()
})

test('two programs that tune at once lose nothing of each other', async () => {
  rmSync(file)
  const [a, b] = [await openDevice(), await openDevice()]
  const softmax = (width: number) => () => tensor(randomArray(2 * width, 1), [2, width]).softmax()
  // The default device is b: a is told what to compute by nodes.
  await b.tune(softmax(32), { rounds: 1 })
  await a.tune({ node: softmax(96)().node }, { rounds: 1 })
  const choices = Object.values(JSON.parse(readFileSync(file, 'utf8')).adapters as object)
  assert.is(Object.keys(choices[0]).length, 2)
  a.destroy()
  b.destroy()
})

test('what cannot be written is said, and tuning goes on', async () => {
  process.env.DIPTYCH_CACHE = join(file, 'is a file, no folder')
  const warnings: string[] = []
  const { warn } = console
  console.warn = (text: string) => void warnings.push(text)
  try {
    const device = await openDevice()
    await device.tune(() => tensor(randomArray(64, 1), [2, 32]).softmax(), { rounds: 1 })
    assert.is(device.tuner.size, 1)
    device.destroy()
  } finally {
    console.warn = warn
    process.env.DIPTYCH_CACHE = join(folder, 'cache')
  }
  assert.is(warnings.length, 1, warnings.join('\n'))
})

test('a compiled step takes new winners, and goes on where it was', async () => {
  const device = await openDevice({ tune: 'off' })
  const build = () => {
    nn.seedInit(4)
    const net = nn.linear(32, 32)
    const adam = optim.adamW(net, { lr: 0.01 })
    const step = compile((x: Tensor) => {
      const loss = net.call(x).softmax().square().mean()
      adam.step(grad(loss, net))
      return loss
    })
    return async () => (await step(tensor(randomArray(64 * 32, 9), [64, 32]))).item()
  }
  const plain = build()
  const want = [await plain(), await plain(), await plain(), await plain(), await plain()]
  const step = build()
  const got = [await step()]
  device.tuner.mode = 'cached'
  // The last variant wins, whatever it is.
  let calls = 0
  await device.tune(async () => got.push(await step()), { rounds: 1, clock: async () => 1e6 / ++calls })
  const { plansBuilt } = device
  got.push(await step())
  assert.ok(device.plansBuilt > plansBuilt, 'planned anew')
  const built = device.plansBuilt
  got.push(await step())
  assert.is(device.plansBuilt, built, 'and once')
  assert.ok(relativeError(got, want) < 1e-5, `${got} against ${want}`)
  device.destroy()
})

test('plans of a compiled step take turns, as a comparison of winners has them', async () => {
  const device = await openDevice({ tune: 'off' })
  const build = () => {
    nn.seedInit(4)
    const net = nn.linear(8, 8)
    const adam = optim.adamW(net, { lr: 0.01 })
    const step = compile((x: Tensor) => {
      const loss = net.call(x).square().mean()
      adam.step(grad(loss, net))
      return loss
    })
    return async () => (await step(tensor(randomArray(4 * 8, 9), [4, 8]))).item()
  }
  const [plain, step] = [build(), build()]
  const want: number[] = []
  const got: number[] = []
  device.tuner.mode = 'cached'
  // Each set is a key of its own for plans; an old one comes back before a new one is traced.
  for (const kernels of [[], ['a'], [], ['b'], ['a'], ['b', 'c'], []]) {
    device.tuner.disabled = new Set(kernels)
    got.push(await step())
  }
  for (let i = 0; i < got.length; i++) want.push(await plain())
  assert.equal(got, want)
  device.destroy()
})

test.run()
