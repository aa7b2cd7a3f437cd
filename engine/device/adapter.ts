/**
 * From a `GPU` object to an open device: which adapter, which features, which limits. Platform-free; `node.ts` and
 * `browser.ts` find the `GPU` object, `open.ts` chooses between them.
 */
import type { Capabilities } from '../../kernels/kernel.ts'
import { DeviceError } from './errors.ts'
import { provenMatrix, subgroupMatrixFeature } from './matrix.ts'

/**
 * - `auto`: a GPU if there is one, else a software adapter
 * - `discrete`, `integrated`: a GPU, preferring the fast or the frugal one (WebGPU cannot tell them apart, only prefer)
 * - `software`: the CPU (lavapipe, SwiftShader, WARP)
 * - `null`: Node only. Compiles and records everything, executes nothing.
 */
export type AdapterKind = 'auto' | 'discrete' | 'integrated' | 'software' | 'null'

export interface OpenOptions {
  readonly adapter?: AdapterKind
  /** Features beyond the ones always asked for; taken where the adapter has them, never an error. */
  readonly features?: readonly string[]
  /**
   * Limits to open with instead of the adapter's own, e.g. `{ maxStorageBufferBindingSize: 2 ** 27 }`: to see whether a program runs on
   * smaller GPUs. Values below WebGPU's defaults count as the defaults.
   */
  readonly limits?: Readonly<Partial<Record<UsefulLimit, number>>>
  /** Features to do without, as if the adapter lacked them: `shader-f16`, `subgroups`, … */
  readonly without?: readonly string[]
  /**
   * Half-precision products by subgroup matrices (tensor cores), an experiment of Dawn's: taken where the adapter has them and a product
   * computed with them is right, else left out; `device.caps.subgroupMatrix` says which. A browser needs --enable-unsafe-webgpu.
   */
  readonly subgroupMatrix?: boolean
  /** Node only: flags of Dawn's `create`, e.g. `enable-dawn-features=skip_validation`, `backend=opengl`. */
  readonly flags?: readonly string[]
  /**
   * Whether kernels are chosen by measurement:
   * - `cached` (default): where `device.tune` or `diptych tune` has measured before
   * - `on-first-use`: as well, each new problem is measured before it runs for the first time, which takes seconds to minutes
   * - `off`: never
   */
  readonly tune?: 'cached' | 'on-first-use' | 'off'
}

export interface AdapterDescription {
  readonly vendor: string
  readonly architecture: string
  readonly device: string
  /** What the driver calls the adapter; for people. */
  readonly description: string
  /** `vulkan`, `metal`, `d3d12`, `null`, … in Node; `browser` in a browser, which does not say. */
  readonly backend: string
  /** Driver and version where the adapter says so, else empty. Tuning results are kept per adapter and driver. */
  readonly driver: string
  /** Runs on the CPU. */
  readonly software: boolean
}

export interface OpenedGpu {
  readonly device: GPUDevice
  readonly adapter: AdapterDescription
  readonly capabilities: Capabilities
  /** Whether work is under way; said by whoever uses the device. */
  busy?: () => boolean
}

/**
 * Features the engine can use. `subgroup-size-control` pins a kernel's subgroup size, without which code that depends on
 * it is silently wrong on adapters that choose per pipeline.
 */
const usefulFeatures = ['shader-f16', 'subgroups', 'subgroup-size-control', 'timestamp-query']

/** Limits of compute work; the device gets what the adapter has instead of WebGPU's low defaults. */
const usefulLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxUniformBuffersPerShaderStage',
  'maxUniformBufferBindingSize',
  'maxBindingsPerBindGroup',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'minStorageBufferOffsetAlignment',
  'minUniformBufferOffsetAlignment',
] as const satisfies readonly (keyof GPUSupportedLimits)[]

export type UsefulLimit = (typeof usefulLimits)[number]

