/**
 * Kernel tests (test/kernels/*.test.ts, unchanged) and the shared cases (test/shared/*.cases.ts) in headless Chromium: each file is bundled
 * with esbuild, served on 127.0.0.1 and run in a page of its own, on SwiftShader unless DIPTYCH_BROWSER_GPU=1 asks for the machine's GPU.
 * A file fails if a test does, if it runs none, cannot be bundled, throws, crashes the page or outlasts its limit. Exits 1 if one failed or
 * none ran; the last line holds the counts. Arguments filter files by substring of the path.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { stripVTControlCharacters } from 'node:util'
import { type Browser, chromium } from 'playwright-core'
import { findChromium, howToGetChromium } from './chromium.ts'
import { bundle, pageFiles } from './files.ts'
import type { PageResult } from './page.ts'

const minutes = Number(process.env.DIPTYCH_TEST_MINUTES ?? 10)

/** Serves an empty page at `/`, and as scripts the texts of the map that comes back. */
async function serve(): Promise<{ url: string; scripts: Map<string, string>; close(): void }> {
  const scripts = new Map<string, string>()
  const server = createServer((request, response) => {
    const script = scripts.get(request.url ?? '')
    if (script === undefined && request.url !== '/') response.statusCode = 404
    response.setHeader('content-type', script === undefined ? 'text/html; charset=utf-8' : 'text/javascript')
    response.end(script ?? '<!doctype html><title>diptych</title><link rel="icon" href="data:,">')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/`, scripts, close: () => server.close() }
}

async function launch(executablePath: string): Promise<Browser> {
  const args = ['--enable-unsafe-webgpu']
  if (process.env.DIPTYCH_BROWSER_GPU === '1') args.push('--enable-features=Vulkan', '--use-angle=vulkan')
  else args.push('--use-webgpu-adapter=swiftshader')
  return chromium.launch({ executablePath, headless: true, chromiumSandbox: false, args })
}

/** The result of the script at `path` in a page of its own; rejects with what the page threw, or why it gave none. */
async function runInPage(browser: Browser, url: string, path: string): Promise<PageResult> {
  const page = await browser.newPage()
  let stop = () => {}
  const failure = new Promise<never>((_, reject) => {
    const ended = () => reject(new Error('the browser ended'))
    const timer = setTimeout(() => reject(new Error(`no result after ${minutes} minutes`)), minutes * 60_000)
    page.on('pageerror', reject)
    page.on('crash', () => reject(new Error('the page crashed')))
    browser.on('disconnected', ended)
    stop = () => {
      clearTimeout(timer)
      browser.off('disconnected', ended)
    }
  })
  page.on('console', (message) => {
    if (message.type() === 'error') console.log(`      ${path}: ${message.text()}`)
  })
  const result = (async () => {
    await page.goto(url)
    return (await page.evaluate(`import('${path}').then(({ result }) => result)`)) as PageResult
  })()
  try {
    const outcome = await Promise.race([result, failure])
    await page.close()
    return outcome
  } finally {
    stop()
    result.catch(() => {})
  }
}

const indented = (text: string) => text.trim().split('\n').join('\n      ')
const messageOf = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error))

async function main(): Promise<boolean> {
  const executablePath = await findChromium()
  if (!executablePath) throw new Error(`No Chromium found: ${howToGetChromium}.`)
  const { files, left } = pageFiles(process.argv.slice(2))
  for (const { file, reason } of left) console.log(`      not in Chromium: test/${file} ${reason}`)
  if (files.length === 0) throw new Error('no test file for pages matches')
  const server = await serve()
  let browser = await launch(executablePath)
  const version = browser.version()
  const counts = { passed: 0, failed: 0 }
  const report = (file: string, passed: number, failed: number, since: number, told: string) => {
    counts.passed += passed
    counts.failed += failed
    const seconds = ((performance.now() - since) / 1000).toFixed(1)
    const numbers = `${passed} passed, ${failed ? `${failed} failed, ` : ''}${seconds} s`
    console.log(
      `${failed ? 'FAIL' : 'ok  '}  test/${file} in Chromium  ${numbers}${told ? `\n      ${indented(told)}` : ''}`,
    )
  }
  for (const file of files) {
    const started = performance.now()
    try {
      const path = `/${file}.js`
      server.scripts.set(path, await bundle(file))
      const { total, passed, errors } = await runInPage(browser, server.url, path)
      server.scripts.delete(path)
      const told = total === 0 ? 'ran no test' : stripVTControlCharacters(errors.join('\n'))
      report(file, passed, total === 0 ? 1 : total - passed, started, told)
    } catch (error) {
      report(file, 0, 1, started, messageOf(error))
      // A page that hangs or a process that crashed must not decide over the next file.
      await browser.close().catch(() => {})
      browser = await launch(executablePath)
    }
  }
  await browser.close()
  server.close()
  console.log(`in Chromium ${version}: ${counts.passed} passed, ${counts.failed} failed`)
  return counts.failed === 0 && counts.passed > 0
}

try {
  if (!(await main())) process.exitCode = 1
} catch (error) {
  console.log(`in Chromium: failed, ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
