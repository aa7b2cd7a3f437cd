/**
 * The shared cases (test/shared/*.cases.ts) in headless Chromium: bundled with esbuild, served on 127.0.0.1, run on
 * SwiftShader unless DIPTYCH_BROWSER_GPU=1 asks for the machine's GPU. Exits 1 if a case fails or none ran.
 * Arguments filter case files by substring.
 */
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium } from 'playwright-core'
import { findChromium, howToGetChromium } from './chromium.ts'
import type { BrowserResult } from './page.ts'

const folder = fileURLToPath(new URL('.', import.meta.url))
const minutes = Number(process.env.DIPTYCH_TEST_MINUTES ?? 10)

function caseFiles(filters: string[]): string[] {
  return readdirSync(new URL('../shared/', import.meta.url))
    .filter((name) => name.endsWith('.cases.ts'))
    .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
    .sort()
}

/** One script that leaves the promise of all results in `results`. */
async function bundle(names: string[]): Promise<string> {
  const imports = names.map((name, i) => `import * as file${i} from '../shared/${name}'`)
  const table = names.map((name, i) => `'${name}': file${i}`)
  const contents = [
    `import { runCases } from './page.ts'`,
    ...imports,
    `globalThis.results = runCases({ ${table.join(', ')} })`,
  ].join('\n')
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: folder, sourcefile: 'cases.ts', loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    // Dawn for Node, which test/support/program.ts loads there only.
    external: ['webgpu'],
    target: 'es2022',
    sourcemap: 'inline',
    logLevel: 'error',
  })
  return outputFiles[0]!.text
}

async function serve(script: string): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/cases.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8')
    response.end(
      isScript ? script : '<!doctype html><title>diptych</title><script type="module" src="/cases.js"></script>',
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() }
}

async function launch(executablePath: string): Promise<Browser> {
  const args = ['--enable-unsafe-webgpu']
  if (process.env.DIPTYCH_BROWSER_GPU === '1') args.push('--enable-features=Vulkan', '--use-angle=vulkan')
  else args.push('--use-webgpu-adapter=swiftshader')
  return chromium.launch({ executablePath, headless: true, chromiumSandbox: false, args })
}

async function collect(browser: Browser, url: string): Promise<BrowserResult[]> {
  const page = await browser.newPage()
  // What a page throws outside a case would otherwise only show as a missing result.
  const thrown = new Promise<never>((_, reject) => {
    page.on('pageerror', (error) => reject(error))
    page.on('crash', () => reject(new Error('the page crashed')))
    setTimeout(() => reject(new Error(`no result after ${minutes} minutes`)), minutes * 60_000).unref()
  })
  page.on('console', (message) => {
    if (message.type() === 'error' && !/favicon/.test(message.location().url)) console.log(`  page: ${message.text()}`)
  })
  const results = (async () => {
    await page.goto(url)
    await page.waitForFunction('globalThis.results !== undefined', undefined, { timeout: 60_000 })
    return (await page.evaluate('globalThis.results')) as BrowserResult[]
  })()
  return Promise.race([results, thrown])
}

async function main(): Promise<boolean> {
  const executablePath = await findChromium()
  if (!executablePath) throw new Error(`No Chromium found: ${howToGetChromium}.`)
  const names = caseFiles(process.argv.slice(2))
  if (names.length === 0) throw new Error('no test/shared/*.cases.ts matches')
  const server = await serve(await bundle(names))
  const browser = await launch(executablePath)
  try {
    const results = await collect(browser, server.url)
    for (const { file, name, error } of results)
      if (error) console.log(`FAIL  ${file}  ${name}\n      ${error.split('\n').join('\n      ')}`)
    const failed = results.filter((result) => result.error).length
    console.log(`browser (Chromium ${browser.version()}): ${results.length - failed} passed, ${failed} failed`)
    return failed === 0 && results.length > 0
  } finally {
    await browser.close()
    server.close()
  }
}

try {
  if (!(await main())) process.exitCode = 1
} catch (error) {
  console.log(`browser suite failed: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
