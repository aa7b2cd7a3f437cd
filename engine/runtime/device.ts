/**
 * A device as the engine sees it: turns wanted nodes into plans (cached by structure), runs them one submit each, reads results
 * back. Everything that touches the queue passes through one line, so runs never overlap.
 */
import type { Capabilities } from '../../kernels/kernel.ts'
import { topological, valueInputs } from '../autograd.ts'
import type { Subject } from '../debug/subject.ts'
import type { AdapterDescription, OpenedGpu, OpenOptions } from '../device/adapter.ts'
import { DeviceLostError, fromGpuError, type GpuError } from '../device/errors.ts'
import { requestGpu } from '../device/open.ts'
import { byteSize, type DType, fromBytes, type HostArray, toHostArray } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { hostLeaf } from '../ops/build.ts'
import { resolvePick } from '../plan/emit.ts'
import { leavesOf } from '../plan/layout.ts'
import type { Chooser, Plan } from '../plan/plan.ts'
import { buildPlan } from '../plan/planner.ts'
import { effects } from '../plan/roles.ts'
import { numel, type Shape } from '../shape.ts'
import { openStore, type TuningStore } from '../tuner/store.ts'
import { type TuneOptions, type TuneReport, Tuner } from '../tuner/tuner.ts'
import { Executable, Pipelines } from './executable.ts'
import type { Observer } from './observer.ts'
import { canonical, checkVersion, reassign, settle } from './settle.ts'
import { Memory, type MemoryStats, type Storage } from './storage.ts'

export type HostData = Float32Array | Int32Array | Uint32Array

/** A traced computation that can be run again with other input data. */
export interface Replay {
  /** Whether each input takes part at all. */
  readonly used: readonly boolean[]
  readonly plan: Plan
  /** Nodes of the results, in the order of the buffers that `run` returns; those already at hand before have none. */
  readonly roots: readonly Node[]
  /** Runs with new input data (undefined: those of the trace, for the first time). */
  run(data: readonly HostArray[] | undefined): Promise<Storage[]>
}

/** Elements up to which a result that was read is kept in host memory rather than in a buffer. */
const smallResult = 1024

interface CachedPlan {
  readonly executable: Executable
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

export class Device {
  readonly gpu: GPUDevice
  readonly adapter: AdapterDescription
  readonly caps: Capabilities
  readonly memory: Memory
  readonly pipelines: Pipelines
  /** Assignments recorded and not yet run; every run takes them along. */
  private readonly pending: Node[] = []
  private readonly plans = new Map<string, CachedPlan>()
  private readonly staging = new Map<number, GPUBuffer[]>()
  private line: Promise<unknown> = Promise.resolve()
  private failure: GpuError | undefined
  /** Remembers and measures which variants of the kernels are fastest here. */
  readonly tuner: Tuner
  choose: Chooser = (kernel, variants, problem) => this.tuner.choose(kernel, variants, problem)
  /** Off: every op gets a launch and a buffer of its own; for checking what fusion does. */
  fuse = true
  private observer: Observer | undefined
  plansBuilt = 0
  submits = 0
  private running = 'nothing'

  /** `store` keeps what is tuned between runs. */
  constructor(opened: OpenedGpu, store?: TuningStore) {
    this.gpu = opened.device
    this.adapter = opened.adapter
    this.caps = opened.capabilities
    this.memory = new Memory(this.gpu, () => (this.failure instanceof DeviceLostError ? this.failure : undefined))
    this.pipelines = new Pipelines(this.gpu)
    this.tuner = new Tuner(this, store)
    this.gpu.lost.then((info) => {
      this.failure = new DeviceLostError(
        { reason: info.reason, message: info.message },
        this.running === 'nothing' ? undefined : this.running,
      )
    })
    this.gpu.addEventListener('uncapturederror', (event) => {
      this.failure ??= fromGpuError((event as GPUUncapturedErrorEvent).error, this.running)
      event.preventDefault()
    })
  }

  get stats(): MemoryStats {
    return this.memory.stats
  }

  /** Bytes that one binding, hence one tensor, may have. */
  get bindableBytes(): number {
    return Math.min(this.gpu.limits.maxStorageBufferBindingSize, this.gpu.limits.maxBufferSize)
  }

  /** Runs `work` after everything that was asked for before it. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.line.then(work, work)
    this.line = result.catch(() => undefined)
    return result
  }

  private check(): void {
    if (!this.failure) return
    const failure = this.failure
    if (!(failure instanceof DeviceLostError)) this.failure = undefined
    throw failure
  }

  /** A new owned buffer holding `data`; for parameters and other lasting state. */
  storageFrom(data: HostArray, what = 'tensor'): Storage {
    this.check()
    const storage = this.memory.allocate(Math.max(4, Math.ceil(data.byteLength / 4) * 4), what)
    const whole = data.byteLength % 4 === 0
    const bytes = whole
      ? data
      : Uint8Array.from(
          { length: storage.byteLength },
          (_, i) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)[i] ?? 0,
        )
    if (data.byteLength) this.gpu.queue.writeBuffer(storage.buffer, 0, bytes as Float32Array<ArrayBuffer>)
    return storage
  }

