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
  '3×3 padded': { batch: 2, inChannels: 3, outChannels: 10, height: 9, width: 11, kernel: [3, 3], padding: [1, 1, 1, 1], bias: true, activation: 'relu' },
  '3×3 stride 2': { batch: 2, inChannels: 3, outChannels: 8, height: 12, width: 16, kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], bias: true },
  depthwise: { batch: 1, inChannels: 6, outChannels: 6, height: 7, width: 10, kernel: [3, 3], padding: [1, 1, 1, 1], groups: 6, activation: 'relu' },
  'depthwise stride 2': { batch: 2, inChannels: 4, outChannels: 8, height: 9, width: 8, kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], groups: 4 },
  pointwise: { batch: 2, inChannels: 7, outChannels: 18, height: 4, width: 6, kernel: [1, 1], bias: true },
  'pointwise, ragged': { batch: 3, inChannels: 5, outChannels: 9, height: 3, width: 5, kernel: [1, 1], activation: 'relu' },
  'pointwise, stride 2': { batch: 1, inChannels: 4, outChannels: 3, height: 5, width: 7, kernel: [1, 1], stride: [2, 2] },
  'dilated, grouped': { batch: 1, inChannels: 6, outChannels: 4, height: 13, width: 12, kernel: [3, 3], padding: [3, 3, 3, 3], dilation: [3, 3], groups: 2 },
  'uneven padding': { batch: 1, inChannels: 2, outChannels: 3, height: 6, width: 5, kernel: [2, 3], stride: [1, 2], padding: [0, 2, 1, 0], dilation: [2, 1], bias: true },
  'padding beyond the kernel': { batch: 1, inChannels: 2, outChannels: 2, height: 4, width: 4, kernel: [2, 1], padding: [2, 3, 3, 1] },
  'large kernel': { batch: 1, inChannels: 3, outChannels: 5, height: 14, width: 14, kernel: [7, 7], stride: [7, 7] },
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
  const base: Conv2dProblem = { batch: 1, inChannels: 4, outChannels: 4, height: 3, width: 3, kernel: [3, 3] }
  assert.throws(() => conv2dVariants({ ...base, groups: 3 }, capabilities), /groups 3/)
  assert.throws(() => conv2dVariants({ ...base, kernel: [5, 5] }, capabilities), /exceeds the padded input/)
  assert.throws(() => conv2dVariants({ ...base, stride: [0, 1] }, capabilities), /stride/)
})

test.after(() => device.destroy())
test.run()
