/** Where tuning results are kept between runs: a file in Node, IndexedDB in a browser. */
import { inNode } from '../device/open.ts'

export interface TuningStore {
  /** For messages. */
  readonly where: string
  /** The text last saved; undefined when there is none. May reject. */
  load(): Promise<string | undefined>
  /** Replaces it whole: a reader sees the old text or the new one. May reject. */
  save(text: string): Promise<void>
}

/** The platform's own store; undefined where there is none (a worker without IndexedDB). */
export async function openStore(): Promise<TuningStore | undefined> {
  if (!inNode) return (await import('./indexed.ts')).indexedStore()
  // A URL and not a literal path: a bundler for browsers would follow it to node:fs.
  const file = new URL(/* @vite-ignore */ './file.ts', import.meta.url).href
  return ((await import(/* @vite-ignore */ /* webpackIgnore: true */ file)) as typeof import('./file.ts')).fileStore()
}
