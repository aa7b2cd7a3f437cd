/**
 * Half-precision arrays for kernel tests: values as the words a buffer is filled with, and back, and a check of a program's outputs.
 *
 * Tolerances: a half has 11 significant bits, so storing a result costs up to 2⁻¹¹ ≈ 4.9e-4 of it (half a unit in the last place;
 * 2⁻¹⁰ on a driver that rounds towards zero). Outputs kept in f32 are held to the f32 tests' own tolerance: sums or products in half
 * precision anywhere would miss it a hundredfold.
 */
import * as assert from 'uvu/assert'
import { floatToHalf, halfToFloat } from '../../engine/dtype.ts'
import { baselineCapabilities, type Capabilities, type Program } from '../../kernels/kernel.ts'
import type { FloatType } from '../../kernels/storage.ts'
import { randomArray, relativeError, runProgram, type Words } from './program.ts'

/** The values that halves nearest to these have. */
export const rounded = (values: ArrayLike<number>): Float32Array =>
  Float32Array.from(values, (v) => halfToFloat(floatToHalf(v)))

/** Two halves a word, the first in the low bits; the last word is filled up with 0. */
export function toWords(values: ArrayLike<number>, type: FloatType): Words {
  if (type === 'f32') return Float32Array.from(values)
  const halves = new Uint16Array(Math.ceil(values.length / 2) * 2)
  for (let i = 0; i < values.length; i++) halves[i] = floatToHalf(values[i]!)
  return new Uint32Array(halves.buffer)
}

/** `count` values of a buffer that was read as words. */
export const fromWords = (words: Float32Array, count: number, type: FloatType): Float32Array =>
  type === 'f32' ? words.slice(0, count) : Float32Array.from(new Uint16Array(words.buffer, 0, count), halfToFloat)

/** Words of NaNs for an output of `count` elements. */
export const blank = (count: number, type: FloatType): Words => toWords(new Float32Array(count).fill(NaN), type)

/** Random values that are exact in the type. */
export const exactArray = (count: number, seed: number, type: FloatType, scale = 1): Float32Array => {
  const values = randomArray(count, seed, scale)
  return type === 'f16' ? rounded(values) : values
}

/** Of the norm of an output's error relative to the output's. */
const tolerance: Record<FloatType, number> = { f32: 5e-6, f16: 2 ** -10 }

/** How halves may lie in memory on a device: natively where it can, packed always. */
export const halfStorages = (capabilities: Capabilities): [string, Capabilities][] => [
  ...(capabilities.f16 ? [['f16', capabilities] as [string, Capabilities]] : []),
  ['packed', { ...capabilities, f16: false }],
  ['packed, plain WebGPU', { ...baselineCapabilities, maxGrid: 3 }],
]

export interface Output {
  /** Words are compared exactly. */
  readonly want: Float64Array | Uint32Array
  readonly type?: FloatType
  /** In place of the type's own. */
  readonly tolerance?: number
}

/** Runs a program and compares every output; more is not written than there is. */
export const checker =
  (device: GPUDevice) =>
  async (program: Program, inputs: Words[], outputs: readonly Output[], what: string): Promise<void> => {
    const spare = 0x7c017c01
    const buffers = outputs.map(({ want, type = 'f32' }) => {
      const words = blank(want.length, type)
      const all = new Uint32Array(words.length + 4).fill(spare)
      all.set(new Uint32Array(words.buffer))
      return all
    })
    const got = await runProgram(device, program, [...inputs, ...buffers])
    outputs.forEach(({ want, type = 'f32', tolerance: own }, i) => {
      if (want instanceof Uint32Array) {
        assert.equal(
          new Uint32Array(got[i]!.buffer).slice(0, want.length),
          want,
          `${what} ${program.label}, output ${i}`,
        )
        return
      }
      const error = relativeError(fromWords(got[i]!, want.length, type), want)
      assert.ok(error <= (own ?? tolerance[type]), `${what} ${program.label}, output ${i}: relative error ${error}`)
      const end = new Uint32Array(got[i]!.buffer).slice(-4)
      assert.ok(
        end.every((w) => w === spare),
        `${what} ${program.label}: writes past the end of output ${i}`,
      )
    })
  }