/** Says whether an adapter runs on the CPU. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  const fallback = (info as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? false
  const names = `${info.architecture} ${info.device} ${info.description}`
  return fallback || /llvmpipe|lavapipe|swiftshader|basic render|\bwarp\b|\bsoftware\b/i.test(names)
}

/**
 * The adapter of that kind, or null. `auto` prefers a fast GPU, then any GPU, then whatever there is: a machine may list
 * a software adapter beside its GPU.
 */
export async function chooseAdapter(gpu: GPU, kind: AdapterKind): Promise<GPUAdapter | null> {
  const preferences: GPUPowerPreference[] =
    kind === 'integrated' ? ['low-power', 'high-performance'] : ['high-performance', 'low-power']
  let software: GPUAdapter | null = null
  for (const powerPreference of preferences) {
    const adapter = await gpu.requestAdapter({ powerPreference })
    if (!adapter) continue
    if (!isSoftware(adapter.info)) {
      if (kind !== 'software') return adapter
    } else if (kind === 'auto' || kind === 'software') {
      software ??= adapter
    }
  }
  if (kind === 'software') software ??= await gpu.requestAdapter({ forceFallbackAdapter: true })
  return software
}

/** Opens a device on the adapter that `options` ask for; null when there is none. Throws `DeviceError` if it is refused. */
export async function openGpu(gpu: GPU, options: OpenOptions, backend: string): Promise<OpenedGpu | null> {
  const adapter = await chooseAdapter(gpu, options.adapter ?? 'auto')
  if (!adapter) return null
  const description = describe(adapter.info, backend)
  const experiments = options.subgroupMatrix ? [subgroupMatrixFeature] : []
  const wanted = [...new Set([...usefulFeatures, ...experiments, ...(options.features ?? [])])].filter(
    (name) => !options.without?.includes(name),
  )
  let device: GPUDevice
  try {
    device = await adapter.requestDevice({
      label: 'diptych',
      requiredFeatures: wanted.filter((name) => adapter.features.has(name as GPUFeatureName)) as GPUFeatureName[],
      requiredLimits: Object.fromEntries(
        usefulLimits.map((name) => [name, options.limits?.[name] ?? adapter.limits[name]]),
      ),
    })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new DeviceError(
      `The adapter '${describeAdapter(description)}' is there, but opening a device on it failed: ${why}. ` +
        'Close other programs that use the GPU, update its driver, or open the CPU with adapter: "software".',
      undefined,
      { cause },
    )
  }
  const capabilities = capabilitiesOf(device, adapter.info, description.software)
  const matrix = options.subgroupMatrix ? await provenMatrix(device, adapter.info, capabilities) : undefined
  return {
    device,
    adapter: description,
    capabilities: matrix ? { ...capabilities, subgroupMatrix: matrix } : capabilities,
  }
}

/** What kernels may count on, from the device as it was opened (not from what the adapter could do). */
function capabilitiesOf(device: GPUDevice, info: GPUAdapterInfo, software: boolean): Capabilities {
  const subgroups = device.features.has('subgroups' as GPUFeatureName)
  const sizes = info as { subgroupMinSize?: number; subgroupMaxSize?: number }
  const { limits } = device
  return {
    f16: device.features.has('shader-f16'),
    subgroups,
    subgroupMinSize: subgroups ? (sizes.subgroupMinSize ?? 0) : 0,
    subgroupMaxSize: subgroups ? (sizes.subgroupMaxSize ?? 0) : 0,
    software,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxInvocations: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
    maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
    maxGrid: limits.maxComputeWorkgroupsPerDimension,
  }
}

function describe(info: GPUAdapterInfo, backend: string): AdapterDescription {
  const { vendor, architecture, device, description } = info
  // Dawn writes the driver into `description`: "llvmpipe: Mesa 25.0.7 (LLVM 15.0.6) 0.0.1". Browsers keep it to themselves.
  return { vendor, architecture, device, description, backend, driver: description, software: isSoftware(info) }
}

/** One line for people: the adapter's name and how it is reached. */
export function describeAdapter(adapter: AdapterDescription): string {
  const name = adapter.description || [adapter.vendor, adapter.architecture, adapter.device].filter(Boolean).join(' ')
  return `${name || 'unnamed adapter'} (${adapter.backend})`
}
