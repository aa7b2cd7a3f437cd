/** Augmentation and distortions against plain loops in float64, the study's as DeeperForensics-1.0 publishes them. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  augment,
  augmentTensors,
  blockCount,
  blockSide,
  blur,
  blurTaps,
  chromaNoise,
  type DistortionName,
  distort,
  distortionNames,
  distortions,
  drawAugmentation,
  drawBlocks,
  presetConfig,
  saturate,
} from '../../dip/index.ts'
import { type Device, Generator, HostRandom, openDevice, tensor } from '../../engine/index.ts'
import { randomArray, relativeError } from '../support/program.ts'

const distortion = suite('distortions and augmentation')
let device: Device

distortion.before(async () => {
  device = await openDevice()
})
distortion.after(() => device.destroy())

const [B, T, H, W] = [2, 2, 10, 13]
const shape = [B, T, H, W, 3]
const bytes = Uint8Array.from(randomArray(B * T * H * W * 3, 4), (x) => Math.floor((x + 1) * 128))
const x = () =>
  tensor(
    Float32Array.from(bytes, (v) => v / 255),
    shape,
  )

// ── plain references on [B, T, H, W, 3], 0 … 255 ───────────────────────────────────────────────────────────────────────

type Pixels = Float64Array
const index = (b: number, t: number, i: number, j: number, c: number, h = H, w = W) =>
  (((b * T + t) * h + i) * w + j) * 3 + c
const frames = function* (h = H, w = W) {
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++) for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) yield [b, t, i, j] as const
}
const perPixel = (p: Pixels, f: (r: number, g: number, b: number) => readonly number[]): Pixels => {
  const out = new Float64Array(p.length)
  for (let at = 0; at < p.length; at += 3) out.set(f(p[at]!, p[at + 1]!, p[at + 2]!), at)
  return out
}

/** OpenCV's YCrCb of floats, then scaled to 16…235 and 16…240, chroma middle at ½ before it. */
const toYcc = (r: number, g: number, b: number): number[] => {
  const y = 0.299 * r + 0.587 * g + 0.114 * b
  const scaled = (c: number) => (c * 224 + 16) / 255
  return [(y * 219 + 16) / 255, scaled((b - y) * 0.564 + 0.5), scaled((r - y) * 0.713 + 0.5)]
}
const fromYcc = (ys: number, cbs: number, crs: number): number[] => {
  const y = (ys * 255 - 16) / 219
  const [cb, cr] = [cbs, crs].map((c) => (c * 255 - 16) / 224 - 0.5) as [number, number]
  return [y + 1.403 * cr, y - 0.714 * cr - 0.344 * cb, y + 1.773 * cb]
}

const reflect = (i: number, n: number): number => {
  if (n === 1) return 0
  let at = i
  while (at < 0 || at >= n) at = at < 0 ? -at : 2 * (n - 1) - at
  return at
}
function blurred(p: Pixels, size: number): Pixels {
  const half = (size - 1) / 2
  const weight = (d: number) => Math.exp((-d * d) / (2 * (size / 6) ** 2))
  let total = 0
  for (let d = -half; d <= half; d++) total += weight(d)
  const out = new Float64Array(p.length)
  for (const [b, t, i, j] of frames())
    for (let c = 0; c < 3; c++)
      for (let u = -half; u <= half; u++)
        for (let v = -half; v <= half; v++)
          out[index(b, t, i, j, c)]! +=
            (weight(u) / total) * (weight(v) / total) * p[index(b, t, reflect(i + u, H), reflect(j + v, W), c)]!
  return out
}
function resized(p: Pixels, h: number, w: number, nh: number, nw: number): Pixels {
  const out = new Float64Array(B * T * nh * nw * 3)
  const clamp = (v: number, n: number) => Math.min(Math.max(v, 0), n - 1)
  for (const [b, t, i, j] of frames(nh, nw)) {
    const [y, z] = [((i + 0.5) * h) / nh - 0.5, ((j + 0.5) * w) / nw - 0.5]
    const [y0, z0] = [Math.floor(y), Math.floor(z)]
    for (let c = 0; c < 3; c++)
      for (const [dy, fy] of [
        [0, 1 - (y - y0)],
        [1, y - y0],
      ] as const)
        for (const [dz, fz] of [
          [0, 1 - (z - z0)],
          [1, z - z0],
        ] as const)
          out[index(b, t, i, j, c, nh, nw)]! += fy * fz * p[index(b, t, clamp(y0 + dy, h), clamp(z0 + dz, w), c, h, w)]!
  }
  return out
}

const normals = randomArray(B * T * H * W * 3, 9, 1.7)
const random = () => ({ host: new HostRandom(3), normal: () => tensor(normals, shape) })