  /** A leaf whose value lives on this device from the start. */
  leafFrom(values: ArrayLike<number>, shape: Shape, dtype: DType = 'f32', what?: string): Node {
    const data = toHostArray(values, dtype)
    const node = hostLeaf(data, shape, dtype)
    node.storage = this.storageFrom(data, what)
    node.host = undefined
    return node
  }

  /** Queues an assignment; it runs with the next run, after everything that reads the old value. */
  addEffect(node: Node): void {
    this.pending.push(node)
  }

  /** Computes nodes and gives each memory of its own. */
  realize(nodes: readonly Node[], label = 'realize'): Promise<void> {
    return this.exclusive(async () => {
      await this.execute(nodes, label)
    })
  }

  /** Computes a node and returns its value; small ones stay in host memory, large ones keep their buffer. */
  read(node: Node, label = 'read'): Promise<HostData> {
    return this.exclusive(async () => {
      const ref = resolvePick(node)
      const { shape, dtype } = node
      const shared = (node.realized && !node.transient) || effects(ref.node).length > 0
      if (node.host && !this.pending.length) return copyOf(node.host, dtype)
      await this.execute([node], label)
      if (node.host) return copyOf(node.host, dtype)
      const storage = (node.storage ?? ref.node.storage) as Storage
      const data = await this.download(storage, shape, dtype)
      if (!shared && node.storage === storage && data.length <= smallResult) {
        // Small results stay on the host: the buffer is free for the next step at once.
        node.host = toHostArray(data, dtype)
        node.storage = undefined
        storage.dispose()
      }
      return data
    })
  }

  /** Reads an owned buffer back. */
  private async download(storage: Storage, shape: Shape, dtype: DType): Promise<HostData> {
    const bytes = Math.max(4, Math.ceil((numel(shape) * byteSize(dtype)) / 4) * 4)
    const size = Math.ceil(bytes / 256) * 256
    const buffer = this.staging.get(size)?.pop() ?? this.memory.create(size, 0x01 | 0x08, 'readback')
    const encoder = this.gpu.createCommandEncoder()
    encoder.copyBufferToBuffer(storage.buffer, 0, buffer, 0, bytes)
    this.gpu.queue.submit([encoder.finish()])
    this.submits++
    try {
      await buffer.mapAsync(1)
    } catch (error) {
      await pause(0)
      this.check()
      throw error
    }
    const data = fromBytes(buffer.getMappedRange(0, bytes).slice(0), dtype, numel(shape))
    buffer.unmap()
    const list = this.staging.get(size) ?? []
    this.staging.set(size, list)
    if (list.length < 4) list.push(buffer)
    else buffer.destroy()
    this.check()
    return data
  }

  /** Plan of these nodes with the assignments that are due, from the cache where the structure is known. */
  private async prepare(nodes: readonly Node[], label: string) {
    const began = performance.now()
    const side = this.pending.splice(0)
    try {
      const roots = nodes.filter((n) => !n.realized)
      const order = topological([...roots, ...side], (n) => n.realized, valueInputs)
      for (const node of order) checkVersion(node)
      const structure = canonical(order, roots, side)
      const leaves = leavesOf(order)
      let cached = this.plans.get(`${this.stamp}|${structure}`)
      if (!cached) {
        const plan = await this.build(roots, side, leaves)
        cached = { executable: await Executable.create(plan, this.gpu, this.memory, this.pipelines, leaves, label) }
        this.plans.set(`${this.stamp}|${structure}`, cached)
      }
      this.observer?.planned(label, performance.now() - began)
      return { executable: cached.executable, leaves, roots, side }
    } catch (error) {
      this.pending.unshift(...side)
      throw error
    }
  }

  private async build(roots: readonly Node[], side: readonly Node[], leaves: readonly Node[]): Promise<Plan> {
    const make = () => buildPlan(roots, side, { caps: this.caps, choose: this.choose, fuse: this.fuse })
    this.plansBuilt++
    const plan = make()
    return this.tuner.mode === 'on-first-use' && (await this.tuner.tunePlan(plan, leaves)) ? make() : plan
  }

  /** What decides, beside the structure of a program, how it is planned. */
  get stamp(): string {
    return `${this.fuse ? '' : 'unfused '}${this.tuner.stamp}`
  }

  /**
   * Measures which kernel variants are fastest for what `subject` computes (a function, or tensors), checks that they are right, and
   * uses the winners from now on, in later programs too. Runs it once, and with `confirm` about a dozen times.
   */
  tune(subject: Subject, options?: TuneOptions): Promise<TuneReport> {
    return this.tuner.tune(subject, options)
  }

