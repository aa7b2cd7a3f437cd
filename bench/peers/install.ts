/** Installs the peers from their own lockfile, once; `npm ci` of the project never does. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { peersFolder } from './load.ts'

/** Whether what is installed is what the lockfile asks for. */
function upToDate(): boolean {
  const installed = join(peersFolder, 'node_modules', '.package-lock.json')
  if (!existsSync(installed)) return false
  const packages = (file: string) =>
    JSON.parse(readFileSync(file, 'utf8')).packages as Record<string, { version: string }>
  const have = packages(installed)
  return Object.entries(packages(join(peersFolder, 'package-lock.json'))).every(
    ([path, { version }]) => path === '' || have[path]?.version === version,
  )
}

/** @throws Error with npm's own words when the packages cannot be had */
export function installPeers(tell: (what: string) => void): void {
  if (upToDate()) return
  tell('installing the peers (npm ci --prefix bench/peers, about 900 MB)')
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  const { status, stderr, error } = spawnSync(npm, ['ci', '--prefix', peersFolder, '--no-audit', '--no-fund'], {
    encoding: 'utf8',
    // onnxruntime-node would download CUDA libraries.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
    shell: process.platform === 'win32',
  })
  if (status !== 0)
    throw new Error(
      `bench: the peers could not be installed: ${(error?.message ?? stderr ?? '').trim().split('\n').at(-1)}`,
    )
}
