/**
 * A program that prints, as JSON, which adapters this machine can run tests on (test/run.mjs starts it). An argument names the one software
 * driver to look for, in place of the machine's own adapter and all others.
 */
import { existsSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { type AdapterDescription, describeAdapter } from '../../engine/device/adapter.ts'
import { driverVariables, softwareDrivers } from '../../engine/device/node.ts'
import { requestGpu } from '../../engine/device/open.ts'
import { findChromium } from '../browser/chromium.ts'

interface Driver {
  readonly name: string
  /** In the name of its manifest. */
  readonly manifest: string
  /** In what Dawn says of its adapter. */
  readonly adapter: RegExp
  readonly get: string
}

const drivers: readonly Driver[] = [
  {
    name: 'lavapipe',
    manifest: 'lvp_icd',
    adapter: /llvmpipe/i,
    get: 'install Mesa 24 or newer (mesa-vulkan-drivers)',
  },
  {
    name: 'SwiftShader',
    manifest: 'vk_swiftshader_icd',
    adapter: /swiftshader/i,
    get: 'it comes with Chromium: run `npm run setup`, or set CHROMIUM_PATH to a Chromium or Chrome',
  },
]

interface TestAdapter {
  /** `lavapipe`, `SwiftShader`, or the adapter's own name. */
  readonly name: string
  readonly description: string
  /** What a process has to find in its environment to use this adapter and no other; empty for the machine's own choice. */
  readonly environment: Readonly<Record<string, string>>
  /** Why it cannot be used, if so. */
  readonly problem?: string
}

/** Manifests of a driver. All are named to the loader, which passes over those of another architecture. */
async function manifestsOf(driver: Driver): Promise<string[]> {
  const chromium = await findChromium().catch(() => undefined)
  const beside = chromium ? join(dirname(realpathSync(chromium)), 'vk_swiftshader_icd.json') : ''
  return [...new Set([...softwareDrivers(), beside])].filter(
    (file) => file.includes(driver.manifest) && existsSync(file),
  )
}

const named = (adapter: AdapterDescription) =>
  drivers.find((driver) => driver.adapter.test(`${adapter.description} ${adapter.device}`))?.name

const unusable = (name: string, problem: string): TestAdapter => ({ name, description: '', environment: {}, problem })

async function open(environment: TestAdapter['environment']): Promise<TestAdapter> {
  const before = { ...process.env }
  Object.assign(process.env, environment)
  try {
    const { adapter, device } = await requestGpu()
    device.destroy()
    const description = describeAdapter(adapter)
    return { name: named(adapter) ?? description, description, environment }
  } catch (error) {
    return unusable('', (error as Error).message)
  } finally {
    for (const name of Object.keys(environment)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  }
}

/** The adapter of a software driver, alone. */
async function openDriver(driver: Driver): Promise<TestAdapter> {
  if (process.platform !== 'linux') return unusable(driver.name, 'software drivers are looked for on Linux only')
  const files = (await manifestsOf(driver)).join(delimiter)
  if (!files) return unusable(driver.name, `it is not installed: ${driver.get}`)
  const opened = await open({ VK_DRIVER_FILES: files, VK_ICD_FILENAMES: files })
  if (opened.name === driver.name) return opened
  return unusable(driver.name, `Dawn gets no adapter of it from ${files}: ${driver.get}`)
}

/** The adapter that programs take here, and after it every software driver that is another one. */
async function all(): Promise<TestAdapter[]> {
  const main = await open({})
  if (main.problem) return [main]
  const chosen = driverVariables.find((name) => process.env[name] !== undefined)
  const adapters = [main]
  for (const driver of drivers.filter(({ name }) => name !== main.name))
    adapters.push(chosen ? unusable(driver.name, `${chosen} says which drivers to load`) : await openDriver(driver))
  return adapters
}

/** Only the software driver of that name, in whatever case it is written. */
async function one(name: string): Promise<TestAdapter> {
  const driver = drivers.find((each) => each.name.toLowerCase() === name.toLowerCase())
  return driver ? openDriver(driver) : unusable(name, 'no such driver: `--adapter` takes lavapipe or swiftshader')
}

process.env.DIPTYCH_QUIET = '1'
const name = process.argv[2]
console.log(JSON.stringify(name === undefined ? await all() : [await one(name)]))
