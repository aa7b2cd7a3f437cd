/** The benchmark's page: it bundles for a browser, is served, and measures a tiny group in Chromium where there is one. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ownGroupFiles } from '../../bench/groups.ts'
import type { Report } from '../../bench/results.ts'
import { serve } from '../../bench/serve.ts'
import { findChromium, howToGetChromium } from '../browser/chromium.ts'

const test = suite('bench page')
const { url, server } = await serve(ownGroupFiles(), 0)

test('serves a page, a script without Node, and nothing else', async () => {
  const page = await (await fetch(url)).text()
  assert.match(page, /<script type="module" src="\/bench.js">/)
  const script = await (await fetch(`${url}bench.js`)).text()
  assert.ok(script.length > 1e5)
  assert.not.match(script, /from\s*["']node:/)
  for (const path of ['package.json', '..%2fpackage.json', 'test/golden/../../package.json'])
    assert.is((await fetch(url + path)).status, 404, path)
})

test('measures a tiny group in Chromium', async () => {
  const executablePath = await findChromium()
  if (!executablePath) {
    console.log(`  not run, no Chromium: ${howToGetChromium}`)
    return
  }
  const { chromium } = await import('playwright-core')
  const args = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']
  const browser = await chromium.launch({ executablePath, headless: true, chromiumSandbox: false, args })
  try {
    const page = await browser.newPage()
    await page.goto(`${url}?quick&run&group=eigh`)
    await page.waitForFunction('globalThis.report !== undefined', undefined, { timeout: 120_000 })
    const report = (await page.evaluate('globalThis.report')) as Report & { error?: string }
    assert.is(report.error, undefined)
    assert.ok(report.ok && report.ceilings.gflops > 0)
    assert.equal(
      report.groups.map(({ name }) => name),
      ['eigh'],
    )
    const [result] = report.groups[0]!.rows[0]!.contestants
    assert.ok(result!.timing!.median > 0 && result!.counts!.dispatches === 1)
    const shown = await page.textContent('#results table')
    // Whichever unit the adapter's speed calls for.
    assert.match(shown!, /diptych.*\d\s*[mµ]s/)
  } finally {
    await browser.close()
  }
})

test.after(() => {
  server.close()
})
test.run()
