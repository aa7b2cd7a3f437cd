/**
 * safetensors: named tensors in one file.
 *
 *   u64 little-endian N | N bytes of JSON | data
 *   JSON: { "__metadata__": { key: string }, name: { dtype, shape, data_offsets: [begin, end] } }, offsets relative to the data.
 *
 * Reading is strict: a file that says two things at once (sizes that disagree, ranges that overlap or leave holes, a name
 * given twice) is refused with its name, the tensor and the fault. Ranges must cover the data exactly, as the format
 * demands: bytes that no tensor owns could hide anything.
 * Source: https://github.com/huggingface/safetensors, "Format".
 */

export type SafetensorsDtype = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'U32' | 'U8' | 'BOOL'

export type SafetensorsData = Float64Array | Float32Array | BigInt64Array | Int32Array | Uint32Array | Uint8Array

export interface SafetensorsTensor {
  /** dtype in the file. F16 and BF16 are widened: their `data` is a Float32Array. BOOL is a Uint8Array of 0 and 1. */
  dtype: SafetensorsDtype
  shape: number[]
  /** Row-major. A view of the file's own bytes where alignment allows, otherwise a copy. */
  data: SafetensorsData
}

export interface Safetensors {
  metadata: Record<string, string>
  tensors: Map<string, SafetensorsTensor>
}

export interface ParseOptions {
  /** Stands in error messages. */
  file?: string
  /** Reads only the tensors that this accepts; all of them are checked. */
  filter?: (name: string) => boolean
}

export class SafetensorsError extends Error {
  override name = 'SafetensorsError'
  constructor(
    readonly file: string,
    readonly tensor: string | undefined,
    readonly fault: string,
  ) {
    super(`${file}: ${tensor === undefined ? '' : `tensor "${tensor}": `}${fault}`)
  }
}

/** The limit of the reference implementation: a longer header is an attack or damage, not a model. */
export const MAX_HEADER_BYTES = 100_000_000

const BYTES: Record<SafetensorsDtype, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  U32: 4,
  U8: 1,
  BOOL: 1,
}

interface Range {
  name: string
  dtype: SafetensorsDtype
  shape: number[]
  begin: number
  end: number
}

/** Reads a whole file. @throws SafetensorsError naming file, tensor and fault. */
export function parseSafetensors(input: ArrayBuffer | Uint8Array, options: ParseOptions = {}): Safetensors {
  // A plain Uint8Array even for subclasses: Node's Buffer has a `slice` that does not copy.
  const bytes =
    input instanceof Uint8Array
      ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
      : new Uint8Array(input)
  const file = options.file ?? 'safetensors'
  const { header, dataStart } = readHeader(bytes, file)
  const metadata = readMetadata(header['__metadata__'], file)
  const ranges = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => readRange(name, value, file))
  checkCoverage(ranges, bytes.byteLength - dataStart, file)
  const tensors = new Map<string, SafetensorsTensor>()
  for (const range of ranges) {
    if (options.filter && !options.filter(range.name)) continue
    const { name, dtype, shape } = range
    const raw = bytes.subarray(dataStart + range.begin, dataStart + range.end)
    tensors.set(name, { dtype, shape, data: decode(dtype, raw, name, file) })
  }
  return { metadata, tensors }
}

function readHeader(bytes: Uint8Array, file: string): { header: Record<string, unknown>; dataStart: number } {
  const fail = (fault: string): never => {
    throw new SafetensorsError(file, undefined, fault)
  }
  if (bytes.byteLength < 8) fail(`${bytes.byteLength} bytes are too few for a header length`)
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(MAX_HEADER_BYTES)) fail(`header of ${length} bytes, the limit is ${MAX_HEADER_BYTES}`)
  const dataStart = 8 + Number(length)
  if (dataStart > bytes.byteLength) fail(`header of ${length} bytes in a file of ${bytes.byteLength}: cut short?`)
  let text = ''
  try {
    // TextDecoder refuses a view of shared memory, and drops a byte order mark unless told not to.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.slice(8, dataStart))
  } catch {
    fail('header is not UTF-8')
  }
  if (!text.startsWith('{')) fail('header does not begin with "{": not a safetensors file')
  let header: unknown
  try {
    header = JSON.parse(text)
  } catch (error) {
    fail(`header is not JSON: ${(error as Error).message}`)
  }
  const twice = duplicateKey(text)
  if (twice !== undefined) throw new SafetensorsError(file, twice, 'named twice in the header')
  return { header: header as Record<string, unknown>, dataStart }
}

