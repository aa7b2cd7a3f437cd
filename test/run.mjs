/**
 * Runs every `test/**\/*.test.ts`, each in a process of its own (one device a process), on the machine's own adapter: a GPU, or the software
 * Vulkan driver that stands in for it. Beside that runs the browser suite (test/browser/run.ts): the kernels' files and the shared cases in
 * headless Chromium, on SwiftShader. `test/kernels/` runs once more on every other software driver that is installed (lavapipe; SwiftShader
 * where the browser suite does not run on it), beside a GPU too, since kernels choose other variants on a CPU.
 *
 * Arguments filter by substring of the path: `npm test kernels/softmax` runs that file on every one of these adapters. `browser` runs the
 * browser suite, too (alone: nothing else); other filters beside it choose its files as well.
 * `--adapter swiftshader` (or `lavapipe`) runs all the files on that software driver and no other, and the browser suite only if it is named:
 * `npm test -- --adapter swiftshader kernels`.
 *
 * A file fails if it exits with an error, outlasts its limit, or runs no test. The last lines are the counts: `N passed, N failed` on the
 * machine's own adapter, then a line for every other driver and for Chromium, with the counts or why it was not run and how to get it.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'

const root = fileURLToPath(new URL('../', import.meta.url))
const minutesPerFile = Number(process.env.DIPTYCH_TEST_MINUTES ?? 10)
const atOnce = 2

/** Lines that Dawn and the Vulkan loader print on stderr whatever one does; no failure is explained by them. */
const noise = /^Warning: max\w+ artificially reduced from /

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return relative(root, path) === `test${sep}browser` ? [] : testFiles(path)
    return entry.name.endsWith('.test.ts') ? [relative(root, path).split(sep).join('/')] : []
  })
}

/** Runs a TypeScript program; resolves to its exit code (null when it was killed), its output and its seconds. */
function execute(program, { environment = {}, minutes = minutesPerFile, heard = () => {} } = {}) {
  const started = performance.now()
  return new Promise((resolve) => {
    // Its own process group, so that a time limit also ends what a test has started.
    const grouped = process.platform !== 'win32'
    const child = spawn(process.execPath, ['--import', 'tsx', ...program], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
      detached: grouped,
    })
    let output = ''
    const collect = (text) => {
      output += text
      heard(output)
    }
    child.stdout.setEncoding('utf8').on('data', collect)
    child.stderr.setEncoding('utf8').on('data', collect)
    const kill = () => {
      try {
        if (grouped) process.kill(-child.pid, 'SIGKILL')
        else child.kill('SIGKILL')
      } catch {}
    }
    running.add(kill)
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      kill()
    }, minutes * 60_000)
    child.on('close', (code) => {
      clearTimeout(timer)
      running.delete(kill)
      resolve({ code, output, timedOut, seconds: (performance.now() - started) / 1000 })
    })
  })
}

