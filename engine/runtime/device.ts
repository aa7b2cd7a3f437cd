/**
 * A device as the engine sees it: turns wanted nodes into plans (cached by structure), runs them one submit each, reads results
 * back. Everything that touches the queue passes through one line, so runs never overlap.
 */
import type { Capabilities } from '../../kernels/kernel.ts'
import { orderInputs, topological } from '../autograd.ts'
import type { Subject } from '../debug/subject.ts'
import type { AdapterDescription, OpenedGpu, OpenOptions } from '../device/adapter.ts'
import { OutOfMemoryError } from '../device/errors.ts'
import { byteSize, type DType, fromBytes, type HostArray, toHostArray } from '../dtype.ts'
import type { Node } from '../graph.ts'
import { hostLeaf } from '../ops/build.ts'
import { resolvePick } from '../plan/emit.ts'
import { leavesOf } from '../plan/layout.ts'
import type { Chooser, Plan } from '../plan/plan.ts'
import { buildPlan } from '../plan/planner.ts'
import { effects } from '../plan/roles.ts'
import { formatShape, numel, type Shape } from '../shape.ts'
import type { TuningStore } from '../tuner/store.ts'
import { type TuneOptions, type TuneReport, Tuner } from '../tuner/tuner.ts'
import { Executable, Pipelines } from './executable.ts'
import { Faults } from './faults.ts'
import { copyOf, smallResult, writeHost } from './host.ts'
import type { Observer } from './observer.ts'
import { Plans } from './plans.ts'
import { Readback } from './readback.ts'
import type { HostData, Prepared, Replay } from './replay.ts'
import { abandon, canonical, checkAlive, checkUsable, reassign, settle, writeThrough } from './settle.ts'
import { type Staged, Staging } from './staging.ts'
import { Memory, type MemoryStats, type Storage } from './storage.ts'
import { waitQuietly } from './wait.ts'

export type { HostData, Replay } from './replay.ts'

export class Device {
  readonly gpu: GPUDevice
  readonly adapter: AdapterDescription
  readonly caps: Capabilities
  readonly memory: Memory
  readonly pipelines: Pipelines
  /** Assignments recorded and not yet run; every run takes those along that were recorded before it was asked for. */
  private pending: Node[] = []
  private readonly faults: Faults
  readonly plans = new Plans()
  private readonly readback: Readback
  private readonly staging: Staging
  private line: Promise<unknown> = Promise.resolve()
  /** Remembers and measures which variants of the kernels are fastest here. */
  readonly tuner: Tuner
  choose: Chooser = (kernel, variants, problem) => this.tuner.choose(kernel, variants, problem)
  /** Off: every op gets a launch and a buffer of its own; for checking what fusion does. */
  fuse = true
  private observer: Observer | undefined
  plansBuilt = 0

  /** `store` keeps what is tuned between runs. */
  constructor(
    private readonly opened: OpenedGpu,
    store?: TuningStore,
    readonly options: OpenOptions = {},
  ) {
    this.gpu = opened.device
    this.adapter = opened.adapter
    this.caps = opened.capabilities
    this.faults = new Faults(this.gpu)
    // Held, so that it lives as long as this does.
    this.opened.busy = () => this.faults.busy
    this.memory = new Memory(this.gpu, this.faults)
    this.pipelines = new Pipelines(this.gpu, this.faults)
    this.readback = new Readback(this.gpu, this.memory, this.faults)
    this.staging = new Staging(this.memory, this.faults)
    this.tuner = new Tuner(this, store)
  }

  /** Submits so far. */
  get submits(): number {
    return this.faults.submits
  }

  get stats(): MemoryStats {
    return this.memory.stats
  }

