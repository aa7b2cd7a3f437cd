/** `profile(fn)`: what a piece of work costs, launch by launch. */
import { runSubject, type Subject } from '../debug/subject.ts'
import type { Plan } from '../plan/plan.ts'
import { getDevice } from '../runtime/current.ts'
import type { Device } from '../runtime/device.ts'
import type { ObservedRun, Observer } from '../runtime/observer.ts'
import { type Ceilings, ceilings } from './ceilings.ts'
import { type Dispatch, Profile, type Submit } from './report.ts'
import { Stopwatch } from './stopwatch.ts'

export interface ProfileOptions {
  /** Calls of a function before the one that is measured; the first compiles. Default 1. Of no meaning for tensors. */
  readonly warmup?: number
  /** Default: take timestamps where the device has them. False: submit each launch by itself and wait for it. */
  readonly timestamps?: boolean
  /** Default: the default device. */
  readonly device?: Device
}

/**
 * Runs a function (compiled ones included) or computes tensors, each launch in a pass of its own, and reports the time of every
 * launch, its share of the adapter's measured ceilings, and the host's time. A function runs `warmup` + 1 times, with whatever it
 * does to parameters; tensors are computed twice where no assignment forbids it, since a driver may compile at the first. Passes of their own cost a little: the sum is somewhat above what an ordinary run takes.
 *
 *     console.log(String(await profile(() => step(x, y))))
 */
export async function profile(subject: Subject, options: ProfileOptions = {}): Promise<Profile> {
  const device = options.device ?? (await getDevice())
  const limits = await ceilings(device)
  if (typeof subject === 'function') for (let i = options.warmup ?? 1; i > 0; i--) await runSubject(device, subject)
  await device.settled()
  const recorder = new Recorder(device, new Stopwatch(device, options.timestamps), typeof subject !== 'function')
  await device.observe(recorder, () => runSubject(device, subject))
  return recorder.report(limits)
}

class Recorder implements Observer {
  private readonly zero = performance.now()
  private readonly dispatches: Dispatch[] = []
  private readonly submits: Submit[] = []
  private planning: { label: string; at: number; milliseconds: number } | undefined
  /** When the host was last free to record ops: at the start, or after a submit was done. */
  private free = this.zero

  constructor(
    private readonly device: Device,
    private readonly watch: Stopwatch,
    /** Run each plan once before it is timed, if that changes nothing. */
    private readonly warm: boolean,
  ) {}

  planned(label: string, milliseconds: number): void {
    this.planning = { label, at: performance.now() - milliseconds, milliseconds }
  }

  async submit({ executable, groups, label, began }: ObservedRun): Promise<void> {
    const { steps } = executable.plan
    const binding = performance.now() - began
    if (this.warm && isRepeatable(executable.plan))
      await this.watch.measure(1, (pass) => steps.forEach((_, i) => executable.dispatch(pass, i, groups)))
    const submitted = performance.now()
    let encoded = submitted
    const spans = await this.watch.measure(
      steps.length,
      (pass, i) => {
        executable.dispatch(pass, i, groups)
        encoded = performance.now()
      },
      executable.duration,
    )
    const index = this.submits.length
    const start = (this.watch.method === 'timestamps' ? encoded : submitted) - this.zero
    steps.forEach(({ program, ops, origin }, i) => {
      const { begin, end } = spans[i]!
      this.dispatches.push({
        submit: index,
        label: program.label,
        ops,
        origin,
        grid: program.grid,
        flops: program.cost.flops,
        bytes: program.cost.bytes,
        start: start * 1e3 + begin / 1e3,
        microseconds: (end - begin) / 1e3,
      })
    })
    const plan = this.planning
    this.planning = undefined
    this.submits.push({
      label,
      dispatches: steps.length,
      record: Math.max(0, (plan ? plan.at : began) - this.free),
      plan: plan?.milliseconds ?? 0,
      // The wall clock waits between launches: what it waits for is no work of the host.
      encode: binding + (this.watch.method === 'timestamps' ? encoded - submitted : 0),
      start: (plan ? plan.at : began) - this.zero,
    })
    this.free = performance.now()
  }

  report(limits: Ceilings): Profile {
    return new Profile({
      dispatches: this.dispatches,
      submits: this.submits,
      ceilings: limits,
      method: this.watch.method,
      adapter: this.device.adapter,
      wall: performance.now() - this.zero,
    })
  }
}

/** Whether a plan can run again without effect: it changes nothing that existed before. */
const isRepeatable = ({ steps }: Plan): boolean =>
  steps.every(({ program, args }) =>
    args.every((ref, i) => ref.kind !== 'leaf' || program.bindings[i]!.access === 'read'),
  )
