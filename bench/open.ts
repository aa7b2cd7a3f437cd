/** Opens a library by name in this process; Node only. Peers must be installed (`peers/install.ts`). */
import { readFileSync } from 'node:fs'
import { type AdapterKind, openDevice } from '../engine/index.ts'
import type { Library, LibraryName } from './contract.ts'
import { DiptychLibrary } from './libraries/diptych.ts'

export const packageVersion = (file: URL): string => JSON.parse(readFileSync(file, 'utf8')).version

export async function openLibrary(name: LibraryName, adapter: AdapterKind): Promise<Library> {
  switch (name) {
    case 'diptych':
      return new DiptychLibrary(
        await openDevice({ adapter }),
        packageVersion(new URL('../package.json', import.meta.url)),
        async (path) => readFileSync(new URL(`../${path}`, import.meta.url)),
      )
    case 'tfjs':
      return (await import('./peers/tfjs.ts')).TfjsLibrary.open(adapter)
    case 'jax-js':
      return (await import('./peers/jax.ts')).JaxLibrary.open(adapter)
    case 'ort-web':
      return (await import('./peers/ort.ts')).OrtWebLibrary.open(adapter)
    case 'ort-node':
      return (await import('./peers/ort.ts')).OrtNodeLibrary.open(adapter)
  }
}
