/** File helpers that the data set readers share. All listings are sorted, so that a scan gives the same manifest everywhere. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { UserError } from '../cli/errors.ts'

const VIDEO_EXTENSIONS = new Set(['.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.flv', '.wmv'])
const IMAGE_EXTENSIONS = new Set(['.png', '.jpg', '.jpeg', '.webp', '.bmp'])

export const isVideo = (name: string): boolean => VIDEO_EXTENSIONS.has(extname(name).toLowerCase())
export const isImage = (name: string): boolean => IMAGE_EXTENSIONS.has(extname(name).toLowerCase())
export const stem = (path: string): string => basename(path, extname(path))

/** Names are compared by code unit, not by locale: two machines must agree. */
export const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

export async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (s) => s.isDirectory(),
    () => false,
  )
}

/** Sorted names of the sub-folders and of the files of a folder, hidden ones left out; empty if there is no such folder. */
export async function listFolder(path: string): Promise<{ folders: string[]; files: string[] }> {
  if (!(await isFolder(path))) return { folders: [], files: [] }
  const folders: string[] = []
  const files: string[] = []
  for (const entry of (await readdir(path, { withFileTypes: true })).sort((a, b) => byName(a.name, b.name))) {
    if (entry.name.startsWith('.')) continue
    // Data sets are often trees of symbolic links.
    const folder = entry.isSymbolicLink() ? await isFolder(join(path, entry.name)) : entry.isDirectory()
    ;(folder ? folders : files).push(entry.name)
  }
  return { folders, files }
}

/** A text file of the data set, or a UserError that says what it is for. */
export async function readText(path: string, purpose: string, fix: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '')
  } catch (cause) {
    throw new UserError(`${path}: ${purpose} cannot be read`, { fix, cause })
  }
}

export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new UserError(`${path}: not valid JSON (${(cause as Error).message})`, {
      fix: 'fetch the file again from the owners of the data set',
      cause,
    })
  }
}

/** Lines of a text file, trimmed, empty ones and # comments left out, with their numbers. */
export function numberedLines(text: string): { line: number; text: string }[] {
  return text
    .split(/\r?\n/)
    .map((line, i) => ({ line: i + 1, text: line.trim() }))
    .filter(({ text }) => text !== '' && !text.startsWith('#'))
}

/** The root of a data set, checked; the error shows the layout that was expected. */
export async function requireFolder(path: string, what: string, layout: string): Promise<void> {
  if (await isFolder(path)) return
  throw new UserError(`${path}: no such folder, wanted for ${what}`, { fix: `expected layout: ${layout}` })
}