  private async execute(nodes: readonly Node[], label: string): Promise<void> {
    this.check()
    const { executable, leaves, roots, side } = await this.prepare(nodes, label)
    if (executable.plan.steps.length === 0 && roots.length === 0) return
    const results = await this.run(executable, leaves, label)
    settle(executable.plan, roots, side, results)
    if (this.caps.software) await this.waitQuietly(executable)
    this.check()
  }

  /**
   * Runs `nodes` and the assignments recorded with them once, and returns how to run the same plan again: no recording, no
   * planning. `inputs` are host leaves that get new data with each run.
   */
  trace(nodes: readonly Node[], inputs: readonly Node[], label: string): Promise<Replay> {
    return this.exclusive(async () => {
      this.check()
      const { executable, leaves, roots, side } = await this.prepare(nodes, label)
      const at = inputs.map((n) => leaves.indexOf(n))
      const run = (data: readonly HostArray[] | undefined) =>
        this.exclusive(async () => {
          this.check()
          data?.forEach((d, i) => {
            inputs[i]!.host = d
          })
          if (data) for (const leaf of leaves) if (leaf.refresh) leaf.host = leaf.refresh()
          const results = await this.run(executable, leaves, label)
          if (data) reassign(side)
          else settle(executable.plan, roots, side, results)
          if (this.caps.software) await this.waitQuietly(executable)
          this.check()
          return results
        })
      return { used: at.map((i) => i >= 0), run, plan: executable.plan, roots }
    })
  }

  /** One submit: uploads, bind groups, every dispatch. Returns the new buffers of the plan's results. */
  private async run(executable: Executable, leaves: readonly Node[], label: string): Promise<Storage[]> {
    this.running = label
    const began = performance.now()
    leaves.forEach((leaf, i) => {
      if (executable.isUpload(i)) executable.upload(i, leaf.host!)
    })
    const results = executable.plan.results.map((r) => this.memory.allocate(r.bytes, label))
    const bound = { leaves: leaves.map((l) => l.storage as Storage), results }
    const groups = executable.bind(bound)
    if (this.observer) await this.observer.submit({ executable, groups, bound, leaves, label, began })
    else executable.submit(groups)
    this.submits++
    return results
  }

  /**
   * A pending promise makes Dawn's Node binding spin a core, which a software adapter needs for the kernels: sleep through
   * most of the time that this plan took before, and only then wait for the queue.
   */
  private async waitQuietly(executable: Executable): Promise<void> {
    const start = performance.now()
    if (executable.duration > 4) await pause(executable.duration * 0.8)
    await this.gpu.queue.onSubmittedWorkDone()
    const took = performance.now() - start
    // The first run compiles: it says nothing about the next.
    if (executable.runs++ > 0)
      executable.duration = executable.duration ? Math.min(took, executable.duration * 0.7 + took * 0.3) : took
  }

  /** Lets `observer` watch, and submit, everything that runs until `work` is done. One at a time. */
  async observe<T>(observer: Observer, work: () => Promise<T>): Promise<T> {
    if (this.observer) throw new Error('This device is being observed already: profile and check one thing at a time.')
    this.observer = observer
    try {
      return await work()
    } finally {
      this.observer = undefined
    }
  }

  /** The plan that computing `nodes` would run, without running it. */
  plan(nodes: readonly Node[]): Plan {
    return buildPlan(
      nodes.filter((n) => !resolvePick(n).node.realized),
      [...this.pending],
      { caps: this.caps, choose: this.choose, fuse: this.fuse },
    )
  }

  /** Resolves when everything asked for so far has been done. */
  async settled(): Promise<void> {
    await this.line
    await this.gpu.queue.onSubmittedWorkDone()
  }

  destroy(): void {
    this.gpu.destroy()
  }
}

const copyOf = (host: HostArray, dtype: DType): HostData =>
  fromBytes(
    host.buffer.slice(host.byteOffset, host.byteOffset + host.byteLength) as ArrayBuffer,
    dtype,
    host.byteLength / byteSize(dtype),
  )

let current: Device | undefined
let opening: Promise<Device> | undefined

/** Opens a device and makes it the default one. Throws DeviceError, which says what to install, when there is none. */
export async function openDevice(options: OpenOptions = {}): Promise<Device> {
  const gpu = await requestGpu(options)
  const device = new Device(gpu, options.adapter === 'null' || options.tune === 'off' ? undefined : await openStore())
  device.tuner.mode = options.tune ?? 'cached'
  await device.tuner.load()
  current = device
  opening = Promise.resolve(device)
  return device
}

/** The default device; opened on first use if the program has not. */
export function getDevice(): Promise<Device> {
  opening ??= openDevice()
  return opening
}

/** The default device if it is open already. */
export const openedDevice = (): Device | undefined => current

/** The default device, which must be open: for what happens at once (parameters, assignments). */
export function currentDevice(): Device {
  if (!current) throw new Error('No device is open yet: call `await openDevice()` first.')
  return current
}
