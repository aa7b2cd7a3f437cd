/** Tuning results in Node: one JSON file in the user's cache folder. */
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TuningStore } from './store.ts'

/** The folder that this program may keep what it can do without in; DIPTYCH_CACHE names another. */
export function cacheFolder(
  env: NodeJS.ProcessEnv = process.env,
  platform = process.platform,
  home = homedir(),
): string {
  if (env.DIPTYCH_CACHE) return env.DIPTYCH_CACHE
  if (platform === 'win32') return join(env.LOCALAPPDATA || join(home, 'AppData', 'Local'), 'diptych')
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'diptych')
  return join(env.XDG_CACHE_HOME || join(home, '.cache'), 'diptych')
}

export function fileStore(path = join(cacheFolder(), 'tuning.json')): TuningStore {
  return {
    where: path,
    async load() {
      try {
        return await readFile(path, 'utf8')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
    },
    async save(text) {
      await mkdir(dirname(path), { recursive: true })
      // Written beside it and renamed: a program that is stopped in between leaves the old file.
      const temporary = `${path}.${randomUUID()}`
      try {
        await writeFile(temporary, text)
        await rename(temporary, path)
      } catch (error) {
        await rm(temporary, { force: true })
        throw error
      }
    },
  }
}
