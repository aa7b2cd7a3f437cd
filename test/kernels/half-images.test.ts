/** Convolution and directional pooling over half-precision arrays, against float64 references of the same (rounded) inputs. */
import { suite } from 'uvu'
import {
  type Conv2dProblem,
  conv2dBackwardInputVariants,
  conv2dBackwardWeightVariants,
  conv2dShape,
  conv2dVariants,
} from '../../kernels/conv2d/conv2d.ts'
import * as reference from '../../kernels/conv2d/reference.ts'
import { directionalPoolBackwardVariants, directionalPoolVariants } from '../../kernels/pooling/directional.ts'
import { directionalPoolBackwardReference, directionalPoolReference } from '../../kernels/pooling/reference.ts'
import { checker, exactArray, halfStorages, type Output, toWords } from '../support/half.ts'
import { openBareDevice } from '../support/program.ts'

const test = suite('kernels, half precision, images')
const { device, capabilities } = await openBareDevice()
const check = checker(device)
const half = (want: Float64Array): Output => ({ want, type: 'f16' })
const random = (count: number, seed: number) => exactArray(count, seed, 'f16')
const words = (values: ArrayLike<number>) => toWords(values, 'f16')

for (const [storage, all] of halfStorages(capabilities)) {
  // The grid of a convolution does not fold.
  const caps = { ...all, maxGrid: 65535 }

  test(`conv2d and its gradients, ${storage}`, async () => {
    const problems: Conv2dProblem[] = [
      { n: 2, c: 3, o: 5, h: 5, w: 7, kh: 3, kw: 3, padding: [1, 1, 1, 1], bias: true, activation: 'relu' },
      { n: 2, c: 6, o: 8, h: 4, w: 6, kh: 1, kw: 1 },
      { n: 1, c: 3, o: 4, h: 8, w: 8, kh: 2, kw: 2, stride: [2, 2] },
    ]
    for (const sizes of problems) {
      const problem: Conv2dProblem = {
        ...sizes,
        types: { x: 'f16', w: 'f16', bias: 'f16', y: 'f16', dy: 'f16', dx: 'f16', dw: 'f32' },
      }
      const s = conv2dShape(problem)
      const x = random(s.batch * s.inChannels * s.height * s.width, 1)
      const w = random(s.outChannels * s.inPerGroup * s.kernel[0] * s.kernel[1], 2)
      const dy = random(s.batch * s.outChannels * s.outHeight * s.outWidth, 3)
      const bias = random(s.outChannels, 4)
      const inputs = (s.bias ? [x, w, bias] : [x, w]).map(words)
      const forward = conv2dVariants(problem, caps)
      for (const variant of [forward[0]!, forward.at(-1)!])
        await check(variant.program(), inputs, [half(reference.conv2dReference(problem, x, w, bias))], storage)
      const dx = reference.conv2dBackwardInputReference(problem, dy, w)
      const backward = conv2dBackwardInputVariants(problem, caps)
      for (const variant of [backward[0]!, backward.at(-1)!])
        await check(variant.program(), [words(dy), words(w)], [half(dx)], storage)
      const dw = reference.conv2dBackwardWeightReference(problem, x, dy)
      const [first] = conv2dBackwardWeightVariants(problem, caps)
      await check(first!.program(), [words(x), words(dy)], [{ want: dw }], storage)
    }
  })

  test(`directional pooling and its gradient, ${storage}`, async () => {
    for (const [mode, e, b, t] of [
      ['mean', 8, 2, 3],
      ['mean', 5, 2, 3],
      ['mean', 1, 1, 1],
      ['mean', 67, 1, 61],
      ['max', 3, 2, 3],
      ['max', 1, 1, 1],
      ['max', 33, 1, 17],
    ] as const) {
      const problem = { b, t, l: 3, e, mode, tokens: 'f16', pooled: 'f16' } as const
      const z = random(b * t * 10 * e, 1)
      const want = directionalPoolReference(problem, z)
      const indices = mode === 'max' ? [want.idxh, want.idxv] : []
      const [dzh, dzv, dzcls] = [random(3 * b * e, 2), random(3 * b * e, 3), random(b * e, 4)] as const
      const [forward] = directionalPoolVariants(problem, caps)
      const outputs = [half(want.zh), half(want.zv), half(want.zcls), ...indices.map((i): Output => ({ want: i }))]
      await check(forward!.program(), [words(z)], outputs, storage)
      const [backward] = directionalPoolBackwardVariants(problem, caps)
      const dz = directionalPoolBackwardReference(problem, { dzh, dzv, dzcls }, want)
      const inputs = [words(dzh), words(dzv), words(dzcls), ...indices]
      await check(backward!.program(), inputs, [half(dz)], storage)
    }
  })
}

test.after(() => device.destroy())
test.run()
