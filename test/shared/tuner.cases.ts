/** The tuner: wrong candidates are rejected, winners are used and remembered. Times come from a clock of the test's own. */
import { requestGpu } from '../../engine/device/open.ts'
import { Device, matrixPower, openDevice, tensor } from '../../engine/index.ts'
import { record } from '../../engine/ops/build.ts'
import type { CustomOp } from '../../engine/ops/custom.ts'
import { indexedStore } from '../../engine/tuner/indexed.ts'
import type { TuningStore } from '../../engine/tuner/store.ts'
import type { Clock } from '../../engine/tuner/trial.ts'
import { fastestWay } from '../../engine/tuner/way.ts'
import type { Program, Variant } from '../../kernels/kernel.ts'
import { type Case, same } from './case.ts'

const program = (label: string, expression: string, size = 64): Program => ({
  label,
  wgsl: `@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<private> zero: u32 = 0u;
@compute @workgroup_size(${size})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < arrayLength(&y)) { y[i] = ${expression}; }
}`,
  bindings: [
    { name: 'x', type: 'f32', access: 'read' },
    { name: 'y', type: 'f32', access: 'read_write' },
  ],
  uniforms: new Uint32Array(0),
  grid: [2, 1, 1],
  cost: { flops: 100, bytes: 800 },
  workgroupBytes: 0,
  accumulators: 0,
})

/** Squares; the right ones are `plain`, which the heuristic would take, `good` and `slow`. */
const variants: Variant[] = [
  { name: 'plain', program: () => program('plain', 'x[i] * x[i]') },
  { name: 'wrong', program: () => program('wrong', 'x[i] * abs(x[i])') },
  { name: 'lastElement', program: () => program('lastElement', 'select(x[i] * x[i], 0.5, i == 99u)') },
  { name: 'nan', program: () => program('nan', 'select(x[i] * x[i], bitcast<f32>(0x7fc00000u | zero), i == 7u)') },
  { name: 'good', program: () => program('good', 'pow(abs(x[i]), 2.0)') },
  { name: 'syntax', program: () => program('syntax', 'x[i] * z[i]') },
  { name: 'tooLarge', program: () => program('tooLarge', 'x[i] * x[i]', 65536) },
  { name: 'slow', program: () => program('slow', '(x[i] + 0.0) * x[i]') },
  {
    name: 'throws',
    program: () => {
      throw new Error('no such layout')
    },
  },
]

/** The wrong ones are the fastest. */
const nanoseconds: Record<string, number> = { plain: 3000, wrong: 10, lastElement: 10, nan: 10, good: 1000, slow: 9000 }
const clock: Clock = async (_, variant) => nanoseconds[variant]!
const broken: Clock = async () => {
  throw new Error('nothing should be measured')
}

const squares = (count: number, among = variants): CustomOp => ({
  byIdentity: true,
  name: 'test.square',
  outputs: (inputs) => [...inputs],
  lower: (_node, _operands, context) => [
    { program: context.choose('test.square', among, { count, dtype: 'f32' }), args: [{ in: 0 }, { out: 0 }] },
  ],
})
const input = Array.from({ length: 100 }, (_, i) => i / 7 - 3)
const square = (op: CustomOp) => record('custom', [tensor(input).node], { op, attrs: {} })
const labelOf = (device: Device, op: CustomOp) => device.plan([square(op)]).steps[0]!.program.label

function memoryStore(text?: string): TuningStore & { text: string | undefined } {
  return {
    where: 'memory',
    text,
    load() {
      return Promise.resolve(this.text)
    },
    save(now) {
      this.text = now
      return Promise.resolve()
    },
  }
}

async function deviceWith(store: TuningStore): Promise<Device> {
  const device = new Device(await requestGpu(), store)
  await device.tuner.load()
  return device
}

const rejects = (text: string | undefined, words: RegExp, what: string) => {
  if (!text || !words.test(text)) throw new Error(`${what}: expected ${words}, got '${text}'`)
}

