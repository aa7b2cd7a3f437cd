/**
 * Counts what reaches WebGPU, whichever library calls it: the prototypes of the platform's GPU objects are wrapped between
 * `install()` and `uninstall()`. The same counter serves every contestant, here and in a browser. Timing happens uninstalled.
 */

export interface Counts {
  readonly dispatches: number
  readonly submits: number
  readonly bindGroups: number
  readonly buffers: number
  readonly pipelines: number
  /** Bytes that the host wrote into buffers. */
  readonly writtenBytes: number
  /** Bytes of the storage bindings of every dispatch, each binding once. */
  readonly boundBytes: number
}

const zero = (): { -readonly [K in keyof Counts]: number } => ({
  dispatches: 0,
  submits: 0,
  bindGroups: 0,
  buffers: 0,
  pipelines: 0,
  writtenBytes: 0,
  boundBytes: 0,
})

const STORAGE = 0x80

type Method = (this: any, ...args: any[]) => any

export class Counter {
  private counts = zero()
  private live = 0
  private peak = 0
  private readonly sizes = new WeakMap<object, number>()
  private readonly bound = new WeakMap<object, number>()
  private readonly passes = new WeakMap<object, number[]>()
  private readonly collected = new FinalizationRegistry<number>((bytes) => {
    this.live -= bytes
  })
  private restore: (() => void)[] = []
  private depth = 0

  /** Bytes of buffers made since the first `install()` and neither destroyed nor collected. */
  get liveBytes(): number {
    return this.live
  }

  /** Largest `liveBytes` since the last `reset()`. */
  get peakBytes(): number {
    return this.peak
  }

  reset(): void {
    this.counts = zero()
    this.peak = this.live
  }

  /** What was counted since the last `reset()`, divided by `runs`. */
  read(runs = 1): Counts {
    return Object.fromEntries(Object.entries(this.counts).map(([k, v]) => [k, v / runs])) as unknown as Counts
  }

  private wrap(type: string, method: string, make: (original: Method) => Method): void {
    const prototype = (globalThis as any)[type]?.prototype
    const original = prototype?.[method] as Method | undefined
    if (!original) return
    prototype[method] = make(original)
    this.restore.push(() => {
      prototype[method] = original
    })
  }

  install(): void {
    if (this.depth++ > 0) return
    const count = (type: string, method: string, key: keyof Counts) =>
      this.wrap(type, method, (original) => {
        const counter = this
        return function (...args) {
          counter.counts[key]++
          return original.apply(this, args)
        }
      })
    count('GPUQueue', 'submit', 'submits')
    count('GPUDevice', 'createComputePipeline', 'pipelines')
    count('GPUDevice', 'createComputePipelineAsync', 'pipelines')
    this.countBuffers()
    this.countBindings()
  }

  uninstall(): void {
    if (--this.depth > 0) return
    for (const undo of this.restore.splice(0)) undo()
  }

  private countBuffers(): void {
    const counter = this
    this.wrap('GPUDevice', 'createBuffer', (original) => {
      return function (descriptor: GPUBufferDescriptor) {
        const buffer = original.call(this, descriptor)
        counter.counts.buffers++
        counter.live += descriptor.size
        counter.peak = Math.max(counter.peak, counter.live)
        counter.sizes.set(buffer, descriptor.size)
        counter.collected.register(buffer, descriptor.size, buffer)
        return buffer
      }
    })
    this.wrap('GPUBuffer', 'destroy', (original) => {
      return function () {
        const size = counter.sizes.get(this)
        if (size !== undefined) {
          counter.live -= size
          counter.sizes.delete(this)
          counter.collected.unregister(this)
        }
        return original.call(this)
      }
    })
    this.wrap('GPUQueue', 'writeBuffer', (original) => {
      return function (buffer, offset, data, from = 0, size?: number) {
        const unit = ArrayBuffer.isView(data) ? ((data as any).BYTES_PER_ELEMENT ?? 1) : 1
        counter.counts.writtenBytes += size === undefined ? data.byteLength - from * unit : size * unit
        return original.call(this, buffer, offset, data, from, size)
      }
    })
  }

  private countBindings(): void {
    const counter = this
    this.wrap('GPUDevice', 'createBindGroup', (original) => {
      return function (descriptor: GPUBindGroupDescriptor) {
        const group = original.call(this, descriptor)
        counter.counts.bindGroups++
        let bytes = 0
        for (const { resource } of descriptor.entries) {
          const {
            buffer,
            offset = 0,
            size,
          } = ('buffer' in resource ? resource : { buffer: resource }) as GPUBufferBinding
          if (buffer?.usage & STORAGE) bytes += size ?? buffer.size - offset
        }
        counter.bound.set(group, bytes)
        return group
      }
    })
    this.wrap('GPUComputePassEncoder', 'setBindGroup', (original) => {
      return function (index: number, group: GPUBindGroup, ...rest) {
        const groups = counter.passes.get(this) ?? []
        counter.passes.set(this, groups)
        groups[index] = counter.bound.get(group) ?? 0
        return original.call(this, index, group, ...rest)
      }
    })
    for (const method of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect'])
      this.wrap('GPUComputePassEncoder', method, (original) => {
        return function (...args) {
          counter.counts.dispatches++
          for (const bytes of counter.passes.get(this) ?? []) counter.counts.boundBytes += bytes ?? 0
          return original.apply(this, args)
        }
      })
  }
}
