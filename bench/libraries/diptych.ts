/** This engine as a contestant. A row is compiled once and replayed, as a user's step would be. */
import { compile, type Device, describeAdapter, Tensor } from '../../engine/index.ts'
import type { Plan } from '../../engine/plan/plan.ts'
import type { Observer } from '../../engine/runtime/observer.ts'
import type { Variant } from '../../kernels/kernel.ts'
import { measureCeilings } from '../ceilings.ts'
import type { DeviceInfo, Input, Inputs, Launch, Library, Outputs, Prepared } from '../contract.ts'
import { type Ceilings, discreteGpu } from '../roofline.ts'

export type Tensors = Readonly<Record<string, Tensor>>

/** Programs of a plan, one a dispatch. */
export const launchesOf = (plan: Plan): Launch[] =>
  plan.steps.map(({ program, ops }) => ({
    label: program.label,
    ops,
    flops: program.cost.flops,
    bytes: program.cost.bytes,
    workgroupBytes: program.workgroupBytes,
    accumulators: program.accumulators,
  }))

export class DiptychLibrary implements Library {
  readonly name = 'diptych'
  readonly device: DeviceInfo

  constructor(
    readonly engine: Device,
    readonly version: string,
    /** A file of the project, by its path from the root. */
    readonly asset: (path: string) => Promise<Uint8Array>,
  ) {
    const { adapter, caps, gpu } = engine
    this.device = {
      adapter: describeAdapter(adapter),
      driver: adapter.driver,
      software: caps.software,
      maxBinding: gpu.limits.maxStorageBufferBindingSize,
    }
  }

  get queue(): GPUQueue {
    return this.engine.gpu.queue
  }

  ceilings(): Promise<Ceilings> {
    return measureCeilings(this.engine)
  }

  flush(): void {}

  /** Plans with their inputs' buffers, the pool, memory of intermediates, mappable buffers. */
  trim(): Promise<void> {
    return this.engine.trim()
  }

  /** A tensor in device memory. */
  tensor({ data, shape }: Input): Tensor {
    return new Tensor(this.engine.leafFrom(data, shape))
  }

  tensors(inputs: Inputs): Tensors {
    return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, this.tensor(input)]))
  }

  /** What computing these tensors, and what was recorded with them, would launch: here, and on a discrete GPU. */
  launches(wanted: readonly Tensor[]): Pick<Prepared, 'launches' | 'discreteLaunches'> {
    const nodes = wanted.map((t) => t.node)
    // The same device with other capabilities and no tuner: what it would plan elsewhere.
    const elsewhere = Object.create(this.engine, {
      caps: { value: discreteGpu },
      choose: { value: (_: string, variants: readonly Variant[]) => variants[0]!.program() },
    }) as Device
    return { launches: launchesOf(this.engine.plan(nodes)), discreteLaunches: launchesOf(elsewhere.plan(nodes)) }
  }

  /** What one call of `run` launches. */
  async launchesOfRun(run: () => Promise<unknown>): Promise<Launch[]> {
    const launches: Launch[] = []
    const observer: Observer = {
      planned() {},
      submit: async ({ executable, groups }) => {
        launches.push(...launchesOf(executable.plan))
        executable.submit(groups)
      },
    }
    await this.engine.observe(observer, async () => {
      await run()
    })
    return launches
  }

  /** A function of the inputs, compiled. `view` arranges results for the check alone. */
  async op(inputs: Inputs, fn: (x: Tensors) => Tensors, view: (y: Tensors) => Tensors = (y) => y): Promise<Prepared> {
    const x = this.tensors(inputs)
    const run = compile(() => fn(x), 'benchmark row')
    return {
      ...this.launches(Object.values(fn(x))),
      run: async () => {
        for (const t of Object.values(await run())) t.dispose()
      },
      outputs: async () => readAll(view(await run())),
      dispose: () => {
        for (const t of Object.values(x)) t.dispose()
      },
    }
  }
}

export async function readAll(tensors: Tensors): Promise<Outputs> {
  const read = Object.entries(tensors).map(async ([name, t]) => [name, await t.data()] as const)
  return Object.fromEntries(await Promise.all(read))
}
