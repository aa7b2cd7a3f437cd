import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  floatToHalf,
  halfToFloat,
  parseSafetensors,
  SafetensorsError,
  type TensorToWrite,
  writeSafetensors,
} from '../../engine/safetensors.ts'

const test = suite('safetensors')

/** A file from a header given as text (so that it may be malformed) and data bytes. */
function file(header: string, data: number[] | Uint8Array = []): Uint8Array {
  const json = new TextEncoder().encode(header)
  const out = new Uint8Array(8 + json.length + data.length)
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true)
  out.set(json, 8)
  out.set(data, 8 + json.length)
  return out
}

const entry = (dtype: string, shape: number[], offsets: number[]) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets })

function refuses(bytes: Uint8Array, ...words: string[]): void {
  try {
    parseSafetensors(bytes, { file: 'model.safetensors' })
  } catch (error) {
    assert.instance(error, SafetensorsError)
    for (const word of ['model.safetensors', ...words])
      assert.ok((error as Error).message.includes(word), `"${(error as Error).message}" lacks "${word}"`)
    return
  }
  assert.unreachable(`accepted a file that is wrong: ${words}`)
}

test('every dtype goes round', () => {
  const tensors: Record<string, TensorToWrite> = {
    f64: { shape: [2], data: Float64Array.of(Math.PI, -0) },
    f32: { shape: [2, 2], data: Float32Array.of(1, 2.5, -3, Number.POSITIVE_INFINITY) },
    f16: { dtype: 'F16', shape: [3], data: Float32Array.of(0.1, -65504, 2 ** -24) },
    bf16: { dtype: 'BF16', shape: [2], data: Float32Array.of(1, 1 / 3) },
    i64: { shape: [1], data: BigInt64Array.of(-(2n ** 60n)) },
    i32: { shape: [2], data: Int32Array.of(-1, 7) },
    u32: { shape: [], data: Uint32Array.of(4_000_000_000) },
    u8: { shape: [3], data: Uint8Array.of(1, 2, 255) },
    bool: { dtype: 'BOOL', shape: [2], data: Uint8Array.of(0, 1) },
    empty: { shape: [0, 4], data: new Float32Array(0) },
    __proto: { shape: [1], data: Float32Array.of(4) },
  }
  const bytes = writeSafetensors(tensors, { config: '{"T":4}', note: 'ü' })
  const read = parseSafetensors(bytes)
  assert.equal(read.metadata, { config: '{"T":4}', note: 'ü' })
  assert.is(read.tensors.size, 11)
  for (const name of ['f64', 'f32', 'i64', 'i32', 'u32', 'u8', 'bool', 'empty']) {
    assert.equal(read.tensors.get(name)!.data, tensors[name].data, name)
    assert.equal(read.tensors.get(name)!.shape, [...tensors[name].shape], name)
  }
  assert.is(read.tensors.get('bool')!.dtype, 'BOOL')
  assert.is(read.tensors.get('f16')!.dtype, 'F16')
  assert.equal(read.tensors.get('f16')!.data, Float32Array.of(0.0999755859375, -65504, 2 ** -24))
  assert.equal(read.tensors.get('bf16')!.data, Float32Array.of(1, 0.333984375))
})

test('views, not copies, where alignment allows', () => {
  const bytes = writeSafetensors({ a: { shape: [2], data: Float32Array.of(1, 2) } })
  assert.is(parseSafetensors(bytes).tensors.get('a')!.data.buffer, bytes.buffer)
  const shifted = new Uint8Array(bytes.length + 1)
  shifted.set(bytes, 1)
  const read = parseSafetensors(shifted.subarray(1)).tensors.get('a')!
  assert.equal(read.data, Float32Array.of(1, 2))
  assert.is.not(read.data.buffer, shifted.buffer)
  assert.equal(parseSafetensors(Buffer.from(shifted.buffer, 1)).tensors.get('a')!.data, Float32Array.of(1, 2))
  assert.is(parseSafetensors(bytes.buffer).tensors.size, 1, 'an ArrayBuffer does as well')
})

test('a filter reads some tensors only', () => {
  const data = Float32Array.of(1)
  const bytes = writeSafetensors({ 'a.x': { shape: [1], data }, b: { shape: [1], data } })
  assert.equal([...parseSafetensors(bytes, { filter: (n) => n.startsWith('a.') }).tensors.keys()], ['a.x'])
})