/** JSON.parse keeps the last of two equal keys, so the top level's keys are read once more. `text` is valid JSON. */
function duplicateKey(text: string): string | undefined {
  const seen = new Set<string>()
  let depth = 0
  let expectKey = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '{' || c === '[') {
      depth++
      expectKey = depth === 1
    } else if (c === '}' || c === ']') depth--
    else if (c === ',') expectKey = depth === 1
    else if (c === '"') {
      const start = i++
      while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1
      if (!expectKey) continue
      expectKey = false
      const key = JSON.parse(text.slice(start, i + 1)) as string
      if (seen.has(key)) return key
      seen.add(key)
    }
  }
  return undefined
}

function readMetadata(value: unknown, file: string): Record<string, string> {
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new SafetensorsError(file, undefined, '__metadata__ is not an object')
  for (const [key, text] of Object.entries(value))
    if (typeof text !== 'string') throw new SafetensorsError(file, undefined, `__metadata__.${key} is not a string`)
  return { ...value } as Record<string, string>
}

const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0

function readRange(name: string, value: unknown, file: string): Range {
  const fail = (fault: string): never => {
    throw new SafetensorsError(file, name, fault)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail('its header entry is not an object')
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES, dtype))
    fail(`unknown dtype ${JSON.stringify(dtype)}, known are ${Object.keys(BYTES).join(', ')}`)
  if (!Array.isArray(shape) || !shape.every(isCount)) fail(`bad shape ${JSON.stringify(shape)}`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    fail(`bad data_offsets ${JSON.stringify(offsets)}`)
  const [begin, end] = offsets as [number, number]
  if (end < begin) fail(`data_offsets [${begin}, ${end}] run backwards`)
  const expected = (shape as number[]).reduce((n, d) => n * d, BYTES[dtype as SafetensorsDtype])
  if (expected !== end - begin)
    fail(`${dtype} [${(shape as number[]).join(', ')}] takes ${expected} bytes, data_offsets hold ${end - begin}`)
  return { name, dtype: dtype as SafetensorsDtype, shape: shape as number[], begin, end }
}

function checkCoverage(ranges: Range[], dataBytes: number, file: string): void {
  const sorted = [...ranges].sort((a, b) => a.begin - b.begin || a.end - b.end)
  let at = 0
  let previous = ''
  for (const { name, begin, end } of sorted) {
    if (end > dataBytes) throw new SafetensorsError(file, name, `ends at byte ${end} of ${dataBytes}: cut short?`)
    if (begin < at) throw new SafetensorsError(file, name, `overlaps tensor "${previous}" (${begin} < ${at})`)
    if (begin > at) throw new SafetensorsError(file, name, `bytes ${at} to ${begin} before it belong to no tensor`)
    at = end
    previous = name
  }
  if (at !== dataBytes) throw new SafetensorsError(file, undefined, `${dataBytes - at} bytes after the last tensor`)
}

function decode(dtype: SafetensorsDtype, raw: Uint8Array, name: string, file: string): SafetensorsData {
  const aligned = raw.byteOffset % BYTES[dtype] === 0 ? raw : raw.slice()
  const { buffer, byteOffset } = aligned
  const count = raw.byteLength / BYTES[dtype]
  switch (dtype) {
    case 'F64':
      return new Float64Array(buffer, byteOffset, count)
    case 'F32':
      return new Float32Array(buffer, byteOffset, count)
    case 'F16':
      return Float32Array.from(new Uint16Array(buffer, byteOffset, count), halfToFloat)
    case 'BF16': {
      const wide = Uint32Array.from(new Uint16Array(buffer, byteOffset, count), (bits) => bits << 16)
      return new Float32Array(wide.buffer)
    }
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, count)
    case 'I32':
      return new Int32Array(buffer, byteOffset, count)
    case 'U32':
      return new Uint32Array(buffer, byteOffset, count)
    case 'U8':
      return aligned
    case 'BOOL': {
      const bad = aligned.findIndex((byte) => byte > 1)
      if (bad >= 0) throw new SafetensorsError(file, name, `BOOL element ${bad} is ${aligned[bad]}, not 0 or 1`)
      return aligned
    }
  }
}

/** The value of an IEEE binary16 given by its bits, exact. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** The nearest IEEE binary16 (ties to even; overflow to infinity) of a number, as bits. */
export function floatToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude >= 65520) return sign | 0x7c00
  if (magnitude < 2 ** -14) return sign | roundEven(magnitude * 2 ** 24)
  let exponent = Math.floor(Math.log2(magnitude))
  // log2 may land on the wrong side of a power of two.
  if (2 ** exponent > magnitude) exponent--
  else if (2 ** (exponent + 1) <= magnitude) exponent++
  // A fraction that rounds up to 1024 carries into the exponent by itself.
  return sign | (((exponent + 15) << 10) + roundEven((magnitude / 2 ** exponent - 1) * 1024))
}

function roundEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}

/** The nearest bfloat16 (ties to even) of a float32, as bits. */
function floatToBfloat(value: number, scratch: { f: Float32Array; u: Uint32Array }): number {
  scratch.f[0] = value
  const bits = scratch.u[0]
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

/** What `writeSafetensors` takes: dtype is inferred from the array unless given (F16 and BF16 are rounded from floats). */
export interface TensorToWrite {
  dtype?: SafetensorsDtype
  shape: readonly number[]
  data: SafetensorsData
}

/**
 * Writes a file. Tensors lie by descending element size, then by name (as the reference implementation orders them, so
 * that every one is aligned); the header is padded with spaces to a multiple of 8. Equal inputs give equal bytes.
 * @throws SafetensorsError when a shape and its data disagree or a dtype does not suit its array.
 */
export function writeSafetensors(
  tensors: Iterable<readonly [string, TensorToWrite]> | Record<string, TensorToWrite>,
  metadata: Record<string, string> = {},
): Uint8Array<ArrayBuffer> {
  const list = Symbol.iterator in tensors ? [...tensors] : Object.entries(tensors)
  const seen = new Set<string>()
  const parts = list.map(([name, tensor]) => {
    const fail = (fault: string): never => {
      throw new SafetensorsError('safetensors', name, fault)
    }
    if (name === '__metadata__') fail('this name is the format’s own')
    if (seen.has(name)) fail('given twice')
    seen.add(name)
    const dtype = tensor.dtype ?? inferDtype(tensor.data)
    const count = tensor.shape.reduce((n, d) => n * d, 1)
    if (!tensor.shape.every(isCount) || count !== tensor.data.length)
      fail(`shape [${tensor.shape.join(', ')}] does not hold ${tensor.data.length} values`)
    return { name, dtype, shape: [...tensor.shape], bytes: encode(dtype, tensor.data, fail) }
  })
  parts.sort((a, b) => BYTES[b.dtype] - BYTES[a.dtype] || (a.name < b.name ? -1 : 1))

  // A null prototype keeps a tensor named "__proto__" an ordinary key.
  const header: Record<string, unknown> = Object.create(null)
  if (Object.keys(metadata).length > 0) header['__metadata__'] = metadata
  let offset = 0
  for (const { name, dtype, shape, bytes } of parts) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.byteLength] }
    offset += bytes.byteLength
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const headerBytes = Math.ceil(json.byteLength / 8) * 8
  if (headerBytes > MAX_HEADER_BYTES)
    throw new SafetensorsError(
      'safetensors',
      undefined,
      `header of ${headerBytes} bytes, the limit is ${MAX_HEADER_BYTES}`,
    )
  const out = new Uint8Array(8 + headerBytes + offset)
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true)
  out.fill(0x20, 8, 8 + headerBytes)
  out.set(json, 8)
  let at = 8 + headerBytes
  for (const { bytes } of parts) {
    out.set(bytes, at)
    at += bytes.byteLength
  }
  return out
}

function inferDtype(data: SafetensorsData): SafetensorsDtype {
  if (data instanceof Float32Array) return 'F32'
  if (data instanceof Float64Array) return 'F64'
  if (data instanceof BigInt64Array) return 'I64'
  if (data instanceof Int32Array) return 'I32'
  if (data instanceof Uint32Array) return 'U32'
  return 'U8'
}

function encode(dtype: SafetensorsDtype, data: SafetensorsData, fail: (fault: string) => never): Uint8Array {
  const isFloat = data instanceof Float32Array || data instanceof Float64Array
  if ((dtype === 'F16' || dtype === 'BF16') && isFloat) {
    const scratch = { f: new Float32Array(1), u: new Uint32Array(0) }
    scratch.u = new Uint32Array(scratch.f.buffer)
    const bits = new Uint16Array(data.length)
    for (let i = 0; i < data.length; i++)
      bits[i] = dtype === 'F16' ? floatToHalf(data[i]) : floatToBfloat(data[i], scratch)
    return new Uint8Array(bits.buffer)
  }
  const inferred = inferDtype(data)
  if (inferred !== dtype && !(inferred === 'U8' && dtype === 'BOOL'))
    fail(`a ${data.constructor.name} cannot be written as ${dtype}`)
  if (dtype === 'BOOL' && (data as Uint8Array).some((byte) => byte > 1)) fail('BOOL data other than 0 and 1')
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}
