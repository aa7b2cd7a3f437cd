/**
 * Loading peers in Node: packages come from `peers/node_modules`, WebGPU from this project's Dawn, as the engine opened it (the
 * same adapter, the same flags).
 */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type AdapterKind, openDevice } from '../../engine/index.ts'

export const peersFolder = dirname(fileURLToPath(import.meta.url))
const require = createRequire(join(peersFolder, 'package.json'))

export const requirePeer = (name: string): any => require(name)

/** File of an installed package; not resolved through its exports. */
export const peerFile = (...path: string[]): string => join(peersFolder, 'node_modules', ...path)

/** Imports an ES module of a peer by its file, whatever its package exports. */
export const importPeer = (...path: string[]): Promise<any> => import(pathToFileURL(peerFile(...path)).href)

export const peerVersion = (name: string): string => require(peerFile(name, 'package.json')).version

/** Gives libraries that look for it a `navigator.gpu`. */
export async function provideWebGpu(adapter: AdapterKind): Promise<void> {
  const device = await openDevice({ adapter })
  const instances = (globalThis as { diptychInstances?: Map<string, GPU> }).diptychInstances
  const gpu = [...(instances?.values() ?? [])].at(-1)
  if (!gpu) throw new Error('bench: the engine opened no Dawn instance that peers could share')
  // Node 20 has no navigator; libraries also ask it for its user agent.
  const navigator = globalThis.navigator ?? { userAgent: `Node.js/${process.versions.node}` }
  Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true })
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true })
  device.destroy()
}

export const valuesOf = <T, U>(
  record: Readonly<Record<string, T>>,
  f: (value: T, name: string) => U,
): Record<string, U> => Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value, name)]))
