/** Half-precision arrays for kernel tests: values as the words a buffer is filled with, and back. */
import { floatToHalf, halfToFloat } from '../../engine/dtype.ts'
import type { FloatType } from '../../kernels/storage.ts'
import { randomArray, type Words } from './program.ts'

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
