/** Measures the variants of one problem against one another, on random data in buffers of its own, and checks what they compute. */
import { differenceOf, differencePartials, differenceProgram } from '../../kernels/inspect/difference.ts'
import { fillProgram } from '../../kernels/inspect/fill.ts'
import { summaryOf, summaryProgram, summaryWords } from '../../kernels/inspect/summary.ts'
import type { Binding, Program, Variant } from '../../kernels/kernel.ts'
import { ShaderError } from '../device/errors.ts'
import { Stopwatch } from '../profile/stopwatch.ts'
import type { Device } from '../runtime/device.ts'
import { type Launch, prepareLaunch } from '../runtime/launch.ts'
import type { Choice } from './choices.ts'
import { factsOf, toleranceOf } from './facts.ts'

/** A problem as a plan has it. */
export interface Site {
  readonly kernel: string
  /** As text, dtypes included. */
  readonly problem: string
  readonly variants: readonly Variant[]
  /** What the bindings are given, in their order: bytes, and a name that two bindings of the same memory share. */
  readonly bindings: readonly { readonly bytes: number; readonly memory: string }[]
}

/** Nanoseconds of a candidate: `measure()`, or what a test's own clock says. */
export type Clock = (kernel: string, variant: string, measure: () => Promise<number>) => Promise<number>

export interface TrialOptions {
  readonly clock: Clock
  /** Times that each candidate is measured; the fastest counts: whatever disturbs a measurement makes it longer. */
  readonly rounds: number
  /** `performance.now()` after which nothing more is begun. */
  readonly deadline: number
}

/** A winner must be this much faster than the heuristic's choice, so that noise changes nothing. */
const margin = 0.97
/** Candidates this much slower than the fastest are not measured any more. */
const hopeless = 2
/** A measurement launches as often as fits this many nanoseconds, against the clock's grain. */
const grain = { software: 2e6, gpu: 5e5 }
const mostLaunches = 50

/**
 * Checks and times all variants on the device, which nothing else may use meanwhile.
 * @returns undefined when the time was up before all were checked, or when not one of them runs
 */
export async function runTrial(device: Device, site: Site, options: TrialOptions): Promise<Choice | undefined> {
  const trial = new Trial(device, site, options)
  try {
    return await trial.run()
  } finally {
    trial.destroy()
  }
}

interface Candidate {
  readonly name: string
  readonly program: Program
  readonly launch: Launch
  /** Of one launch, from the last measurement. */
  expected: number
  readonly times: number[]
}

export const kindOf = ({ type, packed }: Pick<Binding, 'type' | 'packed'>): 'f32' | 'f16' | 'integer' =>
  packed || /f16|h$/.test(type) ? 'f16' : /f32|f$/.test(type) ? 'f32' : 'integer'

class Trial {
  private readonly buffers: GPUBuffer[] = []
  private readonly launches: Launch[] = []
  private readonly rejected: Record<string, string> = {}
  private readonly watch: Stopwatch
  /** What the bindings are filled with, by name of their memory. */
  private readonly memory = new Map<string, GPUBuffer>()

  constructor(
    private readonly device: Device,
    private readonly site: Site,
    private readonly options: TrialOptions,
  ) {
    this.watch = new Stopwatch(device)
  }

  private buffer(bytes: number, usage = 0x80 | 0x04 | 0x08): GPUBuffer {
    const made = this.device.memory.create(Math.max(16, Math.ceil(bytes / 16) * 16), usage, 'tuner')
    this.buffers.push(made)
    return made
  }

  destroy(): void {
    for (const launch of this.launches) launch.destroy()
    for (const made of this.buffers) made.destroy()
  }

  async run(): Promise<Choice | undefined> {
    for (const { memory, bytes } of this.site.bindings)
      if (!this.memory.has(memory)) this.memory.set(memory, this.buffer(bytes))
    const candidates = await this.agreeing(await this.running())
    if (!candidates?.length) return undefined
    let left = candidates
    const bestOf = (c: Candidate) => Math.min(...c.times)
    for (let round = 0; round < this.options.rounds; round++) {
      if (round && performance.now() > this.options.deadline) break
      for (const c of left) c.times.push(await this.options.clock(this.site.kernel, c.name, () => this.nanoseconds(c)))
      const best = Math.min(...left.map(bestOf))
      // One bad measurement may be an accident.
      if (round > 0) left = left.filter((c) => bestOf(c) <= hopeless * best)
    }
    const times = Object.fromEntries(candidates.map((c) => [c.name, bestOf(c) / 1e3]))
    return { winner: fastestOf(times, this.site.variants[0]!.name), times, rejected: this.rejected }
  }

