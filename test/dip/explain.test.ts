/** Explanations as values, and a layer of one's own in place of DiCA. */
import { DIP, explain, makeConfig, saliency } from 'diptych/dip'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { concat, type Device, grad, nn, openDevice, type Tensor, tensor } from '../../engine/index.ts'
import { randomArray, relativeError } from '../support/program.ts'

const explanations = suite('explanations and parts')
let device: Device

explanations.before(async () => {
  device = await openDevice()
})
explanations.after(() => device.destroy())

const config = makeConfig({
  ...{ T: 2, M: 6, P: 2, E: 8, H: 2, U: 1, SA: 1, TA: 1, C: 2, kn: 3, t: 4, r: 2, init_std: 0.3 },
  'idm.diffuse': 'power',
})
const [B, T, L, H] = [2, 2, 3, 2]
const clip = () => tensor(randomArray(B * T * 6 * 6 * 3, 2).map(Math.abs), [B, T, 6, 6, 3])

explanations('attention of every layer by name, rows that sum to 1, matrices that fit together', async () => {
  nn.seedInit(1, config.init_std)
  const model = new DIP(config)
  const { attention, diffusion, features, score, saliency: heat, output } = explain(model, clip())
  const shapes = Object.fromEntries(attention.map(({ name, weights }) => [name, weights.shape.join()]))
  assert.equal(shapes, {
    'encoder.units.0.spatial.0': [B, T, H, L * L + 1, L * L + 1].join(),
    'encoder.units.0.temporal.0': [B, L * L, H, T, T].join(),
    'dica.layers.0.h': [B, H, L + 1, L + 1].join(),
    'dica.layers.0.v': [B, H, L + 1, L + 1].join(),
    'dica.layers.1.h': [B, H, L + 1, L + 1].join(),
    'dica.layers.1.v': [B, H, L + 1, L + 1].join(),
  })
  await device.realize([...attention.map(({ weights }) => weights.node), diffusion.St.node, heat.map.node, score.node])
  for (const { name, weights } of attention) {
    const sums = await weights.sum(-1).data()
    assert.ok(
      sums.every((s) => Math.abs(s - 1) < 1e-5),
      name,
    )
  }
  // The maps are those that the layers attend by: a block's own output from them.
  const block = (model.encoder as any).units[0].spatial[0]
  const tokens = model.patch_embed.call(clip())
  const x = concat([model.cls_token.expand([B, T, 1, 8]), tokens], 2)
    .add(model.pos_embed_spatial)
    .add(model.pos_embed_temporal.reshape([T, 1, 8]))
  const [, , v] = nn.splitHeads(block.attn.qkv.call(block.norm1.call(x)), H) as Tensor[]
  const attended = attention[0]!.weights.matmul(v!.transpose(-3, -2)).transpose(-3, -2).flatten(3)
  const y = x.add(block.attn.proj.call(attended))
  const want = await y.add(block.mlp.call(block.norm2.call(y))).data()
  assert.ok(relativeError(await block.spatial(x).data(), want) < 1e-5)

  const walk = await diffusion.P.sum(-1).data()
  assert.ok(walk.every((s) => Math.abs(s - 1) < 1e-6))
  const Y = diffusion.St.div(diffusion.density.sqrt())
  const fromSt = await Y.unsqueeze(2).sub(Y.unsqueeze(1)).square().sum(-1).data()
  assert.ok(relativeError(await diffusion.dist.data(), fromSt) < 1e-3)
  assert.equal([...features.shape], [B, 16])
  const probabilities = await score.data()
  const again = await model.score(clip()).data()
  assert.ok(relativeError(probabilities, again) < 1e-6)
  assert.equal([...output.Z.shape], [B, T, L * L + 1, 8])
})

explanations('directional Grad-CAM is gradient times activation, pooled over columns and rows', async () => {
  nn.seedInit(1, config.init_std)
  const model = new DIP(config)
  const { rows, columns, map } = saliency(model, clip())
  const { Z, logits } = model.forward(clip())
  const fake = logits.select(1, 1).sub(logits.select(1, 0)).sum()
  const [z, g] = [await Z.data(), await grad(fake, Z).data()]
  const evidence = (b: number, t: number, i: number, j: number) => {
    let sum = 0
    for (let e = 0; e < 8; e++) {
      const at = ((b * T + t) * (L * L + 1) + 1 + i * L + j) * 8 + e
      sum += z[at]! * g[at]!
    }
    return Math.max(0, sum)
  }
  const wanted = { rows: [] as number[], columns: [] as number[], map: [] as number[] }
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++) {
      const mean = (f: (k: number) => number) => [0, 1, 2].reduce((sum, k) => sum + f(k), 0) / L
      const r = [0, 1, 2].map((i) => mean((j) => evidence(b, t, i, j)))
      const c = [0, 1, 2].map((j) => mean((i) => evidence(b, t, i, j)))
      wanted.rows.push(...r)
      wanted.columns.push(...c)
      for (const x of r) for (const w of c) wanted.map.push(Math.sqrt(x * w))
    }
  assert.ok(relativeError(await rows.data(), wanted.rows) < 1e-4)
  assert.ok(relativeError(await columns.data(), wanted.columns) < 1e-4)
  assert.ok(relativeError(await map.data(), wanted.map) < 1e-3)
  assert.ok(wanted.rows.some((x) => x > 0))
})

/** In place of DiCA: two rounds in which each stream hears the other's tokens that diffusion brings close. */
class DiffusionMixer {
  readonly norm = nn.layerNorm(config.E)
  readonly proj = nn.linear(config.E, config.E)

  call(Sh: Tensor, Sv: Tensor, dist: Tensor): [Tensor, Tensor] {
    const L = Sh.shape[1]! - 1
    const near = (from: number, to: number) =>
      dist
        .slice([null, [from, from + L], [to, to + L]])
        .pad([
          [0, 0],
          [1, 0],
          [1, 0],
        ]) // the class token is near everything
        .neg()
        .softmax() // [B, L+1, L+1]
    const [hv, vh] = [near(0, L), near(L, 0)]
    const hear = (weights: Tensor, S: Tensor) => weights.matmul(this.proj.call(this.norm.call(S)))
    for (let round = 0; round < 2; round++) [Sh, Sv] = [Sh.add(hear(hv, Sv)), Sv.add(hear(vh, Sh))]
    return [Sh, Sv]
  }
}

explanations('a layer of one’s own in place of DiCA learns, and its parameters have names', async () => {
  nn.seedInit(1, config.init_std)
  const model = new DIP(config, { dica: new DiffusionMixer() })
  const names = [...nn.namedParameters(model).keys()].filter((name) => name.startsWith('dica.'))
  assert.equal(names, ['dica.norm.weight', 'dica.norm.bias', 'dica.proj.weight', 'dica.proj.bias'])
  const losses = model.losses(model.forward(clip()), [0, 1])
  const gradients = grad(losses.total, model as object)
  const gradient = await gradients.get('dica.proj.weight')!.data()
  assert.ok(Math.hypot(...gradient) > 1e-6)
  assert.ok(gradient.every(Number.isFinite))
  // The log-scalar of the graph hears of it, too: the mixer reads Dist.
  assert.ok(Math.abs(await gradients.get('idm.log_mu')!.item()) > 1e-9)
})

explanations.run()