export function cases(): Case[] {
  return [
    {
      name: 'tuner: wrong, NaN and failing candidates are rejected; the winner is used and reused after a restart',
      async run() {
        const store = memoryStore()
        const device = await deviceWith(store)
        const op = squares(100)
        same(labelOf(device, op), 'plain', 'before tuning')
        const before = await device.read(square(op))
        const report = await device.tune({ node: square(op) }, { clock })
        same(report.skipped, [], 'skipped')
        const [found] = report.problems
        const { winner, times, rejected } = found!.choice
        same([winner, found!.heuristic, found!.fresh, found!.count], ['good', 'plain', true, 1], 'winner')
        same(times, { plain: 3, good: 1, slow: 9 }, 'times in microseconds')
        rejects(rejected.wrong, /'y' is off by .* of its norm from that of plain/, 'wrong')
        rejects(rejected.lastElement, /'y' is off by/, 'one wrong element')
        rejects(rejected.nan, /'y' holds 1 NaN/, 'nan')
        rejects(rejected.syntax, /does not compile.*unresolved value 'z'/, 'syntax')
        rejects(rejected.tooLarge, /65536|workgroup/i, 'too large')
        rejects(rejected.throws, /no such layout/, 'throws')
        same(Object.keys(rejected).length, 6, 'rejected')

        // The plan that was cached is made anew with the winner, and gives the same values.
        same(labelOf(device, op), 'good', 'after tuning')
        const built = device.plansBuilt
        const after = await device.read(square(op))
        same(device.plansBuilt, built + 1, 'plans built')
        for (const [i, v] of after.entries())
          if (Math.abs(v - before[i]!) > 1e-5 * Math.max(1, before[i]!))
            throw new Error(`[${i}]: ${v} and ${before[i]}`)
        const again = await device.tune({ node: square(op) }, { clock: broken })
        same([again.problems[0]!.fresh, again.problems[0]!.choice.winner], [false, 'good'], 'a second time')
        device.destroy()

        const restarted = await deviceWith(store)
        same(labelOf(restarted, op), 'good', 'after a restart')
        same((await restarted.tune({ node: square(op) }, { clock: broken })).problems[0]!.fresh, false, 'restarted')
        restarted.tuner.mode = 'off'
        same(labelOf(restarted, op), 'plain', 'switched off')
        restarted.tuner.mode = 'cached'
        // Another problem of the same kernel is not known; one of nearly the same size is.
        same(labelOf(restarted, squares(400)), 'plain', 'another size')
        same(labelOf(restarted, squares(104)), 'good', 'nearly the same size')
        same(labelOf(restarted, squares(100, [variants[0]!, variants[7]!])), 'plain', 'the winner is no variant now')
        const reduced = squares(100, [variants[0]!, variants[4]!, variants[7]!])
        same(labelOf(restarted, reduced), 'good', 'a variant was lost')
        await restarted.tuner.clear()
        same(labelOf(restarted, op), 'plain', 'cleared')
        restarted.destroy()
      },
    },
    {
      name: 'tuner: a wrong first variant is outvoted, and a single dissenter is not believed',
      async run() {
        const device = await deviceWith(memoryStore())
        const [plain, wrong, , , good] = variants
        const outvoted = await device.tune({ node: square(squares(100, [wrong!, plain!, good!])) }, { clock })
        same(outvoted.problems[0]!.choice.winner, 'good', 'winner')
        rejects(outvoted.problems[0]!.choice.rejected.wrong, /from that of plain/, 'first variant')
        const op = squares(300, [plain!, wrong!])
        const alone = await device.tune({ node: square(op) }, { clock })
        same(alone.problems[0]!.choice.winner, 'plain', 'of two')
        device.destroy()
      },
    },
    {
      name: 'tuner: choices travel as JSON; other adapters and unreadable stores do no harm',
      async run() {
        const op = squares(100)
        const first = await deviceWith(memoryStore())
        await first.tune({ node: square(op) }, { clock })
        const text = first.tuner.export()
        first.destroy()

        const store = memoryStore()
        const second = await deviceWith(store)
        same(await second.tuner.import(text), 1, 'imported')
        same([labelOf(second, op), store.text], ['good', text], 'imported and kept')
        const refused = await second.tuner.import('{"format":"something"}').catch((e: Error) => e.name)
        same([refused, labelOf(second, op)], ['TuningFormatError', 'good'], 'a foreign file')
        second.destroy()

        const elsewhere = JSON.parse(text)
        elsewhere.adapters = Object.fromEntries(Object.values(elsewhere.adapters).map((of, i) => [`adapter ${i}`, of]))
        const third = await deviceWith(memoryStore(JSON.stringify(elsewhere)))
        same([third.tuner.size, labelOf(third, op)], [0, 'plain'], 'measured on another adapter')
        third.destroy()

        for (const corrupt of [
          text.slice(0, 100),
          '[]',
          '',
          '{"format":"diptych-tuning","version":1,"adapters":{"a":{"b":{}}}}',
        ]) {
          const broken = memoryStore(corrupt)
          const warnings: unknown[] = []
          const { warn } = console
          console.warn = (...args) => void warnings.push(args.join(' '))
          const device = await deviceWith(broken).finally(() => (console.warn = warn))
          same([warnings.length, labelOf(device, op)], [1, 'plain'], `warnings for '${corrupt}'`)
          rejects(String(warnings[0]), /diptych: tuning results in memory: .*untuned/, 'warning')
          await device.tune({ node: square(op) }, { clock })
          same(JSON.parse(broken.text!).format, 'diptych-tuning', 'replaced')
          device.destroy()
        }
        const old = await deviceWith(memoryStore(text.replace('"version": 1', '"version": 0')))
        same([old.tuner.size, labelOf(old, op)], [0, 'plain'], 'another version')
        old.destroy()
      },
    },
    {
      name: 'tuner: on first use, a problem is measured before it runs, and no second time',
      async run() {
        const device = await deviceWith(memoryStore())
        device.tuner.mode = 'on-first-use'
        const op = squares(100, [variants[0]!, variants[1]!, variants[4]!])
        const values = await device.read(square(op))
        same(device.tuner.size, 1, 'choices')
        if (Math.abs(values[99]! - input[99]! ** 2) > 1e-3) throw new Error('values')
        const { created } = device.pipelines
        await device.read(square(op))
        same([device.pipelines.created, device.tuner.size], [created, 1], 'second run')
        rejects(device.tuner.export(), /"wrong": "'y' is off by/, 'wrong')
        device.destroy()
      },
    },
    {
      name: 'tuner: the faster of two expressions',
      async run() {
        const device = await openDevice({ tune: 'off' })
        device.tuner.mode = 'cached'
        const S = () =>
          tensor(
            Array.from({ length: 64 }, (_, i) => ((i * 7) % 5) / 20),
            [1, 8, 8],
          )
        const ways = {
          squaring: () => [matrixPower(S(), 3)],
          products: () => [S().matmul(S()).matmul(S())],
          cheat: () => [S()],
          fails: () => [S().reshape([3])],
        }
        const times: Record<string, number> = { squaring: 5000, products: 3000, cheat: 1, fails: 1 }
        const ask = () => fastestWay('test.cube', { n: 8 }, ways)
        same(ask(), 'squaring', 'before')
        const report = await device.tune(
          async () => {
            ask()
          },
          { clock: async (_, way) => times[way]! },
        )
        const [found] = report.problems
        same(found!.choice.times, { squaring: 5, products: 3 }, 'times')
        rejects(found!.choice.rejected.cheat, /result 0 is off by/, 'cheat')
        rejects(found!.choice.rejected.fails, /reshape/, 'fails')
        same(ask(), 'products', 'after')
      },
    },
    {
      name: 'tuner: IndexedDB keeps a text where there is one',
      async run() {
        const store = indexedStore(`diptych-test-${Math.random()}`)
        if (typeof indexedDB === 'undefined') return same(store, undefined, 'store without IndexedDB')
        same(await store!.load(), undefined, 'nothing yet')
        await store!.save('first')
        await store!.save('second')
        same(await store!.load(), 'second', 'kept')
      },
    },
  ]
}
