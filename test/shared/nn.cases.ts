/** Layers against plain loops; the functional and the method-calling way to gradients. */
import { getDevice, grad, nn, type Tensor, tensor, valueAndGrad } from '../../engine/index.ts'
import { type Case, same } from './case.ts'
import { build, get, type Nd, product, transposed, zip } from './ops/reference.ts'
import { asTensor, expectValues } from './ops/table.ts'

let seed = 11
const random = (shape: number[]): Nd => build(shape, () => ((seed = (seed * 48271) % 2147483647) / 2147483647) * 2 - 1)

const valuesOf = async (t: Tensor): Promise<Nd> => ({ shape: t.shape, data: Float64Array.from(await t.data()) })

class Head {
  scale = nn.filled([3], 0.5)
  fc = nn.linear(3, 2)
  call(x: Tensor): Tensor {
    return this.fc.call(x.mul(this.scale))
  }
}

export function cases(): Case[] {
  return [
    {
      name: 'nn: linear without bias, embedding, rmsNorm and a sequence',
      async run() {
        nn.seedInit(3, 0.5)
        const net = nn.sequential(
          nn.embedding(5, 4),
          nn.rmsNorm(4),
          (x: Tensor) => x.mul(2),
          nn.linear(4, 3, { bias: false }),
        )
        same([...nn.namedParameters(net).keys()], ['0.weight', '1.weight', '3.weight'], 'names')
        const [table, , w] = await Promise.all(nn.parameters(net).map(valuesOf))
        const index = [
          [1, 4, 0],
          [2, 2, 3],
        ]
        const rows = build([2, 3, 4], ([i, j, d]) => get(table!, index[i!]![j!]!, d!))
        const scale = build(
          [2, 3, 1],
          ([i, j]) => 2 / Math.sqrt([0, 1, 2, 3].reduce((s, d) => s + get(rows, i!, j!, d) ** 2 / 4, 1e-6)),
        )
        const want = product(
          zip((v, s) => v * s, rows, scale),
          transposed(w!, [1, 0]),
        )
        await expectValues(net.call(tensor(index, undefined, 'i32')), want, 1e-5, 'sequence')
      },
    },
    {
      name: 'nn: conv2d layer',
      async run() {
        const layer = nn.conv2d(4, 6, 3, { padding: 1, stride: 2, groups: 2 })
        const x = random([2, 4, 5, 5])
        same(layer.weight.shape, [6, 2, 3, 3], 'weight')
        const plain = asTensor(x).conv2d(layer.weight, { padding: 1, stride: 2, groups: 2, bias: layer.bias! })
        await expectValues(layer.call(asTensor(x)), await valuesOf(plain), 0, 'conv2d')
        same(nn.parameters(nn.conv2d(2, 2, [1, 3], { bias: false })).length, 1, 'parameters')
      },
    },
    {
      name: 'nn: dropout drops in training, passes on in use, and follows its seed',
      async run() {
        const make = () => {
          nn.seedInit(9)
          return nn.sequential(nn.dropout(0.25))
        }
        const x = tensor(new Float32Array(4000).fill(3), [4000])
        const net = make()
        const first = await net.call(x).data()
        const kept = first.filter((v) => v !== 0)
        if (!kept.every((v) => v === 4)) throw new Error(`kept values are ${kept[0]}, not 3/(1 − ¼)`)
        if (Math.abs(kept.length - 3000) > 120) throw new Error(`${kept.length} of 4000 kept, about 3000 expected`)
        same([...(await make().call(x).data())], [...first], 'another module of the same seed')
        if ([...(await net.call(x).data())].join() === [...first].join()) throw new Error('two calls drop the same')
        nn.evaluate(net)
        same([...new Set(await net.call(x).data())], [3], 'in use')
        nn.train(net)
        same(new Set(await net.call(x).data()).size, 2, 'in training again')
      },
    },
    {
      name: 'nn: the transformer block has the names of ViT checkpoints',
      run() {
        const block = nn.transformerBlock(6, 2, 10)
        same(
          [...nn.namedParameters(block).keys()],
          ['norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2'].flatMap((n) => [
            `${n}.weight`,
            `${n}.bias`,
          ]),
          'names',
        )
        // What it computes is held against the model's golden files (test/dip), whose encoder is made of it.
        same(block.call(asTensor(random([2, 4, 6]))).shape, [2, 4, 6], 'shape')
      },
    },
    {
      name: 'gradients: grad of a loss, of a function, valueAndGrad of a function and of a module, backward()',
      async run() {
        await getDevice()
        const x = asTensor(random([4, 3]))
        const y = tensor([0, 1, 1, 0], undefined, 'i32')
        const head = new Head()
        const loss = (a: Tensor) => head.call(a).crossEntropy(y)
        const { value, grads } = valueAndGrad(head, loss)(x)
        same([...grads.keys()], ['scale', 'fc.weight', 'fc.bias'], 'names')
        const direct = grad(loss(x), head)
        loss(x).backward()
        for (const [name, p] of nn.namedParameters(head)) {
          const want = await valuesOf(direct.get(name)!)
          await expectValues(grads.get(name)!, want, 1e-6, name)
          await expectValues(p.grad!, want, 1e-6, `${name}.grad`)
        }
        await expectValues(value, await valuesOf(loss(x)), 1e-6, 'value')
        const [dx] = grad(loss)(x)
        await expectValues(dx, await valuesOf(grad(loss(x), x)), 1e-6, 'grad of a function')
        const both = valueAndGrad((a: Tensor, b: Tensor) => a.mul(b).sum())(tensor([2, 3]), tensor([5, 7]))
        same(
          [[...(await both.grads[0].data())], [...(await both.grads[1].data())]],
          [
            [5, 7],
            [2, 3],
          ],
          'two arguments',
        )
      },
    },
  ]
}