  /** Bytes that one binding, hence one tensor, may have. */
  get bindableBytes(): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.gpu.limits
    return Math.min(maxStorageBufferBindingSize, maxBufferSize)
  }

  /** Runs `work` after everything that was asked for before it. `label` says what runs, for errors. */
  exclusive<T>(label: string, work: () => Promise<T>): Promise<T> {
    const result = this.line.then(async () => {
      this.faults.check()
      this.faults.running = label
      try {
        await this.memory.checked()
        return await work()
      } finally {
        this.faults.running = undefined
      }
    })
    this.line = result.catch(() => undefined)
    return result
  }

  /** A new owned buffer holding `data`; for parameters and other lasting state. */
  storageFrom(data: HostArray, what = 'tensor'): Storage {
    this.faults.check()
    const storage = this.memory.allocate(Math.max(4, Math.ceil(data.byteLength / 4) * 4), what)
    // Should the device refuse the buffer, that is said once, by whoever computes with it, and not of the writing too.
    this.gpu.pushErrorScope('validation')
    writeHost(this.gpu, storage.buffer, data)
    void this.gpu.popErrorScope().catch(() => null)
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

  /** The assignments that a run asked for now has to take along. */
  private due(): Node[] {
    const due = this.pending
    this.pending = []
    return due
  }

  /** Computes nodes and gives each memory of its own. */
  realize(nodes: readonly Node[], label = 'realize'): Promise<void> {
    const due = this.due()
    return this.exclusive(label, () => this.execute(nodes, due, label))
  }

  /** Computes a node and returns its value; small ones stay in host memory, large ones keep their buffer. */
  read(node: Node, label = `read of ${node.dtype}${formatShape(node.shape)}`): Promise<HostData> {
    const due = this.due()
    return this.exclusive(label, async () => {
      const { dtype } = node
      const shared = (node.realized && !node.transient) || effects(resolvePick(node).node).length > 0
      // A value that is there is read before an assignment changes it.
      let data = node.storage ? await this.download(node) : undefined
      if (due.length || !node.realized) await this.execute([node], due, label)
      if (node.host) return copyOf(node.host, dtype)
      data ??= await this.download(node)
      const storage = node.storage as Storage | undefined
      if (!shared && storage && data.length <= smallResult) {
        // Small results stay on the host: the buffer is free for the next step at once.
        node.host = toHostArray(data, dtype)
        node.storage = undefined
        storage.dispose()
      }
      return data
    })
  }

  /** Reads back the buffer that a node's value stands in. */
  private async download(node: Node): Promise<HostData> {
    checkUsable(node, this.memory, this.faults)
    const count = numel(node.shape)
    const bytes = Math.max(4, Math.ceil((count * byteSize(node.dtype)) / 4) * 4)
    const storage = node.storage as Storage
    const copy = await this.staging.read(storage, bytes)
    return fromBytes(copy ?? (await this.readback.read(storage.buffer, bytes)), node.dtype, count)
  }

  /** Plan of these nodes with the assignments that are due, from the cache where the structure is known. */
  private async prepare(nodes: readonly Node[], due: readonly Node[], label: string): Promise<Prepared> {
    const began = performance.now()
    const roots = nodes.filter((n) => !n.realized)
    const wanted = due.filter((n) => !n.realized)
    const inOrder = (side: readonly Node[]) => topological([...roots, ...side], (n) => n.realized, orderInputs)
    let order = inOrder(wanted)
    for (const node of order) checkUsable(node, this.memory, this.faults)
    const side = writeThrough(order, wanted, (storage, data) => writeHost(this.gpu, storage.buffer, data))
    if (side.length < wanted.length) order = inOrder(side)
    const structure = canonical(order, roots, side)
    const leaves = leavesOf(order)
    let executable = this.plans.get(`${this.stamp}|${structure}`)
    if (!executable) {
      const plan = await this.build(roots, side, leaves)
      executable = await this.affording(() =>
        Executable.create(plan, this.gpu, this.memory, this.pipelines, leaves, label),
      )
      // Tuning may have changed the stamp.
      this.plans.add(`${this.stamp}|${structure}`, executable)
    }
    this.observer?.planned(label, performance.now() - began)
    return { executable, leaves, roots, side }
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

  /** Does `work`, which allocates; when the device has no room, once more without what is kept only for speed. */
  private async affording<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error
      this.relieve()
      await this.faults.guard(this.gpu.queue.onSubmittedWorkDone())
      return work()
    }
  }

  /** Computes `nodes` and does the assignments that are due, all or nothing. */
  private async execute(nodes: readonly Node[], due: readonly Node[], label: string): Promise<void> {
    const { submits } = this
    try {
      await this.attempt(nodes, due, label)
    } catch (error) {
      // What failed before it was submitted is not the fault of the assignments that came along, unless they fail by themselves.
      if (nodes.length && due.length && this.submits === submits && !this.faults.lost)
        await this.attempt([], due, label).catch(() => undefined)
      abandon(due)
      throw error
    }
  }

  private async attempt(nodes: readonly Node[], due: readonly Node[], label: string): Promise<void> {
    const prepared = await this.prepare(nodes, due, label)
    const { executable, roots, side } = prepared
    if (executable.plan.steps.length === 0 && roots.length === 0) return
    const results = await this.run(prepared, label)
    settle(executable.plan, roots, side, results)
    await this.finish(prepared)
  }

  /**
   * Runs `nodes` and the assignments recorded with them once, and returns how to run the same plan again: no recording, no
   * planning. `inputs` are host leaves that get new data with each run. What was assigned meanwhile is assigned before a run.
   */
  trace(nodes: readonly Node[], inputs: readonly Node[], label: string): Promise<Replay> {
    const due = this.due()
    return this.exclusive(label, async () => {
      const prepared = await this.prepare(nodes, due, label).catch((error) => {
        abandon(due)
        throw error
      })
      const { executable, leaves, roots, side } = prepared
      executable.hold()
      const at = inputs.map((n) => leaves.indexOf(n))
      const run = (data: readonly HostArray[] | undefined) => {
        const earlier = data ? this.due() : []
        return this.exclusive(label, async () => {
          if (earlier.length) await this.execute([], earlier, label)
          data?.forEach((d, i) => {
            inputs[i]!.host = d
          })
          if (data) for (const leaf of leaves) if (leaf.refresh) leaf.host = leaf.refresh()
          for (const leaf of leaves) checkAlive(leaf, this.memory, this.faults)
          const results = await this.run(prepared, label).catch((error) => {
            if (!data) abandon(side)
            throw error
          })
          if (data) reassign(side)
          else settle(executable.plan, roots, side, results)
          await this.finish(prepared)
          return results
        })
      }
      return { used: at.map((i) => i >= 0), run, plan: executable.plan, roots, dispose: () => executable.release() }
    })
  }

  /** One submit: uploads, bind groups, every dispatch. Returns the new buffers of the plan's results. */
  private async run({ executable, leaves }: Prepared, label: string): Promise<Storage[]> {
    const began = performance.now()
    executable.hold()
    let results: Storage[] = []
    let staged: Staged | undefined
    try {
      ;({ results, staged } = await this.affording(() => this.allocate(executable.plan, label)))
      const number = this.faults.begin()
      for (const storage of results) storage.run = number
      leaves.forEach((leaf, i) => {
        const buffer = executable.uploadBuffer(i)
        if (buffer) writeHost(this.gpu, buffer, leaf.host!)
      })
      const bound = { leaves: leaves.map((l) => l.storage as Storage), results }
      const groups = executable.bind(bound)
      this.faults.check()
      if (this.observer)
        await this.faults.guard(this.observer.submit({ executable, groups, bound, leaves, label, began }))
      else {
        executable.submit(groups, (encoder) => staged && this.staging.encode(encoder, staged))
        staged = undefined
      }
      this.faults.submits++
      this.faults.check()
      return results
    } catch (error) {
      for (const storage of results) storage.dispose()
      throw error
    } finally {
      if (staged) this.staging.cancel(staged)
      executable.release()
    }
  }

  /**
   * New buffers for a plan's results, and where copies of the small ones go; sees to it that there are buffers for its intermediates.
   * @throws OutOfMemoryError
   */
  private async allocate(plan: Plan, label: string): Promise<{ results: Storage[]; staged: Staged | undefined }> {
    const results: Storage[] = []
    try {
      const staged = await this.memory.granted(() => {
        for (const { bytes } of plan.results) results.push(this.memory.allocate(bytes, `a result of ${label}`))
        this.memory.slots(plan.slots, label)
        return this.staging.room(results)
      })
      return { results, staged }
    } catch (error) {
      for (const storage of results) storage.dispose()
      throw error
    }
  }

  /** Ends a run: on a software adapter, waits for it. */
  private async finish({ executable, leaves }: Prepared): Promise<void> {
    if (this.caps.software) await waitQuietly(executable, this.gpu, this.faults)
    for (const leaf of leaves) leaf.ran?.()
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

  /** Resolves when everything asked for so far has been done. @throws DeviceLostError */
  async settled(): Promise<void> {
    // What tensors were asked for in the same breath joins the line a moment later.
    await undefined
    await this.line
    await this.faults.guard(this.gpu.queue.onSubmittedWorkDone())
    this.faults.check()
  }

  /** Frees what is kept only for speed: freed buffers, memory of intermediates, cached plans. The next runs make it anew. */
  trim(): Promise<void> {
    return this.exclusive('trim', async () => this.relieve())
  }

  private relieve(): void {
    this.plans.clear()
    this.memory.trim()
    this.readback.trim()
    this.staging.trim()
  }

  /** Ends everything under way with DeviceLostError and frees all memory of the device. */
  destroy(): void {
    this.faults.lose({ reason: 'destroyed', message: '' })
    this.gpu.destroy()
  }
}
