/** `checkNumerics(fn)`: the first op that made a NaN or an infinity, where it was recorded, and what it was given. */
import { type Summary, summaryOf, summaryProgram, summaryWords } from '../../kernels/inspect/summary.ts'
import { byteSize, isFloat } from '../dtype.ts'
import { type OutputSpec, recordOrigins } from '../graph.ts'
import { getDevice } from '../runtime/current.ts'
import type { Device } from '../runtime/device.ts'
import { type Launch, prepareLaunch } from '../runtime/launch.ts'
import type { ObservedRun, Observer } from '../runtime/observer.ts'
import { formatShape, numel } from '../shape.ts'
import { runSubject, type Subject } from './subject.ts'

export interface NumericsOptions {
  /** False: only NaN counts, where infinities are meant (masks). Default true. */
  readonly infinities?: boolean
  /** Default: the default device. */
  readonly device?: Device
}

/** A float value that an op read or made. */
export interface ValueSummary extends Summary, OutputSpec {}

export interface NumericsFault {
  /** The op, or `leaf` when the value was given and not made. */
  readonly op: string
  /** Source line that recorded it; unknown for tensors that were recorded before the check. */
  readonly origin: string | undefined
  /** Place among the launches of its run, from 0, and what the run is called. */
  readonly step: number
  readonly run: string
  readonly value: ValueSummary
  /** The float inputs, as they were before it ran. */
  readonly inputs: readonly ValueSummary[]
}

export class NumericsReport {
  constructor(
    /** Undefined when every value is finite. */
    readonly fault: NumericsFault | undefined,
    /** Values looked at. */
    readonly checked: number,
  ) {}

  get ok(): boolean {
    return this.fault === undefined
  }

  toString(): string {
    if (!this.fault) return `${this.checked} values, all of their elements finite`
    const { op, origin, step, run, value, inputs } = this.fault
    const what = [value.nans && `${value.nans} NaN`, value.infinities && `${value.infinities} infinite`]
    const bad = what.filter(Boolean).join(' and ')
    const where = origin ?? 'not known where: record the tensors inside the function that is checked'
    const made = op === 'leaf' ? 'a value that was given holds' : `'${op}' made`
    return [
      `${made} ${bad} of the ${numel(value.shape)} elements of ${value.dtype}${formatShape(value.shape)}, the first at flat index ${value.first}`,
      `  recorded at ${where}`,
      `  step ${step} of '${run}'`,
      ...inputs.map((x, i) => `  input ${i}: ${describe(x)}`),
    ].join('\n')
  }
}

function describe({ shape, dtype, min, max, nans, infinities }: ValueSummary): string {
  const range = min === undefined ? 'no finite element' : `from ${min} to ${max}`
  const bad = [nans && `${nans} NaN`, infinities && `${infinities} infinite`].filter(Boolean).join(', ')
  return `${dtype}${formatShape(shape)}, ${range}${bad ? `, ${bad}` : ''}`
}

/**
 * Runs a function (or computes tensors) with every op in a launch of its own and looks at all floats that it reads or makes, by
 * their bits. Slow: for finding a fault, not for training. A function runs once, with whatever it does to parameters.
 *
 *     console.log(String(await checkNumerics(() => model.loss(x, y))))
 */
export async function checkNumerics(subject: Subject, options: NumericsOptions = {}): Promise<NumericsReport> {
  const device = options.device ?? (await getDevice())
  // What was recorded before is none of the function's.
  await device.realize([])
  const inspector = new Inspector(device)
  const [origins, fuse] = [recordOrigins(true), device.fuse]
  device.fuse = false
  try {
    await device.observe(inspector, () => runSubject(device, subject))
  } finally {
    recordOrigins(origins)
    device.fuse = fuse
  }
  return inspector.report(options.infinities ?? true)
}

/** A value to look at. */
interface Look {
  readonly step: number
  /** After the step, which writes it; else before it. */
  readonly made: boolean
  /** It existed before the run. */
  readonly given: boolean
  readonly spec: OutputSpec
  /** Elements. */
  readonly count: number
  readonly resource: GPUBufferBinding
}

