/**
 * Reading .tar and .tar.gz without unpacking them to disk: ustar with GNU long names and pax paths, as tar writes them.
 * 512-byte blocks; header: name 0–99, size 124–135 (octal, or base 256), type 156, prefix 345–499.
 */
import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'

export interface TarFile {
  /** Path inside the archive, without a leading "./". */
  name: string
  size: number
  /** The content; read it before asking for the next file, or leave it: the rest is skipped. */
  data: Buffer | undefined
}

const BLOCK = 512

/** The regular files of an archive in order. `wants` says whose content is kept (default: none, names only). */
export async function* readTar(path: string, wants: (name: string) => boolean = () => false): AsyncGenerator<TarFile> {
  const file = createReadStream(path)
  const gzipped = /\.t?gz$/.test(path)
  const stream = gzipped ? createGunzip() : file
  if (gzipped) {
    file.on('error', (error) => stream.destroy(error))
    file.pipe(stream as ReturnType<typeof createGunzip>)
  }
  const source = new BlockSource(stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>)
  try {
    let longName: string | undefined
    for (;;) {
      const header = await source.take(BLOCK)
      if (!header) throw new Error('the archive ends without its end mark: cut short?')
      if (header.every((byte) => byte === 0)) return
      checkSum(header)
      const size = number(header.subarray(124, 136))
      const type = String.fromCharCode(header[156] || 48)
      const padded = Math.ceil(size / BLOCK) * BLOCK
      if (type === 'L' || type === 'x') {
        const body = (await required(source, padded)).subarray(0, size)
        longName = type === 'L' ? text(body) : (paxPath(body) ?? longName)
        continue
      }
      const prefix = text(header.subarray(345, 500))
      const short = text(header.subarray(0, 100))
      const name = (
        longName ?? (prefix && text(header.subarray(257, 262)) === 'ustar' ? `${prefix}/${short}` : short)
      ).replace(/^(\.\/)+/, '')
      longName = type === 'g' ? longName : undefined
      if (type !== '0') {
        await source.discard(padded)
        continue
      }
      if (wants(name)) yield { name, size, data: (await required(source, padded)).subarray(0, size) }
      else {
        await source.discard(padded)
        yield { name, size, data: undefined }
      }
    }
  } finally {
    file.destroy()
    stream.destroy()
  }
}

async function required(source: BlockSource, bytes: number): Promise<Buffer> {
  const data = await source.take(bytes)
  if (!data) throw new Error('the archive ends inside a file: cut short?')
  return data
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end)
}

function number(bytes: Buffer): number {
  if (bytes[0] & 0x80) return Number(bytes.readBigUInt64BE(4))
  const digits = text(bytes).trim()
  if (!/^[0-7]*$/.test(digits)) throw new Error('a header holds no size: not a tar archive?')
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

function checkSum(header: Buffer): void {
  let sum = 8 * 32
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i]
  if (number(header.subarray(148, 156)) !== sum) throw new Error('a header fails its check sum: not a tar archive?')
}

/** pax records are "<length> path=<name>\n"; of all keys only the path matters here. */
function paxPath(body: Buffer): string | undefined {
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(32, at)
    const length = Number(body.toString('latin1', at, space))
    if (!(length > 0)) return undefined
    const record = body.toString('utf8', space + 1, at + length - 1)
    if (record.startsWith('path=')) return record.slice(5)
    at += length
  }
  return undefined
}

/** Takes exact numbers of bytes from a stream of chunks. */
class BlockSource {
  private buffer: Buffer = Buffer.alloc(0)
  constructor(private readonly chunks: AsyncIterator<Buffer>) {}

  /** The next `bytes` bytes; undefined if the stream ends before. */
  async take(bytes: number): Promise<Buffer | undefined> {
    const parts = [this.buffer]
    let have = this.buffer.length
    while (have < bytes) {
      const { value, done } = await this.chunks.next()
      if (done) return undefined
      parts.push(value)
      have += value.length
    }
    const all = parts.length === 1 ? parts[0] : Buffer.concat(parts)
    this.buffer = all.subarray(bytes)
    return all.subarray(0, bytes)
  }

  async discard(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; ) {
      const step = Math.min(left, 1 << 16)
      if (!(await this.take(step))) throw new Error('the archive ends inside a file: cut short?')
      left -= step
    }
  }
}
