/** Which weights a command uses. */
import { readdir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from './errors.ts'

/** What `npm start` calls its weights, in a folder of its own under out/. */
const NAME = 'detector.safetensors'

/** The file given, or the newest that `npm start` left here or in the package's folder; `say` tells which. @throws UserError */
export async function findCheckpoint(given: string | undefined, say: (line: string) => void): Promise<string> {
  if (given !== undefined) {
    const info = await stat(given).catch(() => undefined)
    if (info?.isFile()) return given
    const fix = 'check the path; `npm start` trains a small detector and leaves its weights in out/demo'
    throw new UserError(`${given}: there are no weights of that name`, { fix })
  }
  const home = fileURLToPath(new URL('../../', import.meta.url))
  const found = (
    await Promise.all([...new Set([process.cwd(), home])].map((root) => checkpoints(join(root, 'out'))))
  ).flat()
  const newest = found.sort((a, b) => b.changed - a.changed)[0]
  if (!newest)
    throw new UserError('there are no weights to score with', {
      fix: 'run `npm start` to train a small detector, or name weights with --checkpoint',
    })
  const short = relative(process.cwd(), newest.path)
  const path = short.startsWith('..') ? newest.path : short
  say(`weights: ${path}, made by \`npm start\` on rendered faces (name others with --checkpoint)`)
  return path
}

async function checkpoints(folder: string): Promise<{ path: string; changed: number }[]> {
  const names = await readdir(folder).catch(() => [])
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name, NAME)
      const info = await stat(path).catch(() => undefined)
      return info?.isFile() ? [{ path, changed: info.mtimeMs }] : []
    }),
  )
  return found.flat()
}
