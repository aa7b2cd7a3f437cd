/** A plan made ready for a device: pipelines, one uniform buffer, inputs; bind groups made once per set of buffers. */
import type { Program } from '../../kernels/kernel.ts'
import { LimitError, ShaderError } from '../device/errors.ts'
import type { Node } from '../graph.ts'
import type { BufferRef, Plan } from '../plan/plan.ts'
import { formatShape } from '../shape.ts'
import type { Faults } from './faults.ts'
import type { Memory, Storage } from './storage.ts'

interface Compiled {
  readonly pipeline: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
}

/** Pipelines kept for plans to come; plans hold their own. */
const keptPipelines = 4096

/** Pipelines by their final WGSL; layouts by their signature. */
export class Pipelines {
  created = 0
  private readonly compiled = new Map<string, Promise<Compiled>>()
  private readonly layouts = new Map<string, { bind: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()

  constructor(
    private readonly device: GPUDevice,
    private readonly faults: Faults,
  ) {}

  get(program: Program): Promise<Compiled> {
    const known = this.compiled.get(program.wgsl)
    if (known) return known
    const promise = this.compile(program)
    this.compiled.set(program.wgsl, promise)
    // Constants are part of the text: a program that computes with ever new numbers makes ever new pipelines.
    if (this.compiled.size > keptPipelines) this.compiled.delete(this.compiled.keys().next().value!)
    promise.catch(() => this.compiled.delete(program.wgsl))
    return promise
  }

  private layout(program: Program) {
    const signature = `${program.bindings.map((b) => b.access).join()}|${program.uniforms.length > 0}`
    let layout = this.layouts.get(signature)
    if (layout) return layout
    const entries: GPUBindGroupLayoutEntry[] = program.bindings.map((b, binding) => ({
      binding,
      visibility: 4,
      buffer: { type: b.access === 'read' ? 'read-only-storage' : 'storage' },
    }))
    if (program.uniforms.length) entries.push({ binding: entries.length, visibility: 4, buffer: { type: 'uniform' } })
    const bind = this.device.createBindGroupLayout({ entries })
    layout = { bind, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [bind] }) }
    this.layouts.set(signature, layout)
    return layout
  }

  private async compile(program: Program): Promise<Compiled> {
    this.created++
    const layout = this.layout(program)
    this.device.pushErrorScope('validation')
    const module = this.device.createShaderModule({ code: program.wgsl, label: program.label })
    const scope = this.device.popErrorScope().catch(() => null)
    try {
      const pipeline = await this.faults.guard(
        this.device.createComputePipelineAsync({
          label: program.label,
          layout: layout.pipeline,
          compute: { module, entryPoint: 'main' },
        }),
      )
      await scope
      return { pipeline, layout: layout.bind }
    } catch (error) {
      this.faults.check()
      const info = await this.faults.guard(module.getCompilationInfo())
      const bad = info.messages.some((m) => m.type === 'error')
      throw new ShaderError(program.label, program.wgsl, bad ? info.messages : (error as Error).message)
    }
  }
}

/** Host bytes that a launch takes, roughly: its text is shared, its bind groups and arguments are not. */
const launchBytes = 4096

/** Bind groups kept a step: results alternate between a few buffers. */
const keptGroups = 4

/** Buffers of one run, by which bind groups are cached. */
export interface Bound {
  readonly leaves: readonly Storage[]
  readonly results: readonly Storage[]
}

interface Resource {
  readonly buffer: GPUBuffer
  readonly id: number
}

export class Executable {
  private readonly uniforms: GPUBuffer | undefined
  private readonly uniformOffsets: number[] = []
  /** Buffers of leaves that live in host memory: the plan's own, filled before each run. */
  private readonly uploads = new Map<number, GPUBuffer>()
  /** Bind groups of every step, the one used last first. */
  private readonly groups: { readonly buffers: readonly GPUBuffer[]; readonly group: GPUBindGroup }[][]
  /** Typical duration in ms, learned; lets waiting be quiet. */
  duration = 0
  /** Runs so far. */
  runs = 0
  /** Bytes of the buffers of its own, and roughly of its launches in host memory. */
  readonly bytes: number
  /** The plan cache and compiled functions that keep this. */
  private holders = 0

