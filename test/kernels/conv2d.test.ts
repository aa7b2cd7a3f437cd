/** Convolution and its gradients, every variant of every case, against the float64 reference. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Conv2dProblem,
  conv2dBackwardInputVariants,
  conv2dBackwardWeightVariants,
  conv2dShape,
  conv2dVariants,
} from '../../kernels/conv2d/conv2d.ts'
import {
  conv2dBackwardInputReference,
  conv2dBackwardWeightReference,
  conv2dReference,
} from '../../kernels/conv2d/reference.ts'
import { baselineCapabilities, type Variant } from '../../kernels/kernel.ts'
import { openBareDevice, randomArray, relativeError, runProgram, type Words } from '../support/program.ts'

const test = suite('kernels/conv2d')
const { device, capabilities } = await openBareDevice()
const tolerance = 2e-6

const cases: Record<string, Conv2dProblem> = {
  '3×3 padded': { n: 2, c: 3, o: 10, h: 9, w: 11, kh: 3, kw: 3, padding: [1, 1, 1, 1], bias: true, activation: 'relu' },
  '3×3 stride 2': { n: 2, c: 3, o: 8, h: 12, w: 16, kh: 3, kw: 3, stride: [2, 2], padding: [1, 1, 1, 1], bias: true },
  depthwise: { n: 1, c: 6, o: 6, h: 7, w: 10, kh: 3, kw: 3, padding: [1, 1, 1, 1], groups: 6, activation: 'relu' },
  'depthwise stride 2': { n: 2, c: 4, o: 8, h: 9, w: 8, kh: 3, kw: 3, stride: [2, 2], padding: [1, 1, 1, 1], groups: 4 },
  pointwise: { n: 2, c: 7, o: 18, h: 4, w: 6, kh: 1, kw: 1, bias: true },
  'pointwise, ragged': { n: 3, c: 5, o: 9, h: 3, w: 5, kh: 1, kw: 1, activation: 'relu' },
  'pointwise, stride 2': { n: 1, c: 4, o: 3, h: 5, w: 7, kh: 1, kw: 1, stride: [2, 2] },
  'dilated, grouped': { n: 1, c: 6, o: 4, h: 13, w: 12, kh: 3, kw: 3, padding: [3, 3, 3, 3], dilation: [3, 3], groups: 2 },
  'uneven padding': { n: 1, c: 2, o: 3, h: 6, w: 5, kh: 2, kw: 3, stride: [1, 2], padding: [0, 2, 1, 0], dilation: [2, 1], bias: true },
  'padding beyond the kernel': { n: 1, c: 2, o: 2, h: 4, w: 4, kh: 2, kw: 1, padding: [2, 3, 3, 1] },
  'large kernel': { n: 1, c: 3, o: 5, h: 14, w: 14, kh: 7, kw: 7, stride: [7, 7] },
} // biome-ignore format: one line a case

async function compare(variants: Variant[], data: Words[], wanted: Float64Array, name: string): Promise<void> {
  for (const variant of variants) {
    const program = variant.program()
    const output = new Float32Array(wanted.length).fill(Number.NaN)
    const [got] = await runProgram(device, program, [...data, output])
    const error = relativeError(got!, wanted)
    assert.ok(error < tolerance, `${name}, ${program.label}: relative error ${error}`)
  }
}

for (const [name, problem] of Object.entries(cases))
  test(name, async () => {
    const s = conv2dShape(problem)
    const x = randomArray(s.batch * s.inChannels * s.height * s.width, 1)
    const w = randomArray(s.outChannels * s.inPerGroup * s.kernel[0] * s.kernel[1], 2)
    const dy = randomArray(s.batch * s.outChannels * s.outHeight * s.outWidth, 3)
    const bias = randomArray(s.outChannels, 4)
    const inputs = s.bias ? [x, w, bias] : [x, w]
    await compare(conv2dVariants(problem, capabilities), inputs, conv2dReference(problem, x, w, bias), name)
    await compare(
      conv2dVariants(problem, baselineCapabilities).slice(0, 1),
      inputs,
      conv2dReference(problem, x, w, bias),
      name,
    )
    await compare(
      conv2dBackwardInputVariants(problem, capabilities),
      [dy, w],
      conv2dBackwardInputReference(problem, dy, w),
      name,
    )
    const dw = conv2dBackwardWeightReference(problem, x, dy)
    await compare(conv2dBackwardWeightVariants(problem, capabilities), [x, dy], dw, name)
    await compare(conv2dBackwardWeightVariants(problem, baselineCapabilities), [x, dy], dw, name)
  })

test('refuses impossible sizes, naming them', () => {
  const base: Conv2dProblem = { n: 1, c: 4, o: 4, h: 3, w: 3, kh: 3, kw: 3 }
  assert.throws(() => conv2dVariants({ ...base, groups: 3 }, capabilities), /groups 3/)
  assert.throws(() => conv2dVariants({ ...base, kh: 5, kw: 5 }, capabilities), /exceeds the padded input/)
  assert.throws(() => conv2dVariants({ ...base, stride: [0, 1] }, capabilities), /stride/)
})

test.after(() => device.destroy())
test.run()
