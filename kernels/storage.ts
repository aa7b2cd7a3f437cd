/**
 * Float arrays in memory: f32, or half precision as the device can hold it. Kernels compute in f32 whatever is stored: a load
 * widens, a store rounds to nearest, and no sum is ever kept in half precision.
 *
 *   f32                         array<f32>     array<vec4f>
 *   f16, `shader-f16`           array<f16>     array<vec4<f16>>
 *   f16 elsewhere ("packed")    array<u32>     array<vec2u>        two halves a word, the lower index in the low bits
 *
 * Both halves layouts have the same bytes. A packed array that is written by single elements is an
 * array<atomic<u32>>: two invocations may own the halves of one word, and each replaces its own bits only. These are integer
 * operations on disjoint bits, so their order does not matter.
 */
import type { Binding, Capabilities, FloatArray } from './kernel.ts'

export type { FloatArray } from './kernel.ts'

/** Element type of a float array; an index beyond the last element of an odd packed array is padding. */
export type FloatType = 'f32' | 'f16'

export const floatBytes = (type: FloatType): number => (type === 'f16' ? 2 : 4)

export interface FloatArrayOptions {
  readonly type?: FloatType | undefined
  readonly vector?: boolean
  readonly access?: Binding['access']
}

/** An array named `name`; f32, scalar and read unless told otherwise. */
export function floatArray(name: string, caps: Pick<Capabilities, 'f16'>, options: FloatArrayOptions = {}): FloatArray {
  const { type = 'f32', vector = false, access = 'read' } = options
  const make = (
    elements: string,
    load: (index: string) => string,
    store: (index: string, value: string) => string,
    functions = '',
    packed = false,
  ): FloatArray => {
    const binding: Binding = { name, type: elements, access, ...(packed ? { packed } : {}) }
    return { name, binding, functions, load, store }
  }
  if (type === 'f32')
    return make(
      vector ? 'vec4f' : 'f32',
      (i) => `${name}[${i}]`,
      (i, v) => `${name}[${i}] = ${v};`,
    )
  if (caps.f16) {
    const [wide, narrow] = vector ? ['vec4f', 'vec4<f16>'] : ['f32', 'f16']
    return make(
      narrow,
      (i) => `${wide}(${name}[${i}])`,
      (i, v) => `${name}[${i}] = ${narrow}(${v});`,
    )
  }
  if (vector)
    return make(
      'vec2u',
      (i) => `unpackFour(${name}[${i}])`,
      (i, v) => `${name}[${i}] = packFour(${v});`,
      '',
      true,
    )
  const written = access === 'read_write'
  const word = written ? `atomicLoad(&${name}[i >> 1u])` : `${name}[i >> 1u]`
  const functions = [`fn ${name}Load(i: u32) -> f32 { return unpack2x16float(${word})[i & 1u]; }`]
  if (written)
    functions.push(`fn ${name}Store(i: u32, value: f32) {
  let shift = (i & 1u) * 16u;
  atomicAnd(&${name}[i >> 1u], ~(0xffffu << shift));
  atomicOr(&${name}[i >> 1u], packPair(vec2f(value, 0.0)) << shift);
}`)
  return make(
    written ? 'atomic<u32>' : 'u32',
    (i) => `${name}Load(${i})`,
    (i, v) => `${name}Store(${i}, ${v});`,
    functions.join('\n'),
    true,
  )
}

/**
 * `pack2x16float` says nothing of values beyond ±65504, and SwiftShader makes a NaN of infinity: those are done by hand, so that an
 * overflow is an infinity everywhere.
 */
export const packPair = `fn packPair(v: vec2f) -> u32 {
  let bits = bitcast<vec2u>(v);
  let magnitude = bits & vec2u(0x7fffffffu);
  let beyond = magnitude >= vec2u(0x477ff000u);
  let usual = pack2x16float(select(v, vec2f(), beyond));
  let special = select(vec2u(0x7c00u), vec2u(0x7e00u), magnitude > vec2u(0x7f800000u)) | ((bits >> vec2u(16u)) & vec2u(0x8000u));
  let each = select(vec2u(usual & 0xffffu, usual >> 16u), special, beyond);
  return each.x | (each.y << 16u);
}`

const packFour = 'fn packFour(v: vec4f) -> vec2u { return vec2u(packPair(v.xy), packPair(v.zw)); }'
const unpackFour = 'fn unpackFour(w: vec2u) -> vec4f { return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }'

/** The functions that these arrays' loads and stores call; to stand after the declarations of their bindings. */
export function floatFunctions(arrays: readonly FloatArray[]): string {
  const of = (type: string, written: boolean): boolean =>
    arrays.some(({ binding }) => binding.type === type && (!written || binding.access === 'read_write'))
  const shared = [
    of('atomic<u32>', true) || of('vec2u', true) ? packPair : '',
    of('vec2u', true) ? packFour : '',
    of('vec2u', false) ? unpackFour : '',
  ]
  return [...shared, ...arrays.map((a) => a.functions)].filter(Boolean).join('\n')
}

/** The directive that must precede every declaration when a binding is stored as f16. */
export const enableHalf = (bindings: readonly Binding[]): string =>
  bindings.some(({ type }) => type.includes('f16')) ? 'enable f16;\n' : ''