  /** The candidates that compile and run; the others are rejected. Undefined when the time is up. */
  private async running(): Promise<Candidate[] | undefined> {
    const candidates: Candidate[] = []
    const unsound: { candidate: Candidate; fault: string }[] = []
    for (const { name, program: make } of this.site.variants) {
      if (performance.now() > this.options.deadline) return undefined
      try {
        const program = make()
        const buffers = this.site.bindings.map(({ memory }) => this.memory.get(memory)!)
        const candidate = await this.guarded(async () => {
          const launch = await prepareLaunch(this.device, program, buffers)
          this.launches.push(launch)
          const made: Candidate = { name, program, launch, expected: 0, times: [] }
          await this.runOnce(made)
          return made
        })
        const fault = await this.nans(candidate)
        if (fault) unsound.push({ candidate, fault })
        else candidates.push(candidate)
      } catch (error) {
        this.rejected[name] = reasonOf(error)
      }
    }
    // Where every variant gives NaN it is the data that ask for it.
    if (candidates.length === 0) return unsound.map((u) => u.candidate)
    for (const { candidate, fault } of unsound) this.rejected[candidate.name] = fault
    return candidates
  }

  /** The largest set of candidates with one result; the heuristic's, where two sets are equally large. The others are rejected. */
  private async agreeing(candidates: readonly Candidate[] | undefined): Promise<Candidate[] | undefined> {
    if (!candidates) return undefined
    let best: { same: Candidate[]; faults: Map<string, string> } = { same: [], faults: new Map() }
    for (const reference of candidates) {
      if (performance.now() > this.options.deadline) return undefined
      await this.runOnce(reference)
      const expected = new Map(this.outputs(reference).map((o) => [o.name, this.duplicate(o.buffer)]))
      const same: Candidate[] = []
      const faults = new Map<string, string>()
      for (const candidate of candidates) {
        const fault = candidate === reference ? undefined : await this.disagreement(candidate, reference, expected)
        if (fault) faults.set(candidate.name, fault)
        else same.push(candidate)
      }
      if (same.length > best.same.length) best = { same, faults }
      if (2 * best.same.length >= candidates.length) break
    }
    for (const [name, fault] of best.faults) this.rejected[name] = fault
    return best.same
  }

  /** @throws Error when the device refuses anything that `work` asks of it */
  private async guarded<T>(work: () => Promise<T>): Promise<T> {
    const { gpu } = this.device
    const scopes = ['out-of-memory', 'validation'] as const
    for (const scope of scopes) gpu.pushErrorScope(scope)
    const outcome = await work().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    const faults = await Promise.all(scopes.map(() => gpu.popErrorScope()))
    if ('error' in outcome) throw outcome.error
    for (const fault of faults) if (fault) throw new Error(`the device refuses it: ${fault.message}`)
    return outcome.value
  }

  /** Fills every buffer anew and launches once. */
  private async runOnce({ program, launch }: Candidate): Promise<void> {
    const seen = new Set<string>()
    for (const [i, binding] of program.bindings.entries()) {
      const { memory } = this.site.bindings[i]!
      if (seen.has(memory)) continue
      seen.add(memory)
      const buffer = this.memory.get(memory)!
      const [low, high] = factsOf(this.site.kernel, binding.name).range ?? [-1, 1]
      // Integers are filled with pairs of halves: kernels clamp what they index with.
      const kind = kindOf(binding) === 'f32' ? 'f32' : 'f16'
      await this.once(fillProgram({ words: buffer.size / 4, kind, seed: i + 1, low, high }, this.device.caps), [buffer])
    }
    this.submit(launch)
  }

  private submit(launch: Launch): void {
    const encoder = this.device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    launch.bind(pass)
    launch.dispatch(pass)
    pass.end()
    this.device.gpu.queue.submit([encoder.finish()])
  }

  private async once(program: Program, buffers: readonly GPUBuffer[]): Promise<void> {
    const launch = await prepareLaunch(this.device, program, buffers)
    this.launches.push(launch)
    this.submit(launch)
  }

