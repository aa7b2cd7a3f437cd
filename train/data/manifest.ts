/**
 * A manifest: the videos of a scan as JSON Lines, one video a line. Paths under the manifest's own folder are written relative
 * to it, so that a data set can be moved with its manifest.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { z } from 'zod'
import { UserError } from '../cli/errors.ts'
import { type VideoEntry, videoKey } from './types.ts'

const entrySchema = z.strictObject({
  dataset: z.string().min(1),
  id: z.string().min(1),
  path: z.string().min(1),
  label: z.union([z.literal(0), z.literal(1)]),
  method: z.string().min(1),
  compression: z.string().min(1).nullable(),
  identity: z.string().min(1),
  partner: z.string().nullable(),
  split: z.enum(['train', 'val', 'test']).nullable(),
  frames: z.int().nonnegative().optional(),
  fps: z.number().positive().optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
})

/** Writes all or nothing: a new file beside the old one, renamed over it. */
export async function writeManifest(file: string, entries: VideoEntry[]): Promise<void> {
  const folder = dirname(resolve(file))
  const lines = entries.map((entry) => {
    const inside = relative(folder, resolve(entry.path))
    const portable = inside.startsWith('..') || isAbsolute(inside) ? resolve(entry.path) : inside.split(sep).join('/')
    return JSON.stringify({ ...entry, path: portable })
  })
  await mkdir(folder, { recursive: true })
  const fresh = `${file}.${randomBytes(4).toString('hex')}.tmp`
  try {
    await writeFile(fresh, lines.map((line) => `${line}\n`).join(''))
    await rename(fresh, file)
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
}

/** Reads a manifest; paths come back absolute. Errors name the line and the field. */
export async function readManifest(file: string): Promise<VideoEntry[]> {
  const fix = 'write the manifest anew with `diptych scan`'
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new UserError(`${file}: the manifest cannot be read`, { fix, cause })
  }
  const folder = dirname(resolve(file))
  const lineOf = new Map<string, number>()
  const entries: VideoEntry[] = []
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return
    const at = `${file}:${i + 1}`
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (cause) {
      throw new UserError(`${at}: not JSON (${(cause as Error).message})`, { fix, cause })
    }
    const parsed = entrySchema.safeParse(value)
    if (!parsed.success) {
      const issue = parsed.error.issues[0]
      throw new UserError(`${at}: ${issue.path.join('.') || 'entry'}: ${issue.message}`, { fix })
    }
    const key = videoKey(parsed.data)
    if (lineOf.has(key)) throw new UserError(`${at}: ${key} is already on line ${lineOf.get(key)}`, { fix })
    lineOf.set(key, i + 1)
    entries.push({ ...parsed.data, path: resolve(folder, parsed.data.path) })
  })
  return entries
}
