/**
 * Node's side of opening a device: Dawn (npm `webgpu`), and a software Vulkan driver when the machine has no GPU.
 * The only file below `train/` that may import from Node.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type AdapterKind, describeAdapter, type OpenedGpu, type OpenOptions, openGpu } from './adapter.ts'
import { DeviceError } from './errors.ts'

/** Where a Vulkan loader on Linux looks for drivers by itself. */
const systemDriverFolders = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d']
/** Where Chromium packages carry SwiftShader. */
const chromiumFolders = [
  '/usr/lib/chromium',
  '/usr/lib/chromium-browser',
  '/opt/google/chrome',
  '/opt/chromium.org/chromium',
]
/** By any of these a user has said which drivers to load; then nothing is looked for. */
export const driverVariables = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES']

// Dropping the object that create() returns ends in aborts, so every instance is kept for the life of the process.
const instances = ((globalThis as { diptychInstances?: Map<string, GPU> }).diptychInstances ??= new Map())
let saidSoftware = false

/** Devices that are open. */
const devices = new Set<WeakRef<OpenedGpu>>()
let watching = false

/** A process that ends while Dawn's threads compile or compute crashes now and then: such devices are ended first. */
function endAtExit(opened: OpenedGpu): void {
  if (!watching)
    process.on('exit', () => {
      for (const ref of devices) {
        const open = ref.deref()
        if (open?.busy?.()) open.device.destroy()
      }
    })
  watching = true
  const ref = new WeakRef(opened)
  devices.add(ref)
  void opened.device.lost.then(() => devices.delete(ref))
}

/** Opens a device through Dawn. Throws `DeviceError` naming what to install when there is no adapter. */
export async function openNodeGpu(options: OpenOptions = {}): Promise<OpenedGpu> {
  const kind = options.adapter ?? 'auto'
  const userChoice = driverVariables.find((name) => process.env[name] !== undefined)
  const software = process.platform === 'linux' && !userChoice ? softwareDrivers()[0] : undefined
  // Without any system driver Dawn would only complain on stderr, so Chromium's is taken at once.
  const first = kind === 'software' || (kind === 'auto' && systemDrivers().length === 0) ? software : undefined
  let opened = await openOn(options, first)
  if (!opened && kind === 'auto' && software && !first) opened = await openOn(options, software)
  if (!opened) throw new DeviceError(whyNoAdapter(kind, userChoice))
  endAtExit(opened)
  if (opened.adapter.software && kind === 'auto') saySoftware(opened)
  return opened
}

/** Opens on the drivers of the system, or on the Vulkan driver of the manifest `driver` and no other. */
async function openOn(options: OpenOptions, driver: string | undefined): Promise<OpenedGpu | null> {
  const given = options.flags?.find((flag) => flag.startsWith('backend='))?.slice('backend='.length)
  const backend = options.adapter === 'null' ? 'null' : (given ?? defaultBackend())
  const enable = 'enable-dawn-features='
  const features = (options.flags ?? [])
    .filter((flag) => flag.startsWith(enable))
    .map((flag) => flag.slice(enable.length))
  if (options.subgroupMatrix) features.push('allow_unsafe_apis')
  const flags = (options.flags ?? []).filter((flag) => !flag.startsWith(enable))
  if (features.length) flags.push(enable + features.join(','))
  if (backend === 'null' && !given) flags.push('backend=null')
  // Timestamps are rounded to 65 µs otherwise, more than most kernels take.
  const disable = 'disable-dawn-features='
  if (!flags.some((flag) => flag.startsWith(disable))) flags.push(`${disable}timestamp_quantization`)
  return openGpu(await instance(flags, driver), options, backend)
}

/** The one Dawn instance of these flags and that driver. */
async function instance(flags: string[], driver: string | undefined): Promise<GPU> {
  const { create, globals } = await importDawn()
  // A program may change what the environment says between two devices.
  const key = [driver ?? driverVariables.map((name) => process.env[name] ?? '').join('|'), ...flags].join('\n')
  const existing = instances.get(key)
  if (existing) return existing
  for (const [name, value] of Object.entries(Object.getOwnPropertyDescriptors(globals)))
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, value)
  // Loaders before 1.3.207 know only the second name. Drivers are read when the instance is first asked for an adapter,
  // which happens before requestAdapter() returns its promise, so the environment is whole again at once.
  const names = driver ? ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'] : []
  for (const name of names) process.env[name] = driver
  const gpu = create(flags)
  instances.set(key, gpu)
  if (driver) void gpu.requestAdapter()
  for (const name of names) delete process.env[name]
  return gpu
}

async function importDawn(): Promise<typeof import('webgpu')> {
  try {
    return await import('webgpu')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new DeviceError(
      `Dawn (npm package webgpu) does not load on ${process.platform}-${process.arch}: ${why}. ` +
        'Run `npm run setup`; its binaries exist for Linux, macOS and Windows on x64 and arm64.',
      undefined,
      { cause },
    )
  }
}

function defaultBackend(): string {
  if (process.platform === 'darwin') return 'metal'
  return process.platform === 'win32' ? 'd3d12' : 'vulkan'
}

function manifests(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => join(folder, name))
}

function systemDrivers(): string[] {
  const home = process.env.XDG_DATA_HOME ?? join(process.env.HOME ?? '/', '.local/share')
  return [...systemDriverFolders, join(home, 'vulkan/icd.d')].flatMap(manifests)
}

/** Manifests of software drivers, the faster first: lavapipe is named `lvp_icd.json` or `lvp_icd.x86_64.json`. */
export function softwareDrivers(): string[] {
  const lavapipe = systemDrivers().filter((file) => /[/]lvp_icd[^/]*\.json$/.test(file))
  const swiftshader = chromiumFolders.map((folder) => join(folder, 'vk_swiftshader_icd.json')).filter(existsSync)
  return [...lavapipe, ...swiftshader]
}

function saySoftware(opened: OpenedGpu): void {
  if (saidSoftware || process.env.DIPTYCH_QUIET === '1') return
  saidSoftware = true
  process.stderr.write(`diptych: no GPU found, running on the CPU: ${describeAdapter(opened.adapter)}\n`)
}

function whyNoAdapter(kind: AdapterKind, userChoice: string | undefined): string {
  const what = {
    auto: 'WebGPU adapter',
    discrete: 'GPU',
    integrated: 'GPU',
    software: 'software adapter',
    null: 'null backend',
  }
  const chosen = userChoice
    ? ` ${userChoice} is set to '${process.env[userChoice]}', so only those Vulkan drivers were tried: unset it, or correct it.`
    : ''
  const fix =
    kind === 'discrete' || kind === 'integrated'
      ? 'Install the driver of the GPU, or open with adapter: "auto", which may take the CPU.'
      : 'Run `npm run setup`: it installs a Vulkan driver that runs on the CPU, or says what to install.'
  return `No ${what[kind]} found.${chosen} ${fix}`
}