class Inspector implements Observer {
  /** In the order of the launches. */
  private readonly seen: (Look & { run: ObservedRun; summary: Summary })[] = []

  constructor(private readonly device: Device) {}

  planned(): void {}

  async submit(run: ObservedRun): Promise<void> {
    const { executable, groups } = run
    const { gpu, memory } = this.device
    const { steps } = executable.plan
    const looks: Look[] = []
    for (const step of steps.keys()) looks.push(...looksAt(run, step))
    const stride = Math.max(4 * summaryWords, gpu.limits.minStorageBufferOffsetAlignment)
    const records = memory.create(Math.max(1, looks.length) * stride, 0x80 | 0x04, 'checkNumerics')
    const readback = memory.create(records.size, 0x01 | 0x08, 'checkNumerics')
    const launches: Launch[] = []
    for (const [i, { count, spec, resource }] of looks.entries()) {
      const program = summaryProgram({ count, type: spec.dtype as 'f32' | 'f16' }, this.device.caps)
      const record = { buffer: records, offset: i * stride, size: 4 * summaryWords }
      launches.push(await prepareLaunch(this.device, program, [resource, record]))
    }

    const encoder = gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    let next = 0
    const lookWhile = (wanted: (look: Look) => boolean) => {
      for (; next < looks.length && wanted(looks[next]!); next++) {
        launches[next]!.bind(pass)
        launches[next]!.dispatch(pass)
      }
    }
    for (const step of steps.keys()) {
      lookWhile((look) => look.step === step && !look.made)
      executable.dispatch(pass, step, groups)
      lookWhile((look) => look.step === step)
    }
    pass.end()
    encoder.copyBufferToBuffer(records, 0, readback, 0, records.size)
    gpu.queue.submit([encoder.finish()])
    await readback.mapAsync(1)
    const words = new Uint32Array(readback.getMappedRange().slice(0))
    looks.forEach((look, i) => {
      const at = (i * stride) / 4
      this.seen.push({ ...look, run, summary: summaryOf(words.subarray(at, at + summaryWords)) })
    })
    for (const launch of launches) launch.destroy()
    for (const buffer of [records, readback]) buffer.destroy()
  }

  report(infinities: boolean): NumericsReport {
    const found = this.seen.find(
      ({ summary, made, given }) => (made || given) && (summary.nans > 0 || (infinities && summary.infinities > 0)),
    )
    if (!found) return new NumericsReport(undefined, this.seen.length)
    const { run, step, made, spec, summary } = found
    const { ops, origin } = run.executable.plan.steps[step]!
    const inputs = this.seen.filter((look) => made && look.run === run && look.step === step && !look.made)
    return new NumericsReport(
      {
        op: made ? ops : 'leaf',
        origin: made ? origin : undefined,
        step,
        run: run.label,
        value: { ...spec, ...summary },
        inputs: inputs.map((look) => ({ ...look.spec, ...look.summary })),
      },
      this.seen.length,
    )
  }
}

/** What to look at around a step: first what it reads, then what it makes. */
function looksAt({ executable, bound }: ObservedRun, step: number): Look[] {
  const { program, args, specs } = executable.plan.steps[step]!
  const resources = executable.resources(step, bound)
  const looks = (made: boolean): Look[] =>
    program.bindings.flatMap(({ access }, i) => {
      const [spec, ref] = [specs[i], args[i]!]
      const given = ref.kind === 'leaf'
      // What stands in an output before says nothing, but where it is updated.
      if (!spec || !isFloat(spec.dtype) || (made ? access === 'read' : access !== 'read' && !given)) return []
      const bytes = ref.kind === 'slot' ? ref.bytes : ref.window?.bytes
      const count = Math.min(numel(spec.shape), bytes === undefined ? Infinity : bytes / byteSize(spec.dtype))
      return count ? [{ step, made, given, spec, count, resource: resources[i]! }] : []
    })
  return [...looks(false), ...looks(true)]
}
