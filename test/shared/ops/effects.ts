/** Ops that change what is stored: optimiser steps, against plain loops. */
import { getDevice, grad, nn, optim, Tensor } from '../../../engine/index.ts'
import type { Case } from '../case.ts'
import { expectValues, note } from './table.ts'

class Pair {
  a = new nn.Parameter([1, -2, 3], [3])
  b = new nn.Parameter([0.5, 2], [2])
}

/** Σ a² + Σ b³ and its gradient. */
const loss = (m: Pair) => m.a.square().sum().add(m.b.pow(3).sum())
const slope = (a: number[], b: number[]) => [a.map((v) => 2 * v), b.map((v) => 3 * v * v)] as const

interface Rule {
  readonly momentum: number
  readonly weightDecay: number
  readonly nesterov: boolean
}

/** Both parameters after some steps, in float64. */
function descended(steps: number, lr: number, { momentum, weightDecay, nesterov }: Rule): number[] {
  const p = [1, -2, 3, 0.5, 2]
  const v = p.map(() => 0)
  for (let s = 0; s < steps; s++)
    slope(p.slice(0, 3), p.slice(3))
      .flat()
      .forEach((plain, i) => {
        const g = plain + weightDecay * p[i]!
        v[i] = momentum * v[i]! + g
        p[i]! -= lr * (nesterov ? g + momentum * v[i]! : v[i]!)
      })
  return p
}

const values = (m: Pair, from: number[]) =>
  Promise.all(
    [
      [m.a, from.slice(0, 3)],
      [m.b, from.slice(3)],
    ].map(([p, want]) =>
      expectValues(p as Tensor, { shape: (p as Tensor).shape, data: Float64Array.from(want as number[]) }, 1e-5, 'sgd'),
    ),
  )

const rules: Rule[] = [
  { momentum: 0, weightDecay: 0, nesterov: false },
  { momentum: 0.9, weightDecay: 0.1, nesterov: false },
  { momentum: 0.5, weightDecay: 0, nesterov: true },
]

export const effectCases: Case[] = [
  ...rules.map(
    (rule): Case => ({
      name: `op assign: sgd steps as plain loops do, ${JSON.stringify(rule)}`,
      async run() {
        await getDevice()
        const m = new Pair()
        const sgd = new optim.SGD(m, { lr: 0.05, ...rule })
        for (let s = 0; s < 3; s++) {
          sgd.step(grad(loss(m), m))
          note(...sgd.flat.nodes.map((n) => new Tensor(n)))
          await m.a.data()
        }
        await values(m, descended(3, 0.05, rule))
      },
    }),
  ),
  {
    name: 'op assign: backward() feeds an optimiser, zeroGrad() empties it',
    async run() {
      await getDevice()
      const m = new Pair()
      const sgd = optim.sgd(m, { lr: 0.05 })
      for (let s = 0; s < 2; s++) {
        sgd.zeroGrad()
        loss(m).backward()
        sgd.step()
        await m.a.data()
      }
      await values(m, descended(2, 0.05, rules[0]!))
      sgd.zeroGrad()
      let refused = ''
      try {
        sgd.step()
      } catch (error) {
        refused = (error as Error).message
      }
      if (!/no gradient for 'a'.*backward/.test(refused)) throw new Error(`step without gradients: got '${refused}'`)
    },
  },
  {
    name: 'op adamw: a step is not differentiated, and says so',
    async run() {
      await getDevice()
      const m = new Pair()
      const adam = new optim.AdamW(m, { lr: 0.1 })
      loss(m).backward()
      adam.step()
      note(...adam.flat.nodes.map((n) => new Tensor(n)))
      let refused = ''
      try {
        const [step] = adam.flat.nodes
        grad(new Tensor(step!).sum(), new Tensor(step!.inputs[3]!))
      } catch (error) {
        refused = (error as Error).message
      }
      if (!/'adamw'.*differentiate the loss/.test(refused)) throw new Error(`expected a refusal, got '${refused}'`)
      await m.a.data()
    },
  },
]
