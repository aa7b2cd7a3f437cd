/** Opens a device on whatever platform the program runs on: Dawn in Node, `navigator.gpu` elsewhere. */
import type { OpenedGpu, OpenOptions } from './adapter.ts'

/** Node with Dawn, and not a browser or another runtime. */
export const inNode = typeof process !== 'undefined' && !!process.versions?.node && !('Deno' in globalThis)

/**
 * A device with every useful feature and the adapter's own limits. Throws `DeviceError`, which says what to install or
 * change, when there is no adapter.
 */
export async function requestGpu(options: OpenOptions = {}): Promise<OpenedGpu> {
  if (!inNode) return (await import('./browser.ts')).openBrowserGpu(options)
  // A URL and not a literal path: a bundler for browsers follows literals, and would pull in node:fs and Dawn.
  const file = new URL(/* @vite-ignore */ './node.ts', import.meta.url).href
  const node = (await import(/* @vite-ignore */ /* webpackIgnore: true */ file)) as typeof import('./node.ts')
  return node.openNodeGpu(options)
}