  private constructor(
    readonly plan: Plan,
    private readonly device: GPUDevice,
    private readonly memory: Memory,
    private readonly compiled: readonly Compiled[],
    hostLeaves: readonly { index: number; leaf: Node }[],
    readonly label: string,
  ) {
    this.groups = plan.steps.map(() => [])
    const align = device.limits.minUniformBufferOffsetAlignment
    let offset = 0
    for (const step of plan.steps) {
      this.uniformOffsets.push(offset)
      offset += Math.ceil(step.program.uniforms.byteLength / align) * align
    }
    if (offset) {
      this.uniforms = memory.create(offset, 0x40 | 0x08, 'uniforms')
      // Should the device refuse the buffer, that is said by `granted`, and not of the writing too.
      device.pushErrorScope('validation')
      plan.steps.forEach((step, i) => {
        if (step.program.uniforms.length)
          device.queue.writeBuffer(
            this.uniforms!,
            this.uniformOffsets[i]!,
            step.program.uniforms as Uint32Array<ArrayBuffer>,
          )
      })
      void device.popErrorScope().catch(() => null)
    }
    let bytes = offset
    for (const { index, leaf } of hostLeaves) {
      const size = Math.max(16, Math.ceil(leaf.host!.byteLength / 16) * 16)
      const what = `the input ${leaf.dtype}${formatShape(leaf.shape)} of ${label}`
      this.uploads.set(index, memory.create(size, 0x80 | 0x08 | 0x04, what))
      bytes += size
    }
    this.bytes = bytes + launchBytes * plan.steps.length
  }

  static async create(
    plan: Plan,
    device: GPUDevice,
    memory: Memory,
    pipelines: Pipelines,
    leaves: readonly Node[],
    label: string,
  ): Promise<Executable> {
    checkLimits(plan, leaves, device)
    const compiled = await Promise.all(plan.steps.map((s) => pipelines.get(s.program)))
    const hostLeaves = leaves.flatMap((leaf, index) => (leaf.storage ? [] : [{ index, leaf }]))
    let made: Executable | undefined
    try {
      return await memory.granted(() => (made = new Executable(plan, device, memory, compiled, hostLeaves, label)))
    } catch (error) {
      made?.destroy()
      throw error
    }
  }

  /** The plan's own buffer for leaf `index`, which lives in host memory: to be filled before each run. */
  uploadBuffer(index: number): GPUBuffer | undefined {
    return this.uploads.get(index)
  }

  /** Bind groups for these buffers. Only steps that meet buffers which they were not bound to lately get new ones. */
  bind(bound: Bound): GPUBindGroup[] {
    const slots = this.memory.slots(this.plan.slots, this.label)
    return this.plan.steps.map(({ args }, i) => {
      const made = this.groups[i]!
      const at = made.findIndex(({ buffers }) =>
        args.every((ref, k) => this.bufferOf(ref, bound, slots) === buffers[k]),
      )
      if (at === 0) return made[0]!.group
      const [known] = at > 0 ? made.splice(at, 1) : []
      const entry = known ?? this.makeGroup(i, bound, slots)
      made.unshift(entry)
      if (made.length > keptGroups) made.pop()
      return entry.group
    })
  }