test('malformed files are refused by name', () => {
  refuses(new Uint8Array(5), '5 bytes')
  const long = new Uint8Array(16)
  new DataView(long.buffer).setBigUint64(0, 100_000_001n, true)
  refuses(long, '100000001', 'limit')
  new DataView(long.buffer).setBigUint64(0, 9n, true)
  refuses(long, 'cut short')
  refuses(file('[]'), 'not a safetensors file')
  refuses(file('{"a":'), 'not JSON')
  refuses(file('{"a":3}'), '"a"', 'not an object')
  refuses(file('{"__metadata__":{"a":1}}'), '__metadata__.a')
  refuses(file(`{"w":${entry('F8', [1], [0, 1])}}`, [0]), '"w"', 'F8')
  refuses(file(`{"w":${entry('F32', [-1], [0, 4])}}`, [0, 0, 0, 0]), '"w"', 'shape')
  refuses(file(`{"w":${entry('F32', [1], [0])}}`), '"w"', 'data_offsets')
  refuses(file(`{"w":${entry('U8', [0], [4, 2])}}`, [0, 0, 0, 0]), '"w"', 'backwards')
  refuses(file(`{"w":${entry('F32', [2], [0, 4])}}`, [0, 0, 0, 0]), '"w"', '8 bytes', '4')
  refuses(file(`{"w":${entry('U8', [4], [0, 4])}}`, [0, 0]), '"w"', 'byte 4 of 2')
  const two = `"a":${entry('U8', [2], [0, 2])},"b":${entry('U8', [2], [1, 3])}`
  refuses(file(`{${two}}`, [0, 0, 0]), '"b"', 'overlaps tensor "a"')
  refuses(file(`{"a":${entry('U8', [1], [1, 2])}}`, [0, 0]), '"a"', 'no tensor')
  refuses(file(`{"a":${entry('U8', [1], [0, 1])}}`, [0, 0]), '1 bytes after')
  refuses(file(`{"a":${entry('BOOL', [1], [0, 1])}}`, [2]), '"a"', 'BOOL')
  const once = entry('U8', [1], [0, 1])
  refuses(file(`{"a":${once},"\\u0061":${once}}`, [0]), '"a"', 'twice')
})

test('the writer refuses what it could not read back', () => {
  const data = Float32Array.of(1, 2)
  assert.throws(() => writeSafetensors({ a: { shape: [3], data } }), /"a".*\[3\].*2 values/)
  assert.throws(() => writeSafetensors({ a: { dtype: 'I32', shape: [2], data } }), /"a".*Float32Array.*I32/)
  assert.throws(() => writeSafetensors({ __metadata__: { shape: [2], data } }), /__metadata__/)
  assert.throws(
    () =>
      writeSafetensors([
        ['a', { shape: [2], data }],
        ['a', { shape: [2], data }],
      ]),
    /"a".*twice/,
  )
})

test('property: any names and values go round, and equal inputs give equal bytes', () => {
  const tensor = fc.array(fc.float({ noNaN: true }), { maxLength: 9 })
  const name = fc.string({ maxLength: 12 }).filter((n) => n !== '__metadata__')
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(name, tensor), { selector: (t) => t[0], maxLength: 6 }), (list) => {
      const tensors = list.map(([n, v]) => [n, { shape: [v.length], data: Float32Array.from(v) }] as const)
      const bytes = writeSafetensors(tensors)
      assert.equal(bytes, writeSafetensors([...tensors].reverse()))
      const read = parseSafetensors(bytes)
      assert.is(read.tensors.size, tensors.length)
      for (const [n, t] of tensors) assert.equal(read.tensors.get(n)!.data, t.data)
    }),
  )
})

test('property: a file with one byte changed or cut never crashes otherwise', () => {
  const bytes = writeSafetensors({
    a: { shape: [2], data: Float32Array.of(1, 2) },
    b: { shape: [1], data: Uint8Array.of(3) },
  })
  const at = fc.nat(bytes.length - 1)
  fc.assert(
    fc.property(at, fc.nat(255), fc.boolean(), (i, value, cut) => {
      const broken = cut ? bytes.slice(0, i) : bytes.slice()
      if (!cut) broken[i] = value
      try {
        parseSafetensors(broken)
      } catch (error) {
        assert.instance(error, SafetensorsError)
      }
    }),
  )
})

test('half precision: all 63,488 finite values go round, ties to even', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    if (((bits >> 10) & 31) === 31) continue
    assert.is(floatToHalf(halfToFloat(bits)), bits)
  }
  assert.is(halfToFloat(floatToHalf(2049)), 2048)
  assert.is(halfToFloat(floatToHalf(2051)), 2052)
  assert.is(floatToHalf(65519), 0x7bff)
  assert.is(floatToHalf(65520), 0x7c00)
})

test.run()
