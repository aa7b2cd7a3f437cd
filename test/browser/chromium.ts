/** Finds a Chromium for the browser tests. Run as a program it prints the path, or what to do. Exits 1 if there is none. */
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const commands = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']
const macApplications = ['Google Chrome', 'Chromium'].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`)

function executable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Path of a Chromium or Chrome, or undefined. `CHROMIUM_PATH` wins; an error if it names no program. */
export async function findChromium(): Promise<string | undefined> {
  const given = process.env.CHROMIUM_PATH
  if (given) {
    if (executable(given)) return given
    throw new Error(`CHROMIUM_PATH is set to '${given}', which is no program.`)
  }
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin']
  const candidates = [...commands.flatMap((name) => folders.map((folder) => join(folder, name))), ...macApplications]
  const found = candidates.find(executable)
  if (found) return found
  // The one that `playwright-core install chromium` downloads.
  const { chromium } = await import('playwright-core')
  const downloaded = chromium.executablePath()
  return downloaded && existsSync(downloaded) ? downloaded : undefined
}

export const howToGetChromium = 'run `npm run setup`, or set CHROMIUM_PATH to a Chromium or Chrome'

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const found = await findChromium()
    console.log(found ?? `no Chromium found; ${howToGetChromium}.`)
    if (!found) process.exitCode = 1
  } catch (error) {
    console.log((error as Error).message)
    process.exitCode = 2
  }
}