/** The published operation in bytes; `exact` before they are made whole. */
const published: Record<DistortionName, (p: Pixels, level: number) => { exact: Pixels; whole: (v: number) => number }> =
  {
    cs: (p, level) => ({
      exact: perPixel(p, (r, g, b) => {
        const [y, cb, cr] = toYcc(r, g, b) as [number, number, number]
        return fromYcc(y, 0.5 + (cb - 0.5) * level, 0.5 + (cr - 0.5) * level)
      }),
      whole: Math.floor,
    }),
    cc: (p, level) => ({ exact: p.map((v) => v * level), whole: Math.floor }),
    bw: (p, level) => {
      const exact = p.slice()
      const count = blockCount(H, W, level)
      const corners = drawBlocks(random().host, B * T, H, W, count)
      for (let f = 0; f < B * T; f++)
        for (let k = 0; k < count; k++) {
          const [top, left] = [corners[2 * (f * count + k)]!, corners[2 * (f * count + k) + 1]!]
          for (let i = top; i < Math.min(H, top + blockSide); i++)
            for (let j = left; j < Math.min(W, left + blockSide); j++)
              exact.fill(128, ((f * H + i) * W + j) * 3, ((f * H + i) * W + j) * 3 + 3)
        }
      return { exact, whole: Math.round }
    },
    gnc: (p, level) => {
      let at = 0
      const exact = perPixel(p, (r, g, b) => {
        const noisy = toYcc(r, g, b).map((v) => (v / 255 + Math.sqrt(level) * normals[at++]!) * 255)
        return fromYcc(noisy[0]!, noisy[1]!, noisy[2]!)
      })
      return { exact, whole: Math.floor }
    },
    gb: (p, level) => ({ exact: blurred(p, level), whole: Math.round }),
    px: (p, level) => {
      const [h, w] = [Math.floor(H / level), Math.floor(W / level)]
      const small = resized(p, H, W, h, w).map(Math.round)
      return { exact: resized(small, h, w, H, W), whole: Math.round }
    },
  }

for (const name of distortionNames)
  distortion(`${name} at every level is what DeeperForensics publishes`, async () => {
    const pixels = Float64Array.from(bytes)
    for (let level = 1; level <= 5; level++) {
      const got = Float64Array.from(await distort(x(), name, level, random()).data(), (v) => v * 255)
      const { exact, whole } = published[name](pixels, distortions[name].levels[level - 1]!)
      let off = 0
      for (let i = 0; i < got.length; i++) {
        const want = Math.min(255, Math.max(0, whole(exact[i]!)))
        assert.ok(Math.abs(got[i]! - Math.round(got[i]!)) < 1e-3, 'whole bytes')
        // Its YCbCr constants have three digits, and float32 may fall on the other side of a step: one step, seldom.
        assert.ok(Math.abs(got[i]! - want) < 1.001, `level ${level}: ${got[i]} for ${want} (${exact[i]})`)
        if (Math.abs(got[i]! - want) > 0.5) off++
      }
      assert.ok(off < (name === 'cs' || name === 'gnc' ? 0.15 : 0.005) * got.length, `level ${level}: ${off} differ`)
    }
  })

distortion('saturation, blur and chroma noise to rounding, with parameters of each clip', async () => {
  const pixels = Float64Array.from(bytes, (v) => v / 255)
  const clip = (p: Pixels, b: number) => p.subarray(index(b, 0, 0, 0, 0), index(b + 1, 0, 0, 0, 0))
  const taps = tensor(Float32Array.from([...blurTaps(3, 7), ...blurTaps(7)]), [2, 7])
  const soft = await blur(x(), taps).data()
  const factors = [0.5, 1.5]
  const colour = await saturate(x(), tensor(Float32Array.from(factors), [2, 1, 1, 1, 1])).data()
  for (const b of [0, 1]) {
    const part = (data: ArrayLike<number>) => clip(Float64Array.from(data), b)
    assert.ok(relativeError(part(soft), clip(blurred(pixels, b ? 7 : 3), b)) < 1e-6)
    const want = perPixel(pixels, (r, g, bl) => {
      const y = 0.299 * r + 0.587 * g + 0.114 * bl
      return [r, g, bl].map((v) => y + factors[b]! * (v - y))
    })
    assert.ok(relativeError(part(colour), clip(want, b)) < 1e-6)
  }
  const [r, g, b] = await chromaNoise(tensor([[0.2, -0.3, 0.5]])).data()
  assert.equal(
    [r, g, b].map((v) => +v!.toFixed(5)),
    [0.9015, -0.0538, -0.3319],
  )
})

distortion('frames smaller than the kernel are mirrored again and again', async () => {
  const line = tensor(
    [0, 1, 2].flatMap((v) => [v, v, v]),
    [1, 1, 1, 3, 3],
  )
  const values = await blur(line, tensor([blurTaps(13)])).data()
  const want = [0, 1, 2].map((i) => blurTaps(13).reduce((sum, w, k) => sum + w * reflect(i + k - 6, 3), 0))
  for (let i = 0; i < 9; i++) assert.ok(Math.abs(values[i]! - want[Math.floor(i / 3)]!) < 1e-6)
})

