/** Element types of tensors. `bool` is stored as a u32 of 0 or 1, `f16` two a word where shaders have no f16. */
export type DType = 'f32' | 'f16' | 'i32' | 'u32' | 'bool'

/** Dtypes that gradients exist for. */
export type FloatDType = 'f32' | 'f16'
/** Dtypes that count and address: indices, labels. */
export type IndexDType = 'i32' | 'u32'

/** Dtype of an op between a tensor and another, or a plain number: whole, with a fraction, or not known to the compiler. */
interface Wider {
  f32: { f32: 'f32'; f16: 'f32'; i32: 'f32'; u32: 'f32'; bool: 'f32'; whole: 'f32'; fraction: 'f32'; number: 'f32' }
  f16: { f32: 'f32'; f16: 'f16'; i32: 'f16'; u32: 'f16'; bool: 'f16'; whole: 'f16'; fraction: 'f16'; number: 'f16' }
  i32: {
    f32: 'f32'
    f16: 'f16'
    i32: 'i32'
    u32: 'i32'
    bool: 'i32'
    whole: 'i32'
    fraction: 'f32'
    number: 'i32' | 'f32'
  }
  u32: {
    f32: 'f32'
    f16: 'f16'
    i32: 'i32'
    u32: 'u32'
    bool: 'u32'
    whole: 'u32'
    fraction: 'f32'
    number: 'u32' | 'f32'
  }
  bool: { f32: 'f32'; f16: 'f16'; i32: 'i32'; u32: 'u32'; bool: 'bool'; whole: 'f32'; fraction: 'f32'; number: 'f32' }
}

interface Averages {
  f32: 'f32'
  f16: 'f16'
  i32: 'f32'
  u32: 'f32'
  bool: 'f32'
}

export type NumberKind<N extends number> = number extends N
  ? 'number'
  : `${N}` extends `${bigint}`
    ? 'whole'
    : 'fraction'

/** `promote` as a type. */
export type Promote<A extends DType, B extends DType | NumberKind<any>> = Wider[A][B]
/** Dtype of means: integers are averaged in f32. */
export type Averaged<D extends DType> = Averages[D]

export type HostArray = Float32Array | Int32Array | Uint32Array | Uint16Array

const byteSizes: Record<DType, number> = { f32: 4, f16: 2, i32: 4, u32: 4, bool: 4 }

/** Bytes of one stored element. */
export const byteSize = (dtype: DType): number => byteSizes[dtype]

/** WGSL type that a buffer of this dtype is declared with; without `shader-f16` a word holds two halves. */
export const storageType = (dtype: DType, { f16 }: { readonly f16: boolean }): string =>
  dtype === 'bool' || (dtype === 'f16' && !f16) ? 'u32' : dtype

/** WGSL type that a value of this dtype is computed in: f16 is widened to f32, so that sums never lose bits. */
export const computeType = (dtype: DType): string => (dtype === 'f16' ? 'f32' : dtype)

export const isFloat = (dtype: DType): boolean => dtype === 'f32' || dtype === 'f16'

const rank: Record<DType, number> = { bool: 0, u32: 1, i32: 2, f16: 3, f32: 4 }

/** The dtype that an operation between two dtypes is done in: the wider of them, floats over integers over bool. */
export const promote = (a: DType, b: DType): DType => (rank[a] >= rank[b] ? a : b)

/** A WGSL literal of `value` as dtype; infinities and NaN are written by their bits, which WGSL forbids as literals. */
export function literal(value: number, dtype: DType): string {
  if (dtype === 'bool') return value ? 'true' : 'false'
  if (dtype === 'i32') return value === -2147483648 ? 'i32(-2147483647 - 1)' : `i32(${Math.trunc(value)})`
  if (dtype === 'u32') return `${Math.trunc(value) >>> 0}u`
  const rounded = Math.fround(value)
  if (Number.isNaN(rounded)) return 'bitcast<f32>(opaque(0x7fc00000u))'
  if (rounded === Infinity) return 'bitcast<f32>(opaque(0x7f800000u))'
  if (rounded === -Infinity) return 'bitcast<f32>(opaque(0xff800000u))'
  const text = String(rounded)
  // Digits alone would be an abstract integer, which overflows from 2⁶³ on.
  return `f32(${/[.e]/.test(text) ? text : `${text}.0`})`
}

/** IEEE half → float, for reading f16 buffers. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

const floatScratch = new Float32Array(1)
const bitScratch = new Uint32Array(floatScratch.buffer)

/** Float → IEEE half bits, rounding to nearest even, for writing f16 buffers. */
export function floatToHalf(value: number): number {
  floatScratch[0] = value
  const bits = bitScratch[0]!
  const sign = (bits >>> 16) & 0x8000
  const exponent = (bits >>> 23) & 255
  const fraction = bits & 0x7fffff
  if (exponent === 255) return sign | 0x7c00 | (fraction ? 0x200 : 0)
  const e = exponent - 112
  if (e >= 31) return sign | 0x7c00
  if (e <= 0) {
    if (e < -10) return sign
    const full = fraction | 0x800000
    const shift = 14 - e
    const half = full >>> shift
    const rest = full & ((1 << shift) - 1)
    const middle = 1 << (shift - 1)
    return sign | (half + (rest > middle || (rest === middle && half & 1) ? 1 : 0))
  }
  const half = (e << 10) | (fraction >>> 13)
  const rest = fraction & 0x1fff
  return sign | (half + (rest > 0x1000 || (rest === 0x1000 && half & 1) ? 1 : 0))
}

/** Plain numbers (or booleans as 0 and 1) as the array that a buffer of `dtype` is filled from. */
export function toHostArray(values: ArrayLike<number>, dtype: DType): HostArray {
  if (dtype === 'f32') return values instanceof Float32Array ? values : Float32Array.from(values)
  if (dtype === 'i32') return values instanceof Int32Array ? values : Int32Array.from(values)
  if (dtype === 'u32') return values instanceof Uint32Array ? values : Uint32Array.from(values)
  if (dtype === 'bool') return Uint32Array.from(values, (v) => (v ? 1 : 0))
  return values instanceof Uint16Array ? values : Uint16Array.from(values, floatToHalf)
}

/** A buffer's bytes as numbers a program can read: f16 widened to a Float32Array, bool as a Uint32Array of 0 and 1. */
export function fromBytes(bytes: ArrayBuffer, dtype: DType, count: number): Float32Array | Int32Array | Uint32Array {
  if (dtype === 'f32') return new Float32Array(bytes, 0, count)
  if (dtype === 'i32') return new Int32Array(bytes, 0, count)
  if (dtype === 'f16') return Float32Array.from(new Uint16Array(bytes, 0, count), halfToFloat)
  return new Uint32Array(bytes, 0, count)
}
