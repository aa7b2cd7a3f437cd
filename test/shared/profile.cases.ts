/** Profiles: every launch is timed, whatever way the work is run. */
import {
  ceilings,
  compile,
  getDevice,
  grad,
  nn,
  optim,
  type Profile,
  profile,
  type Tensor,
  tensor,
} from '../../engine/index.ts'
import { type Case, same } from './case.ts'
import { randomArray } from './random.ts'

const input = () => tensor(randomArray(128 * 96, 1), [128, 96])
const weights = () => tensor(randomArray(96 * 128, 2), [96, 128])
const build = (x: Tensor) => x.matmul(weights()).gelu().softmax().matmul(x).square().sum()

function check(found: Profile, launches: number, what: string): void {
  same(found.dispatches.length, launches, `${what}: launches`)
  const timed = found.dispatches.filter((d) => Number.isFinite(d.microseconds) && d.microseconds >= 0)
  same(timed.length, launches, `${what}: launches with a time`)
  if (!(found.gpu > 0 && found.gpu <= found.wall)) throw new Error(`${what}: ${found.gpu} ms of ${found.wall} ms`)
  const sum = found.dispatches.reduce((s, d) => s + d.microseconds, 0)
  const rows = found.rows()
  const shares = rows.reduce((s, r) => s + r.share, 0)
  if (Math.abs(sum / 1e3 - found.gpu) > 1e-9 * sum || Math.abs(shares - 1) > 1e-9) throw new Error(`${what}: sums`)
  same(
    rows.reduce((s, r) => s + r.count, 0),
    launches,
    `${what}: launches in rows`,
  )
  for (const d of found.dispatches) if (d.flops + d.bytes <= 0) throw new Error(`${d.label} costs nothing`)
}

export function cases(): Case[] {
  return [
    {
      name: 'ceilings: measured once, and of this world',
      async run() {
        const device = await getDevice()
        const found = await ceilings(device)
        same(found === (await ceilings(device)), true, 'the second call measures nothing')
        // From a slow phone core to ten of the fastest GPUs there are.
        if (!(found.gflops > 0.05 && found.gflops < 1e6)) throw new Error(`${found.gflops} GFLOP/s`)
        if (!(found.gbps > 0.05 && found.gbps < 1e5)) throw new Error(`${found.gbps} GB/s`)
      },
    },
    {
      name: 'profile: tensors, with as many launches as the plan has',
      async run() {
        const device = await getDevice()
        const launches = device.plan([build(input()).node]).steps.length
        const y = build(input())
        check(await profile(y), launches, 'tensor')
        same(y.node.realized, true, 'the tensor is computed')
        const plain = await build(input()).item()
        same(await y.item(), plain, 'a profile changes no value')
      },
    },
    {
      name: 'profile: without timestamps each launch is submitted by itself',
      async run() {
        const device = await getDevice()
        const launches = device.plan([build(input()).node]).steps.length
        const found = await profile(build(input()), { timestamps: false })
        check(found, launches, 'submits')
        same(found.method, 'wall clock', 'method')
        same(/no timestamps/.test(found.table()), true, 'the table says so')
      },
    },
    {
      name: 'profile: a compiled training step, its parameters updated as often as it was called',
      async run() {
        nn.seedInit(3)
        const net = nn.linear(96, 4)
        const adam = optim.adamW(net, { lr: 0.01 })
        const step = compile((x: Tensor) => {
          const loss = net.call(x).square().mean()
          adam.step(grad(loss, net))
          return loss
        })
        await step(input())
        const found = await profile(() => step(input()))
        same(adam.steps, 3, 'steps: one before, one to warm up, one measured')
        same(found.submits.length, 1, 'submits')
        check(found, found.submits[0]!.dispatches, 'step')
        if (!(found.dispatches.length > 4 && /adamw/.test(found.table()))) throw new Error(found.table())
        if (!(found.host > 0)) throw new Error('the host did nothing')
      },
    },
    {
      name: 'profile: the trace is what trace viewers read',
      async run() {
        const found = await profile(build(input()))
        const trace = JSON.parse(found.toChromeTrace())
        const events = trace.traceEvents as Record<string, unknown>[]
        const complete = events.filter((e) => e.ph === 'X')
        same(complete.filter((e) => e.tid === 2).length, found.dispatches.length, 'GPU events')
        for (const e of complete)
          for (const key of ['ts', 'dur'])
            if (!(typeof e[key] === 'number' && (e[key] as number) >= 0)) throw new Error(JSON.stringify(e))
        for (const e of events) same([typeof e.name, typeof e.args, e.pid], ['string', 'object', 1], 'event')
        const ends = complete
          .filter((e) => e.tid === 2)
          .map((e) => [e.ts as number, (e.ts as number) + (e.dur as number)])
        ends.forEach(([begin], i) => {
          if (i && begin! < ends[i - 1]![1]! - 1e-3) throw new Error(`launch ${i} begins before the last one ends`)
        })
      },
    },
  ]
}