// ── augmentation ───────────────────────────────────────────────────────────────────────────────────────────────────────

const settings = presetConfig('base').augment
const always = (name: keyof typeof settings) =>
  Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [key, { ...value, p: key === name ? 1 : 0 }]),
  ) as typeof settings

distortion('draws keep to their ranges, and to their probabilities', () => {
  const draw = (p: number) => {
    const set = Object.fromEntries(Object.entries(settings).map(([k, v]) => [k, { ...v, p }])) as typeof settings
    return drawAugmentation(new HostRandom(5), 400, 16, set)
  }
  const identity = Array.from({ length: 16 }, (_, i) => i)
  const none = draw(0)
  assert.ok(
    none.blur.every((k) => k === 1) && none.saturation.every((s) => s === 1) && none.noise.every((s) => s === 0),
  )
  for (const order of none.frames) assert.equal(order, identity)
  const all = draw(1)
  assert.equal([...new Set(all.blur)].sort(), [3, 5, 7])
  for (const s of all.saturation) assert.ok(s >= 0.5 && s <= 1.5)
  for (const s of all.noise) assert.ok(s >= 2 / 255 && s <= 10 / 255)
  const half = draw(0.5)
  const share = half.blur.filter((k) => k > 1).length / 400
  assert.ok(share > 0.42 && share < 0.58, `${share}`)
  assert.equal(draw(0.5), half)
})

distortion('dropped frames are refilled by their predecessors, repeated ones push the rest out', () => {
  for (const T of [1, 2, 4, 16]) {
    const drops = drawAugmentation(new HostRandom(6), 200, T, always('drop')).frames
    const repeats = drawAugmentation(new HostRandom(7), 200, T, always('repeat')).frames
    const most = Math.max(1, Math.round((4 * T) / 16))
    for (const order of [...drops, ...repeats]) {
      assert.is(order.length, T)
      assert.is(order[0], 0)
      order.forEach((f, i) => assert.ok(i === 0 || f === order[i - 1]! + 1 || f >= order[i - 1]!))
    }
    for (const order of drops) {
      const gone = order.filter((f, i) => f !== i).length
      assert.ok(T === 1 ? gone === 0 : gone >= 1 && gone <= most, `${order}`)
      // What follows a gap is where it was.
      order.forEach((f, i) => assert.ok(f === i || f === order[i - 1]))
    }
    if (T > 1) for (const order of repeats) assert.ok(order.at(-1)! < T - 1)
  }
})

distortion('each operation of the augmentation, alone, on the device', async () => {
  const clip = Float64Array.from(bytes, (v) => v / 255)
  for (const name of ['blur', 'saturation', 'noise', 'drop', 'repeat'] as const) {
    const only = always(name)
    const drawn = drawAugmentation(new HostRandom(8), B, T, only)
    const got = await augment(x(), augmentTensors(drawn, only), only, new Generator(11)).data()
    const noise = name === 'noise' ? await new Generator(11).normal(shape).data() : []
    const want = new Float64Array(clip.length)
    const soft = [3, 5, 7].map((k) => blurred(clip, k))
    for (const [b, t, i, j] of frames())
      for (let c = 0; c < 3; c++) {
        const at = index(b, t, i, j, c)
        const grey = [0.299, 0.587, 0.114].reduce((sum, w, k) => sum + w * clip[index(b, t, i, j, k)]!, 0)
        const value = {
          blur: () => soft[(drawn.blur[b]! - 3) / 2]![at]!,
          saturation: () => grey + drawn.saturation[b]! * (clip[at]! - grey),
          noise: () => clip[at]! + drawn.noise[b]! * noise[at]!,
          drop: () => clip[index(b, drawn.frames[b]![t]!, i, j, c)]!,
          repeat: () => clip[index(b, drawn.frames[b]![t]!, i, j, c)]!,
        }[name]()
        want[at] = Math.min(1, Math.max(0, value))
      }
    assert.ok(relativeError(got, want) < 1e-6, `${name}: ${relativeError(got, want)}`)
    assert.ok(relativeError(got, clip) > 1e-3, `${name} changes something`)
  }
})

distortion('one seed, one result; other seeds, others', async () => {
  const run = async (seed: number) => {
    const drawn = drawAugmentation(new HostRandom(seed), B, T, settings)
    return [...(await augment(x(), augmentTensors(drawn, settings), settings, new Generator(seed)).data())]
  }
  assert.equal(await run(1), await run(1))
  assert.ok(relativeError(await run(1), await run(2)) > 1e-3)
})

distortion('mistakes are told', () => {
  assert.throws(() => distort(x(), 'gb', 6, random()), /level must be 1 to 5, got 6/)
  assert.throws(() => distort(x().select(0, 0), 'gb', 1, random()), /\[B, T, H, W, 3\]/)
})

distortion.run()
