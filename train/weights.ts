/** Weights in files: one safetensors file, or one cut in pieces (`model.safetensors.index.json` names which tensor lies where). */
import { readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { z } from 'zod'
import { parseSafetensors, SafetensorsError, type SafetensorsTensor } from '../engine/safetensors.ts'

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

const isFile = (path: string) =>
  stat(path).then(
    (info) => info.isFile(),
    () => false,
  )

/**
 * All tensors of `path`: a safetensors file, an index of pieces beside it, or a folder with either. F16 and BF16 are widened.
 * @throws SafetensorsError naming the file, and each tensor that the index announces and its piece has not
 */
export async function readWeights(path: string): Promise<Map<string, SafetensorsTensor>> {
  const info = await stat(path)
  if (info.isDirectory()) {
    for (const name of ['model.safetensors', 'model.safetensors.index.json'])
      if (await isFile(join(path, name))) return readWeights(join(path, name))
    throw new SafetensorsError(path, undefined, 'neither model.safetensors nor model.safetensors.index.json is in it')
  }
  if (!path.endsWith('.json')) return parseSafetensors(await readFile(path), { file: path }).tensors
  const pieces = await readIndex(path)
  const all = new Map<string, SafetensorsTensor>()
  for (const [file, names] of pieces) {
    const { tensors } = parseSafetensors(await readFile(file), { file })
    const absent = [...names].filter((name) => !tensors.has(name))
    if (absent.length) throw new SafetensorsError(file, undefined, `it lacks ${absent.join(', ')}, which ${path} lists`)
    for (const [name, tensor] of tensors) if (names.has(name)) all.set(name, tensor)
  }
  return all
}

/** Names of tensors by the file that holds them. */
async function readIndex(path: string): Promise<Map<string, Set<string>>> {
  let parsed: unknown
  try {
    parsed = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw new SafetensorsError(path, undefined, `the index is not JSON: ${(error as Error).message}`)
  }
  const index = indexSchema.safeParse(parsed)
  if (!index.success) throw new SafetensorsError(path, undefined, 'it has no weight_map of tensor names to file names')
  const folder = resolve(dirname(path))
  const pieces = new Map<string, Set<string>>()
  for (const [name, file] of Object.entries(index.data.weight_map)) {
    const at = resolve(folder, file)
    if (!at.startsWith(folder + sep)) throw new SafetensorsError(path, name, `its file ${file} lies outside the folder`)
    pieces.set(at, (pieces.get(at) ?? new Set()).add(name))
  }
  return pieces
}
