/** Finding the op that made a NaN, and printing kernels. */
import {
  checkNumerics,
  compile,
  getDevice,
  grad,
  nn,
  optim,
  profile,
  recordOrigins,
  type Tensor,
  tensor,
  wgslOf,
} from '../../engine/index.ts'
import { record } from '../../engine/ops/build.ts'
import type { CustomOp } from '../../engine/ops/custom.ts'
import { type Case, same } from './case.ts'
import { randomArray } from './random.ts'

const matches = (text: string, ...words: RegExp[]) => {
  for (const word of words) if (!word.test(text)) throw new Error(`no ${word} in:\n${text}`)
}

export function cases(): Case[] {
  return [
    {
      name: 'checkNumerics: log of a negative number, with the line that recorded it',
      async run() {
        const device = await getDevice()
        const report = await checkNumerics(() => tensor([1, 4, -1, 0.5]).mul(2).log().add(1).sum())
        same([report.ok, report.fault!.op, report.fault!.value.nans], [false, 'log', 1], 'fault')
        same([report.fault!.value.first, report.fault!.value.min !== undefined], [2, true], 'place')
        matches(String(report), /'log' made 1 NaN of the 4 elements of f32\[4\]/, /input 0: f32\[4\], from -2 to 8\n?$/)
        if (typeof process !== 'undefined') matches(report.fault!.origin!, /debug\.cases\.ts:\d+/)
        same([device.fuse, recordOrigins(false)], [true, false], 'left as it was')
      },
    },
    {
      name: 'checkNumerics: division by zero, and infinities that are meant',
      async run() {
        const build = () => tensor([3, -2, 0, 1]).reciprocal().maximum(-5).exp()
        const report = await checkNumerics(build())
        same([report.fault!.op, report.fault!.value.infinities], ['reciprocal', 1], 'fault')
        matches(String(report), /recorded at not known where/)
        same((await checkNumerics(build(), { infinities: false })).ok, true, 'infinities meant')
        const masked = () =>
          tensor([1, 2])
            .add(tensor([0, -Infinity]))
            .softmax()
        const given = await checkNumerics(masked)
        same([given.fault!.op, given.fault!.value.infinities], ['leaf', 1], 'a value that was given')
        matches(String(given), /a value that was given holds 1 infinite/)
      },
    },
    {
      name: 'checkNumerics: deep inside what is fused into a matmul',
      async run() {
        const device = await getDevice()
        const x = () => tensor(randomArray(6 * 8, 1), [6, 8])
        const w = () => tensor(randomArray(8 * 4, 2), [8, 4])
        const build = () => x().matmul(w()).mul(1000).exp().mul(0).add(1).gelu().sum()
        const steps = device.plan([build().node]).steps.length
        if (steps > 2) throw new Error(`${steps} launches: nothing was fused`)
        const report = await checkNumerics(build)
        // e^1000x overflows; the NaN is made by the product with 0 that follows.
        same(report.fault!.op, 'exp', 'the first op that is not finite')
        same((await checkNumerics(build, { infinities: false })).fault!.op, 'mul', 'the first op that makes a NaN')
        same((await checkNumerics(() => x().matmul(w()).gelu().sum())).ok, true, 'finite')
      },
    },
    {
      name: 'checkNumerics: a compiled training step, parameters updated once; afterwards it is fused again',
      async run() {
        const device = await getDevice()
        nn.seedInit(3)
        const net = { weight: nn.filled([4], 1) }
        const adam = optim.adamW(net, { lr: 0.1 })
        const step = compile((x: Tensor) => {
          const loss = x.mul(net.weight).sub(5).log().mean()
          adam.step(grad(loss, net))
          return loss
        })
        const positive = tensor(
          Float32Array.from({ length: 8 }, (_, i) => 1 + i),
          [2, 4],
        )
        const { plansBuilt } = device
        const report = await checkNumerics(() => step(positive))
        same([report.fault!.op, adam.steps], ['log', 1], 'fault')
        if (report.checked < 10) throw new Error(`${report.checked} values`)
        await step(positive)
        const built = device.plansBuilt
        if (built < plansBuilt + 2) throw new Error('the step was not planned apart and fused')
        const { dispatches } = await profile(() => step(positive))
        same(device.plansBuilt, built, 'plans built when it is fused again')
        if (2 * dispatches.length > report.checked) throw new Error(`${dispatches.length} launches`)
      },
    },
    {
      name: 'checkNumerics: NaN made by a kernel of two outputs',
      async run() {
        const s = () => tensor([1, 2, Number.NaN, 1], [2, 2])
        const report = await checkNumerics(() => {
          const { values, vectors } = s().mul(1).eigh()
          return [values, vectors]
        })
        same(report.fault!.op, 'leaf', 'the value that was given')
        const both = await checkNumerics(() => Object.values(tensor([1, 2, 2, 1], [2, 2]).eigh()))
        same(both.ok, true, 'finite')
      },
    },
    {
      name: 'wgslOf: every kernel, as it is compiled',
      async run() {
        const device = await getDevice()
        const build = () => tensor([1, 2, 3]).exp().sum()
        const pair = [build(), build()]
        const text = await wgslOf(pair)
        for (const { program } of device.plan(pair.map((t) => t.node)).steps)
          if (!text.includes(program.wgsl.trim())) throw new Error(`lacks ${program.label}`)
        matches(text, /^\/\/ reduce\.sum[.\d]*: /m, /exp\(/)
        const op: CustomOp = {
          byIdentity: true,
          name: 'mine',
          outputs: (inputs) => [...inputs],
          lower: (_, __, context) => {
            const program = { wgsl: '// mine', label: 'mine', bindings: [], grid: [1, 1, 1], cost: {}, uniforms: [] }
            return [
              {
                program: context.choose('mine', [{ name: 'one', program: () => program }], {}),
                args: [{ in: 0 }, { out: 0 }],
              },
            ]
          },
        }
        matches(await wgslOf({ node: record('custom', [tensor([1]).node], { op, attrs: {} }) }), /\/\/ mine: custom/)
      },
    },
  ]
}
