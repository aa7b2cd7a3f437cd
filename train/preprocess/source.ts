/**
 * Where the bytes of a video come from: a file, a folder of images, or a folder inside an archive
 * (`archive.tar.gz#folder`, unpacked for the time of use).
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { readTar } from '../data/tar.ts'
import { splitArchivePath } from '../data/wilddeepfake.ts'
import { listImages, VideoError } from '../video/index.ts'

/** sha256 of a file, read in pieces. @throws VideoError 'missing' */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(piece)
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new VideoError('missing', path, `it cannot be opened (${code})`, 'Check the path and its permissions')
  }
  return hash.digest('hex')
}

/** sha256 of what is scored: of a file its bytes, of a folder the names and hashes of its images in order. */
export async function hashVideo(path: string, signal?: AbortSignal): Promise<string> {
  const info = await stat(path).catch(() => undefined)
  if (!info?.isDirectory()) return hashFile(path, signal)
  const hash = createHash('sha256')
  for (const name of await listImages(path)) hash.update(`${name}\n${await hashFile(join(path, name), signal)}\n`)
  return hash.digest('hex')
}

/** A path that can be decoded, and what to do with it afterwards. */
export interface Source {
  local: string
  close(): Promise<void>
}

/** Unpacks a folder inside an archive; any other path stands for itself. @throws VideoError 'corrupt', 'no-images' */
export async function openSource(path: string): Promise<Source> {
  const inside = splitArchivePath(path)
  if (!inside) return { local: path, close: async () => {} }
  const local = await mkdtemp(join(tmpdir(), 'diptych-'))
  const close = () => rm(local, { recursive: true, force: true })
  try {
    for await (const { name, data } of readTar(inside.archive, (file) => dirname(file) === inside.folder))
      if (data) await writeFile(join(local, basename(name)), data)
    return { local, close }
  } catch (error) {
    await close()
    const fault = `the archive cannot be read (${(error as Error).message})`
    throw new VideoError('corrupt', path, fault, 'Download it again')
  }
}