// What was tuned on this machine must not decide which kernels are tested.
const scratch = mkdtempSync(join(tmpdir(), 'diptych-tests-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))
// Mesa's software driver compiles in half the time without optimising: tests look at values, not at speed.
process.env.GALLIVM_PERF ??= 'nopt'

process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --import=${new URL('support/rest.mjs', import.meta.url)}`

const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    for (const kill of running) kill()
    process.exit(130)
  })

/** Sums uvu's `Total:` and `Passed:` lines; a file may hold several suites. */
function counts(output) {
  const sum = (word) =>
    [...output.matchAll(new RegExp(`^\\s*${word}:\\s+(\\d+)`, 'gm'))].reduce((total, m) => total + Number(m[1]), 0)
  return { total: sum('Total'), passed: sum('Passed'), skipped: sum('Skipped') }
}

/** An adapter as test/support/adapters.ts tells of it, with a cache and counts of its own; `where` says it, unless it is the first. */
const prepared = (adapter, index) => ({
  ...adapter,
  where: index ? ` on ${adapter.name}` : '',
  environment: { ...adapter.environment, DIPTYCH_CACHE: join(scratch, String(index)) },
  passed: 0,
  failed: 0,
  failures: [],
})

async function runFile(file, adapter) {
  const { code, output, timedOut, seconds } = await execute([file], adapter)
  const { total, passed, skipped } = counts(stripVTControlCharacters(output))
  let failed = total - passed
  let problem = ''
  if (timedOut) problem = `killed after ${minutesPerFile} minutes`
  else if (total === 0) problem = code === 0 ? 'ran no test' : `ended with code ${code} before any result`
  else if (passed === 0) problem = 'ran no test'
  else if (code !== 0 && failed === 0) problem = `exit code ${code} after its tests`
  if (problem && failed === 0) failed = 1
  adapter.passed += passed
  adapter.failed += failed
  const time = `${seconds.toFixed(1)} s`
  if (failed === 0) {
    console.log(`ok    ${file}${adapter.where}  ${passed} passed, ${skipped ? `${skipped} skipped, ` : ''}${time}`)
    return
  }
  adapter.failures.push(`${file}${adapter.where}`)
  console.log(
    `FAIL  ${file}${adapter.where}  ${passed} passed, ${failed} failed, ${time}${problem ? ` (${problem})` : ''}`,
  )
  const lines = output.split('\n').filter((line) => !noise.test(line))
  console.log(
    lines
      .map((line) => `      ${line}`)
      .join('\n')
      .trimEnd(),
  )
}

/** Slow files run alone: they use every core, or measure. */
const isSlow = (file) => file.endsWith('.slow.test.ts')

async function runAll(runs, browser) {
  const start = ({ file, adapter }) => runFile(file, adapter)
  const queue = [...browser, ...runs.filter(({ file }) => !isSlow(file)).map((run) => () => start(run))]
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await next()
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  for (const run of runs.filter(({ file }) => isSlow(file))) await start(run)
}

/** The adapters to test on, the machine's own first, or only that of `--adapter`; ends the run where there is none. */
async function findAdapters(only) {
  const { output } = await execute(['test/support/adapters.ts', ...only])
  const lines = output.trim().split('\n')
  const json = lines.find((line) => line.startsWith('[{'))
  const adapters = json ? JSON.parse(json) : [{ problem: lines.join('\n      ') }]
  // Without an adapter nearly every file would fail alike; say so once instead.
  if (adapters[0].problem) {
    const { name, problem } = adapters[0]
    console.log(`FAIL  no device to test on\n      ${name ? `${name}: ` : ''}${problem}\n0 passed, 1 failed`)
    process.exit(1)
  }
  return adapters.map(prepared)
}

/** Prints what the browser suite says as it comes. Returns whether it passed, and its last line, which sums up. */
async function runBrowserSuite(chromium, filters) {
  if (chromium.code !== 0) {
    // 1: there is none, which only fails a run that asked for it; 2: CHROMIUM_PATH is wrong.
    const passed = chromium.code === 1 && !named
    return { passed, told: `browser suite not run: ${chromium.output.trim()}` }
  }
  let printed = 0
  const heard = (output) => {
    const end = output.trimEnd().lastIndexOf('\n')
    if (end > printed) console.log(output.slice(printed, end))
    printed = Math.max(printed, end + 1)
  }
  const { code, timedOut, output } = await execute(['test/browser/run.ts', ...filters], {
    minutes: 3 * minutesPerFile,
    heard,
  })
  const told = output.slice(printed).trim()
  return {
    passed: code === 0,
    told: timedOut ? `${told}\nin Chromium: killed after ${3 * minutesPerFile} minutes` : told,
  }
}

/** The line of an adapter that is not the first. */
function summary({ name, description, problem, passed, failed }) {
  if (problem) return `kernels not run on ${name}: ${problem}`
  return `kernels on ${name} (${description}): ${passed} passed, ${failed} failed`
}

const filters = process.argv.slice(2)
const option = filters.indexOf('--adapter')
const only = option < 0 ? [] : filters.splice(option, 2).slice(1)
if (option >= 0 && !only.length) only.push('')
const named = filters.includes('browser')
const ofFiles = filters.filter((filter) => filter !== 'browser')
const chosen = (file) => filters.length === 0 || ofFiles.some((filter) => file.includes(filter))
const files = testFiles(`${root}test`).sort().filter(chosen)
const withBrowser = named || (filters.length === 0 && !only.length)

if (files.length === 0 && !withBrowser) {
  console.log(`No test file matches ${filters.map((f) => `'${f}'`).join(', ')}.`)
  process.exit(1)
}
const [main, ...others] = files.length ? await findAdapters(only) : []
if (main) console.log(`adapter: ${main.description}`)
const kernels = files.filter((file) => file.startsWith('test/kernels/'))
const chromium = withBrowser ? await execute(['test/browser/chromium.ts']) : undefined
// In Chromium the kernels run on SwiftShader, so that it needs no run of its own.
const inBrowser = chromium?.code === 0 && process.env.DIPTYCH_BROWSER_GPU !== '1' ? 'SwiftShader' : undefined
const drivers = kernels.length ? others.filter(({ name }) => name !== inBrowser) : []
const runs = [
  ...files.map((file) => ({ file, adapter: main })),
  ...drivers.filter(({ problem }) => !problem).flatMap((adapter) => kernels.map((file) => ({ file, adapter }))),
]
// First, beside the files: it mostly waits for one core.
let browser = { passed: true, told: '' }
const startBrowser = async () => {
  browser = await runBrowserSuite(chromium, ofFiles)
}
await runAll(runs, withBrowser ? [startBrowser] : [])
const used = main ? [main, ...drivers] : []
const failures = used.flatMap((adapter) => adapter.failures)
if (failures.length) console.log(`\nfailed: ${failures.join(', ')}`)
if (main) console.log(`${main.passed} passed, ${main.failed} failed`)
for (const adapter of drivers) console.log(summary(adapter))
if (browser.told) console.log(browser.told)
process.exitCode = failures.length === 0 && browser.passed ? 0 : 1