  private makeGroup(i: number, bound: Bound, slots: readonly Resource[]) {
    const { args, program } = this.plan.steps[i]!
    const entries: GPUBindGroupEntry[] = args.map((ref, binding) => ({
      binding,
      resource: this.resource(ref, bound, slots),
    }))
    if (program.uniforms.byteLength) {
      const size = Math.ceil(program.uniforms.byteLength / 16) * 16
      entries.push({
        binding: entries.length,
        resource: { buffer: this.uniforms!, offset: this.uniformOffsets[i]!, size },
      })
    }
    const group = this.device.createBindGroup({ layout: this.compiled[i]!.layout, entries, label: program.label })
    return { buffers: args.map((ref) => this.bufferOf(ref, bound, slots)), group }
  }

  /** What the storage bindings of step `i` are filled with, in order. */
  resources(i: number, bound: Bound): GPUBufferBinding[] {
    const slots = this.memory.slots(this.plan.slots, this.label)
    return this.plan.steps[i]!.args.map((ref) => this.resource(ref, bound, slots))
  }

  private bufferOf(ref: BufferRef, bound: Bound, slots: readonly Resource[]): GPUBuffer {
    if (ref.kind === 'slot') return slots[ref.slot]!.buffer
    if (ref.kind === 'result') return bound.results[ref.index]!.buffer
    return this.uploads.get(ref.index) ?? bound.leaves[ref.index]!.buffer
  }

  private resource(ref: BufferRef, bound: Bound, slots: readonly Resource[]): GPUBufferBinding {
    const buffer = this.bufferOf(ref, bound, slots)
    if (ref.kind === 'slot') return { buffer, offset: ref.offset, size: Math.max(4, ref.bytes) }
    return ref.window ? { buffer, offset: ref.window.offset, size: ref.window.bytes } : { buffer }
  }

  /** Encodes every step into a pass of its own, then what `also` adds, and submits it all at once. */
  submit(groups: readonly GPUBindGroup[], also?: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.device.createCommandEncoder()
    if (this.plan.steps.length) {
      const pass = encoder.beginComputePass()
      this.encode(pass, groups)
      pass.end()
    }
    also?.(encoder)
    this.device.queue.submit([encoder.finish()])
  }

  /** Encodes every step. */
  encode(pass: GPUComputePassEncoder, groups: readonly GPUBindGroup[]): void {
    for (let i = 0; i < this.plan.steps.length; i++) this.dispatch(pass, i, groups)
  }

  /** Encodes step `i`. */
  dispatch(pass: GPUComputePassEncoder, i: number, groups: readonly GPUBindGroup[]): void {
    const [x, y, z] = this.plan.steps[i]!.program.grid
    pass.setPipeline(this.compiled[i]!.pipeline)
    pass.setBindGroup(0, groups[i]!)
    pass.dispatchWorkgroups(x, y, z)
  }

  hold(): void {
    this.holders++
  }

  /** Frees its buffers when nobody holds it any more. */
  release(): void {
    if (--this.holders === 0) this.destroy()
  }

  private destroy(): void {
    this.uniforms?.destroy()
    for (const buffer of this.uploads.values()) buffer.destroy()
    for (const made of this.groups) made.length = 0
  }
}

/** @throws LimitError naming the op that would bind more bytes at once than the device can */
function checkLimits(plan: Plan, leaves: readonly Node[], device: GPUDevice): void {
  const available = device.limits.maxStorageBufferBindingSize
  const check = (bytes: number, ops: string, origin?: string) => {
    if (bytes > available)
      throw new LimitError(
        { limit: 'maxStorageBufferBindingSize', needed: bytes, available },
        `'${ops}'${origin ? ` (recorded at ${origin})` : ''}`,
      )
  }
  for (const step of plan.steps)
    for (const ref of step.args) {
      if (ref.kind === 'slot') check(ref.bytes, step.ops, step.origin)
      else if (ref.window) check(ref.window.bytes, step.ops, step.origin)
      else if (ref.kind === 'result') check(plan.results[ref.index]!.bytes, step.ops, step.origin)
      else check((leaves[ref.index]!.storage ?? leaves[ref.index]!.host!).byteLength, step.ops, step.origin)
    }
}
