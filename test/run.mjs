/**
 * Runs every `test/**\/*.test.ts`, each in a process of its own (one device a process), and the browser suite beside them.
 * Arguments filter by substring of the path: `npm test kernels/softmax`; `browser` alone runs only the browser suite.
 * A file fails if it exits with an error, outlasts its limit, or runs no test. The counts are printed on one last line
 * before what the browser suite says: `N passed, N failed`.
 * `--adapter swiftshader` (or `lavapipe`) runs the files on that software driver: `npm test -- --adapter swiftshader kernels`.
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

/** Runs a command; resolves to its exit code (null when it was killed), its output and its seconds. */
function execute(args) {
  const started = performance.now()
  return new Promise((resolve) => {
    // Its own process group, so that a time limit also ends what a test has started.
    const grouped = process.platform !== 'win32'
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], detached: grouped })
    let output = ''
    const collect = (text) => {
      output += text
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
    }, minutesPerFile * 60_000)
    child.on('close', (code) => {
      clearTimeout(timer)
      running.delete(kill)
      resolve({ code, output, timedOut, seconds: (performance.now() - started) / 1000 })
    })
  })
}

// What was tuned on this machine must not decide which kernels are tested.
const scratch = mkdtempSync(join(tmpdir(), 'diptych-tests-'))
process.env.DIPTYCH_CACHE = scratch
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))
// Mesa's software driver compiles in half the time without optimising: tests look at values, not at speed.
process.env.GALLIVM_PERF ??= 'nopt'

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

const report = { passed: 0, failed: 0, failures: [] }

async function runFile(file) {
  const { code, output, timedOut, seconds } = await execute(['--import', 'tsx', file])
  const { total, passed, skipped } = counts(stripVTControlCharacters(output))
  let failed = total - passed
  let problem = ''
  if (timedOut) problem = `killed after ${minutesPerFile} minutes`
  else if (total === 0) problem = code === 0 ? 'ran no test' : `ended with code ${code} before any result`
  else if (passed === 0) problem = 'ran no test'
  else if (code !== 0 && failed === 0) problem = `exit code ${code} after its tests`
  if (problem && failed === 0) failed = 1
  report.passed += passed
  report.failed += failed
  const time = `${seconds.toFixed(1)} s`
  if (failed === 0) {
    console.log(`ok    ${file}  ${passed} passed, ${skipped ? `${skipped} skipped, ` : ''}${time}`)
    return
  }
  report.failures.push(file)
  console.log(`FAIL  ${file}  ${passed} passed, ${failed} failed, ${time}${problem ? ` (${problem})` : ''}`)
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

async function runAll(files, browser) {
  const queue = [...browser, ...files.filter((file) => !isSlow(file)).map((file) => () => runFile(file))]
  const worker = async () => {
    for (let run = queue.shift(); run; run = queue.shift()) await run()
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  for (const file of files.filter(isSlow)) await runFile(file)
}

/** Without an adapter nearly every file would fail alike; say so once instead. */
async function adapterProblem() {
  const open = `import { requestGpu } from './engine/device/open.ts'
    try { const { adapter } = await requestGpu(); console.log('adapter: ' + (adapter.description || adapter.device)) }
    catch (error) { console.log(String(error?.message ?? error)); process.exitCode = 1 }`
  const { code, output } = await execute(['--import', 'tsx', '--input-type=module', '--eval', open])
  const told = output.split('\n').filter((line) => !/^(Warning:|diptych:|\s+at )/.test(line))
  if (code === 0) console.log(told.join('\n').trim())
  return code === 0 ? undefined : told.join('\n').trim()
}

/** Whether it passed, and what is to be told of it. */
async function runBrowserSuite() {
  const chromium = await execute(['--import', 'tsx', 'test/browser/chromium.ts'])
  if (chromium.code !== 0) {
    // 1: there is none, which only fails a run that asked for it; 2: CHROMIUM_PATH is wrong.
    const passed = chromium.code === 1 && filters.length === 0
    return { passed, told: `browser suite not run: ${chromium.output.trim()}` }
  }
  const { code, timedOut, output } = await execute(['--import', 'tsx', 'test/browser/run.ts'])
  const told = timedOut ? `${output}browser suite killed after ${minutesPerFile} minutes` : output.trimEnd()
  return { passed: code === 0, told }
}

/** Names of the options' drivers in the names of their manifests. */
const drivers = { lavapipe: 'lvp_icd', swiftshader: 'vk_swiftshader_icd' }

/** Makes every child load that Vulkan driver and no other; ends the run where there is none. */
async function takeDriver(name) {
  const find = `import { softwareDrivers } from './engine/device/node.ts'
    console.log(softwareDrivers().find((file) => file.includes('${drivers[name]}')) ?? '')`
  const { output } = await execute(['--import', 'tsx', '--input-type=module', '--eval', find])
  const file = output.trim()
  if (!drivers[name] || !file) {
    console.log(
      `FAIL  --adapter: ${drivers[name] ? `no ${name} here: run \`npm run setup\`` : 'lavapipe or swiftshader'}`,
    )
    process.exit(1)
  }
  process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES = file
}

const filters = process.argv.slice(2)
const option = filters.indexOf('--adapter')
if (option >= 0) await takeDriver(filters.splice(option, 2)[1])
const chosen = (file) => filters.length === 0 || filters.some((filter) => file.includes(filter))
const files = testFiles(`${root}test`).sort().filter(chosen)
const withBrowser = filters.length === 0 || filters.includes('browser')

if (files.length === 0 && !withBrowser) {
  console.log(`No test file matches ${filters.map((f) => `'${f}'`).join(', ')}.`)
  process.exit(1)
}
const problem = await adapterProblem()
if (problem) {
  console.log(`FAIL  no device to test on\n      ${problem.split('\n').join('\n      ')}\n0 passed, 1 failed`)
  process.exit(1)
}
// First, beside the files: it mostly waits for one core.
let browser = { passed: true, told: '' }
const startBrowser = async () => {
  browser = await runBrowserSuite()
}
await runAll(files, withBrowser ? [startBrowser] : [])
if (report.failures.length) console.log(`\nfailed: ${report.failures.join(', ')}`)
console.log(`${report.passed} passed, ${report.failed} failed`)
if (browser.told) console.log(browser.told)
process.exitCode = report.failed === 0 && browser.passed ? 0 : 1