  private duplicate(buffer: GPUBuffer): GPUBuffer {
    const copy = this.buffer(buffer.size)
    const encoder = this.device.gpu.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size)
    this.device.gpu.queue.submit([encoder.finish()])
    return copy
  }

  private async read(buffer: GPUBuffer): Promise<ArrayBuffer> {
    const staging = this.buffer(buffer.size, 0x01 | 0x08)
    const encoder = this.device.gpu.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size)
    this.device.gpu.queue.submit([encoder.finish()])
    await staging.mapAsync(1)
    return staging.getMappedRange().slice(0)
  }

  /** What a program writes and answers for. */
  private outputs({ program }: Candidate): (Binding & { buffer: GPUBuffer })[] {
    return program.bindings.flatMap((binding, i) =>
      binding.access === 'read' || factsOf(this.site.kernel, binding.name).compare === 'none'
        ? []
        : [{ ...binding, buffer: this.memory.get(this.site.bindings[i]!.memory)! }],
    )
  }

  private async nans(candidate: Candidate): Promise<string | undefined> {
    for (const { buffer, ...binding } of this.outputs(candidate)) {
      const kind = kindOf(binding)
      if (kind === 'integer') continue
      const record = this.buffer(4 * summaryWords)
      const count = buffer.size / (kind === 'f16' ? 2 : 4)
      await this.once(summaryProgram({ count, type: kind }, this.device.caps), [buffer, record])
      const { nans } = summaryOf(new Uint32Array(await this.read(record)))
      if (nans) return `'${binding.name}' holds ${nans} NaN`
    }
    return undefined
  }

  private async disagreement(
    candidate: Candidate,
    reference: Candidate,
    expected: ReadonlyMap<string, GPUBuffer>,
  ): Promise<string | undefined> {
    await this.runOnce(candidate)
    for (const { buffer, ...binding } of this.outputs(candidate)) {
      const { name } = binding
      const kind = kindOf(binding)
      const theirs = expected.get(name)
      if (!theirs) return `writes '${name}', which ${reference.name} does not`
      const { compare, tolerance = toleranceOf[kind] } = factsOf(this.site.kernel, name)
      const problem = { words: buffer.size / 4, type: kind, magnitudes: compare === 'magnitudes' }
      const sums = this.buffer(16 * differencePartials)
      await this.once(differenceProgram(problem, this.device.caps), [buffer, theirs, sums])
      const { error, broken } = differenceOf(new Float32Array(await this.read(sums)))
      if (broken) return `${broken} elements of '${name}' are not those of ${reference.name}`
      if (!(error <= tolerance))
        return `'${name}' is off by ${error.toExponential(1)} of its norm from that of ${reference.name}`
    }
    return undefined
  }

  /** Of one launch, the mean of as many as fit `grain`. */
  private async nanoseconds(candidate: Candidate): Promise<number> {
    const { launch } = candidate
    const run = async (launches: number): Promise<number> => {
      const [span] = await this.watch.measure(
        1,
        (pass) => {
          launch.bind(pass)
          for (let i = 0; i < launches; i++) launch.dispatch(pass)
        },
        (launches * candidate.expected) / 1e6,
      )
      return Math.max(1, (span!.end - span!.begin) / launches)
    }
    // The first launch warms up and tells how many to take.
    if (candidate.expected === 0) candidate.expected = await run(1)
    const span = this.device.caps.software ? grain.software : grain.gpu
    const time = await run(Math.min(mostLaunches, Math.max(1, Math.ceil(span / candidate.expected))))
    candidate.expected = Math.min(time, candidate.expected)
    return time
  }
}

/** The name with the least time; the heuristic's unless another is clearly faster. */
export function fastestOf(times: Readonly<Record<string, number>>, heuristic: string): string {
  const fastest = Object.keys(times).reduce((a, b) => (times[b]! < times[a]! ? b : a))
  return heuristic in times && times[fastest]! > margin * times[heuristic]! ? heuristic : fastest
}

/** An error in one line. */
const reasonOf = (error: unknown): string => {
  const [first, second] = (error instanceof Error ? error.message : String(error)).split('\n')
  return error instanceof ShaderError ? `does not compile: ${(second ?? first)!.trim()}` : first!
}
