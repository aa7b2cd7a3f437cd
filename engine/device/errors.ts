/**
 * What can go wrong between the engine and a device, one class each. A message says what was running, what the device
 * answered and what a person can do about it; nothing here is caught and replaced by made-up data.
 */

/** Base of the errors below; `running` names the op, kernel or step that was under way. */
export class GpuError extends Error {
  readonly running: string | undefined

  constructor(message: string, running?: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.running = running
  }
}

/** No usable adapter or device could be opened. */
export class DeviceError extends GpuError {}

/** The device went away while (or before) something ran. Its buffers are gone; open a new device. */
export class DeviceLostError extends GpuError {
  /** `destroyed` when the program itself destroyed the device, else `unknown`. */
  readonly reason: GPUDeviceLostReason

  constructor(info: { reason: GPUDeviceLostReason; message: string }, running?: string) {
    const during = running ? ` while running ${running}` : ''
    const fix =
      info.reason === 'destroyed'
        ? 'The program destroyed it: open a new device before going on.'
        : 'Open a new device and go on from the last checkpoint; if it happens again, run smaller steps.'
    const told = info.message.trim()
    super(`The GPU device was lost${during}${told ? ` (${told.replace(/\.$/, '')})` : ''}. ${fix}`, running)
    this.reason = info.reason
  }
}

/** The device could not allocate what was asked. */
export class OutOfMemoryError extends GpuError {
  /** Bytes of the allocation that failed, where known. */
  readonly bytes: number | undefined

  constructor(details: { bytes?: number; message?: string }, running?: string) {
    const what = details.bytes === undefined ? '' : ` allocating ${formatBytes(details.bytes)}`
    const during = running ? ` for ${running}` : ''
    const told = details.message ? ` (${details.message.trim().replace(/\.$/, '')})` : ''
    super(
      `The GPU is out of memory${what}${during}${told}. Use a smaller micro-batch, activation checkpointing, ` +
        'or free tensors that are still held.',
      running,
    )
    this.bytes = details.bytes
  }
}

/** A shader did not compile, or its pipeline was refused. */
export class ShaderError extends GpuError {
  /** The whole WGSL that was refused. */
  readonly wgsl: string

  /** `messages` as `GPUShaderModule.getCompilationInfo()` gives them; each error is shown with its line. */
  constructor(label: string, wgsl: string, messages: Iterable<ShaderMessage> | string) {
    const lines = wgsl.split('\n')
    const text =
      typeof messages === 'string'
        ? messages
        : [...messages]
            .filter((m) => m.type === 'error')
            .map((m) => `  ${placeOf(lines, m)}: ${m.message}\n    ${lines[m.lineNum - 1]?.trim() ?? ''}`)
            .join('\n')
    super(`The shader '${label}' does not compile on this device:\n${text}`, label)
    this.wgsl = wgsl
  }
}

/**
 * Where a message belongs: line and column of the shader, or, between the marks `//@text NAME` and `//@end`, the line of a text that a
 * user wrote (defineOp).
 */
function placeOf(lines: readonly string[], { lineNum, linePos }: ShaderMessage): string {
  for (let i = lineNum - 2; i >= 0; i--) {
    const line = lines[i]!
    if (line.startsWith('//@text ')) return `${line.slice('//@text '.length)}, line ${lineNum - 1 - i}:${linePos}`
    if (line !== '//@end') continue
    let start = i
    while (start > 0 && !lines[start]!.startsWith('//@text ')) start--
    return `${lineNum}:${linePos}, after ${lines[start]!.slice('//@text '.length)} (is a bracket or a semicolon missing at its end?)`
  }
  return `${lineNum}:${linePos}`
}

export type ShaderMessage = Pick<GPUCompilationMessage, 'type' | 'lineNum' | 'linePos' | 'message'>

/** A problem needs more than the device's limit allows. */
export class LimitError extends GpuError {
  readonly limit: string
  readonly needed: number
  readonly available: number

  /** `limit` is WebGPU's name of it, e.g. `maxStorageBufferBindingSize`; sizes of memory are in bytes. */
  constructor(details: { limit: string; needed: number; available: number; fix?: string }, running: string) {
    const show = /size$/i.test(details.limit) && !/workgroupsize/i.test(details.limit) ? formatBytes : String
    const fix = details.fix ?? 'Use a smaller micro-batch or activation checkpointing, or split the tensor.'
    super(
      `${running} needs ${show(details.needed)}, but ${details.limit} of this device is ${show(details.available)}. ${fix}`,
      running,
    )
    this.limit = details.limit
    this.needed = details.needed
    this.available = details.available
  }
}

/** The typed error for what an error scope or `uncapturederror` reports. */
export function fromGpuError(error: GPUError, running?: string): GpuError {
  if (typeof GPUOutOfMemoryError !== 'undefined' && error instanceof GPUOutOfMemoryError)
    return new OutOfMemoryError({ message: error.message }, running)
  return new GpuError(`The GPU refused ${running ?? 'a command'}: ${error.message.trim()}`, running)
}

/** `134217728` → `128 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`
}
