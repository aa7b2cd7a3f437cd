/** A plan made ready for a device: pipelines, one uniform buffer, inputs; bind groups made once per set of buffers. */
import type { Program } from '../../kernels/kernel.ts'
import { LimitError, ShaderError } from '../device/errors.ts'
import type { HostArray } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { BufferRef, Plan } from '../plan/plan.ts'
import type { Memory, Storage } from './storage.ts'

interface Compiled {
  readonly pipeline: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
}

/** Pipelines by their final WGSL; layouts by their signature. */
export class Pipelines {
  created = 0
  private readonly compiled = new Map<string, Promise<Compiled>>()
  private readonly layouts = new Map<string, { bind: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()

  constructor(private readonly device: GPUDevice) {}

  get(program: Program): Promise<Compiled> {
    const known = this.compiled.get(program.wgsl)
    if (known) return known
    const promise = this.compile(program)
    this.compiled.set(program.wgsl, promise)
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
    const scope = this.device.popErrorScope()
    try {
      const pipeline = await this.device.createComputePipelineAsync({
        label: program.label,
        layout: layout.pipeline,
        compute: { module, entryPoint: 'main' },
      })
      await scope
      return { pipeline, layout: layout.bind }
    } catch (error) {
      await scope.catch(() => null)
      const info = await module.getCompilationInfo()
      const bad = info.messages.some((m) => m.type === 'error')
      throw new ShaderError(program.label, program.wgsl, bad ? info.messages : (error as Error).message)
    }
  }
}

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
  private readonly groups = new Map<string, GPUBindGroup[]>()
  /** Typical duration in ms, learned; lets waiting be quiet. */
  duration = 0
  /** Runs so far. */
  runs = 0

  private constructor(
    readonly plan: Plan,
    private readonly device: GPUDevice,
    private readonly memory: Memory,
    private readonly compiled: readonly Compiled[],
    hostLeaves: readonly { index: number; bytes: number }[],
    readonly label: string,
  ) {
    const align = device.limits.minUniformBufferOffsetAlignment
    let offset = 0
    for (const step of plan.steps) {
      this.uniformOffsets.push(offset)
      offset += Math.ceil(step.program.uniforms.byteLength / align) * align
    }
    if (offset) {
      this.uniforms = memory.create(offset, 0x40 | 0x08, 'uniforms')
      plan.steps.forEach((step, i) => {
        if (step.program.uniforms.length)
          device.queue.writeBuffer(
            this.uniforms!,
            this.uniformOffsets[i]!,
            step.program.uniforms as Uint32Array<ArrayBuffer>,
          )
      })
    }
    for (const { index, bytes } of hostLeaves)
      this.uploads.set(
        index,
        memory.create(Math.ceil(bytes / 16) * 16, 0x80 | 0x08 | 0x04, `input ${index} of ${label}`),
      )
  }

  static async create(
    plan: Plan,
    device: GPUDevice,
    memory: Memory,
    pipelines: Pipelines,
    leaves: readonly Node[],
    label: string,
  ): Promise<Executable> {
    checkLimits(plan, device)
    const compiled = await Promise.all(plan.steps.map((s) => pipelines.get(s.program)))
    const hostLeaves = leaves.flatMap((n, index) => (n.storage ? [] : [{ index, bytes: n.host!.byteLength }]))
    return new Executable(plan, device, memory, compiled, hostLeaves, label)
  }

  /** Host bytes of leaf `index`, copied into the plan's own input before the next run. */
  upload(index: number, data: HostArray): void {
    const buffer = this.uploads.get(index)!
    const bytes = data.byteLength
    if (bytes % 4 === 0) this.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>)
    else {
      const padded = new Uint8Array(Math.ceil(bytes / 4) * 4)
      padded.set(new Uint8Array(data.buffer, data.byteOffset, bytes))
      this.device.queue.writeBuffer(buffer, 0, padded)
    }
  }

  isUpload(index: number): boolean {
    return this.uploads.has(index)
  }

  /** Bind groups for these buffers, from the cache where they were bound before. */
  bind(bound: Bound): GPUBindGroup[] {
    const slots = this.memory.slots(this.plan.slots, this.label)
    const key = `${bound.leaves.map((s) => s?.id ?? 0).join()}|${bound.results.map((s) => s.id).join()}|${slots.map((s) => s.id).join()}`
    const known = this.groups.get(key)
    if (known) return known
    const groups = this.plan.steps.map((step, i) => {
      const entries: GPUBindGroupEntry[] = step.args.map((ref, binding) => ({
        binding,
        resource: this.resource(ref, bound, slots),
      }))
      const words = step.program.uniforms.byteLength
      if (words) {
        const size = Math.ceil(words / 16) * 16
        entries.push({
          binding: entries.length,
          resource: { buffer: this.uniforms!, offset: this.uniformOffsets[i]!, size },
        })
      }
      return this.device.createBindGroup({ layout: this.compiled[i]!.layout, entries, label: step.program.label })
    })
    if (this.groups.size >= 16) this.groups.delete(this.groups.keys().next().value!)
    this.groups.set(key, groups)
    return groups
  }

  /** What the storage bindings of step `i` are filled with, in order. */
  resources(i: number, bound: Bound): GPUBufferBinding[] {
    const slots = this.memory.slots(this.plan.slots, this.label)
    return this.plan.steps[i]!.args.map((ref) => this.resource(ref, bound, slots))
  }

  private resource(ref: BufferRef, bound: Bound, slots: readonly Resource[]): GPUBufferBinding {
    if (ref.kind === 'slot')
      return { buffer: slots[ref.slot]!.buffer, offset: ref.offset, size: Math.max(4, ref.bytes) }
    const buffer =
      ref.kind === 'result'
        ? bound.results[ref.index]!.buffer
        : (this.uploads.get(ref.index) ?? bound.leaves[ref.index]!.buffer)
    return ref.window ? { buffer, offset: ref.window.offset, size: ref.window.bytes } : { buffer }
  }

  /** Encodes every step into a pass of its own and submits it. */
  submit(groups: readonly GPUBindGroup[]): void {
    const encoder = this.device.createCommandEncoder()
    if (this.plan.steps.length) {
      const pass = encoder.beginComputePass()
      this.encode(pass, groups)
      pass.end()
    }
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

  destroy(): void {
    this.uniforms?.destroy()
    for (const buffer of this.uploads.values()) buffer.destroy()
    this.groups.clear()
  }
}

function checkLimits(plan: Plan, device: GPUDevice): void {
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
    }
}
