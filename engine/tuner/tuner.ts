/**
 * Chooses among variants by what was measured on this adapter and driver, and measures when it is asked to.
 *
 * An ordinary run never measures: it takes the winner that is known for a problem like the one at hand, else the first variant.
 * `tune` measures the problems of a piece of work; what it finds is kept for the next runs of any program of the same user.
 */
import type { Variant } from '../../kernels/kernel.ts'
import { runSubject, type Subject } from '../debug/subject.ts'
import type { OpenOptions } from '../device/adapter.ts'
import type { Node } from '../graph.ts'
import type { BufferRef, Chooser, Plan } from '../plan/plan.ts'
import { Stopwatch } from '../profile/stopwatch.ts'
import type { Device } from '../runtime/device.ts'
import type { ObservedRun, Observer } from '../runtime/observer.ts'
import { adapterKey, bucketOf, exactOf } from './bucket.ts'
import { type Choice, Choices } from './choices.ts'
import { type Confirmation, confirmWinners } from './confirm.ts'
import { type Expression, measureExpression } from './expression.ts'
import type { TuningStore } from './store.ts'
import { type Clock, runTrial, type Site } from './trial.ts'

export type TuningMode = NonNullable<OpenOptions['tune']>

export interface TuneOptions {
  /** Nothing new is begun after this many seconds. Default: no limit. */
  readonly seconds?: number
  /** Measure again what is known already. */
  readonly force?: boolean
  /** Measurements of each candidate, of which the fastest counts. Default 5. */
  readonly rounds?: number
  /** Problems of a smaller share of the work's time are left to the heuristic. Default 0.003. */
  readonly leastShare?: number
  /** Then run the work with and without the winners, and give up those that make the whole slower. */
  readonly confirm?: boolean
  readonly signal?: AbortSignal
  /** Called before each problem. */
  readonly onProgress?: (done: number, total: number, problem: string) => void
  /** Tests bring their own clock. */
  readonly clock?: Clock
}

export interface Tuned {
  /** Kernel, or name of the expression. */
  readonly kernel: string
  /** The problem, sizes rounded; with the kernel's name the key under which the choice is kept. */
  readonly problem: string
  /** The problem as it was met, with its exact sizes. */
  readonly example: string
  /** What is taken where nothing was measured. */
  readonly heuristic: string
  readonly choice: Choice
  /** Launches of this problem in the work that was tuned, and their share of its time. */
  readonly count: number
  readonly share: number
  /** Measured now, and not known before. */
  readonly fresh: boolean
}

export interface TuneReport {
  readonly problems: readonly Tuned[]
  /** Problems that were not measured, and why. */
  readonly skipped: readonly { readonly problem: string; readonly reason: string }[]
  /** What the winners do for the whole work; when `confirm` was asked for. */
  readonly whole?: Confirmation
}

/** Travels with a chosen program, so that the plans that have it can be asked which problems they pose. */
class Problem {
  constructor(
    readonly kernel: string,
    readonly problem: string,
    readonly example: string,
    readonly variants: readonly Variant[],
  ) {}
}

/** A problem with what its bindings are given, how often it is launched and what that takes. */
interface Found extends Problem {
  readonly bindings: Site['bindings']
  count: number
  nanoseconds: number
}

export class Tuner {
  mode: TuningMode = 'cached'
  private generation = 0
  private off: ReadonlySet<string> = new Set()
  private readonly choices = new Choices()
  private readonly adapter: string
  private expressions: Map<string, Expression> | undefined
  private warned = false

  constructor(
    private readonly device: Device,
    private store: TuningStore | undefined,
  ) {
    this.adapter = adapterKey(device.adapter)
  }

  /** Kernels for which the first variant is taken whatever was measured. */
  set disabled(kernels: ReadonlySet<string>) {
    this.off = kernels
  }

  /** Changes whenever a plan might come out differently; part of the key of every plan. */
  get stamp(): string {
    return this.mode === 'off' ? 'off' : [this.generation, ...this.off].join()
  }

  /** Problems with a winner for this adapter. */
  get size(): number {
    return this.choices.count(this.adapter)
  }

  /** Where choices are kept, for people. */
  get where(): string {
    return this.store?.where ?? 'memory'
  }

  readonly choose: Chooser = (kernel, variants, problem) => {
    const bucket = bucketOf(problem)
    const winner = this.winner(kernel, bucket)
    const variant = (winner && variants.find((v) => v.name === winner)) || variants[0]!
    const program = variant.program()
    if (variants.length === 1) return program
    return { ...program, chosen: new Problem(kernel, bucket, exactOf(problem), variants) }
  }

  private winner(kernel: string, problem: string): string | undefined {
    return this.mode === 'off' || this.off.has(kernel)
      ? undefined
      : this.choices.get(this.adapter, `${kernel} ${problem}`)?.winner
  }

  /**
   * The name of the fastest of several ways to compute the same; the first where nothing was measured. Each way is a function that
   * makes an example of it, on data of its own; `tune` measures those that the work it is given asked for.
   */
  way<W extends string>(name: string, problem: object, ways: Readonly<Record<W, Expression['ways'][string]>>): W {
    const bucket = bucketOf(problem)
    this.expressions?.set(`${name} ${bucket}`, { name, problem: bucket, example: exactOf(problem), ways })
    const winner = this.winner(name, bucket)
    return (winner !== undefined && winner in ways ? winner : Object.keys(ways)[0]) as W
  }

  // ── the store ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Reads what was kept. Something unreadable is said once and treated as nothing. */
  async load(): Promise<void> {
    if (!this.store) return
    try {
      const text = await this.store.load()
      if (text !== undefined && this.choices.merge(text)) this.generation++
    } catch (error) {
      this.warn(`${(error as Error).message}. Kernels run untuned; the next \`diptych tune\` replaces it`)
    }
  }

  /** Keeps everything known. What another program has kept meanwhile stays, where it is about other problems. */
  private async save(): Promise<void> {
    if (!this.store) return
    try {
      const text = await this.store.load()
      if (text !== undefined) this.choices.merge(text, true)
    } catch {
      // Unreadable: `load` has said so.
    }
    try {
      await this.store.save(this.export())
    } catch (error) {
      this.warn(`it cannot be written (${(error as Error).message}): what was tuned is lost when this program ends`)
    }
  }

  private warn(what: string): void {
    if (!this.warned) console.warn(`diptych: tuning results in ${this.store!.where}: ${what}.`)
    this.warned = true
  }

  /** All choices, of other adapters too, as JSON. */
  export(): string {
    return `${JSON.stringify(this.choices, null, 1)}\n`
  }

  /** Takes over choices that `export` gave, here or elsewhere, and keeps them. @throws TuningFormatError */
  async import(text: string): Promise<number> {
    const taken = this.choices.merge(text)
    this.generation++
    await this.save()
    return taken
  }

  /** Forgets what was measured on this adapter, in the store too. */
  async clear(): Promise<void> {
    this.choices.clear(this.adapter)
    this.generation++
    try {
      await this.store?.save(this.export())
    } catch (error) {
      this.warn(`it cannot be written (${(error as Error).message})`)
    }
  }

  // ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs `subject`, a function twice, to see which problems it has; measures them; keeps the winners. */
  async tune(subject: Subject, options: TuneOptions = {}): Promise<TuneReport> {
    const found = new Map<string, Found>()
    this.expressions = new Map()
    try {
      const deadline = performance.now() + 1e3 * (options.seconds ?? Number.POSITIVE_INFINITY)
      // The first run compiles; it says nothing about times.
      if (typeof subject === 'function') await runSubject(this.device, subject)
      const collector = new Collector(this, this.device, found)
      await this.device.observe(collector, () => runSubject(this.device, subject))
      const expressions = this.expressions
      this.expressions = undefined
      const report = await this.device.exclusive('tuning', () =>
        this.measure(found, collector.nanoseconds, deadline, options),
      )
      const full = await this.measureExpressions(expressions, report, deadline, options)
      if (!options.confirm) return full
      const whole = await confirmWinners(this.device, subject, full.problems, deadline)
      this.giveUp(full.problems.filter((p) => whole.dropped.includes(p.kernel)))
      return { ...full, whole }
    } finally {
      this.expressions = undefined
      await this.save()
    }
  }

  /** Measures what a plan has that is not known yet, before it runs; for `on-first-use`. Whether anything was learnt. */
  async tunePlan(plan: Plan, leaves: readonly Node[]): Promise<boolean> {
    const found = new Map<string, Found>()
    this.collect(plan, leaves, found)
    const { problems } = await this.measure(found, 0, Number.POSITIVE_INFINITY, {})
    const fresh = problems.some((p) => p.fresh)
    if (fresh) await this.save()
    return fresh
  }

  /** Adds the problems of a plan that have more than one variant; `spent` are nanoseconds of its steps, where they are known. */
  collect(plan: Plan, leaves: readonly Node[], found: Map<string, Found>, spent: readonly number[] = []): void {
    for (const [step, { program, args }] of plan.steps.entries()) {
      const problem = program.chosen
      if (!(problem instanceof Problem)) continue
      const key = `${problem.kernel} ${problem.problem}`
      const known = found.get(key)
      if (known) {
        known.count++
        known.nanoseconds += spent[step] ?? 0
        continue
      }
      const bindings = args.map((ref) => ({ bytes: bytesOf(ref, plan, leaves), memory: JSON.stringify(ref) }))
      found.set(key, { ...problem, bindings, count: 1, nanoseconds: spent[step] ?? 0 })
    }
  }

  private isKnown(key: string, names: readonly string[]): boolean {
    const choice = this.choices.get(this.adapter, key)
    if (!choice) return false
    // A kernel that has gained or lost a variant is measured again.
    return names.every((n) => n in choice.times || n in choice.rejected) && names.includes(choice.winner)
  }

  private async measure(
    found: ReadonlyMap<string, Found>,
    total: number,
    deadline: number,
    { force, leastShare = 0.003, rounds = 5, signal, onProgress, clock = (_, __, measure) => measure() }: TuneOptions,
  ): Promise<TuneReport> {
    const problems: Tuned[] = []
    const skipped: { problem: string; reason: string }[] = []
    // What takes most of the work first: the time may not suffice for all.
    const order = [...found].sort(([, a], [, b]) => b.nanoseconds - a.nanoseconds)
    let done = 0
    for (const [key, site] of order) {
      signal?.throwIfAborted()
      onProgress?.(done++, order.length, key)
      const { kernel, problem, example, variants, count } = site
      const share = total ? site.nanoseconds / total : 1
      const heuristic = variants[0]!.name
      const entry = { kernel, problem, example, heuristic, count, share }
      const names = variants.map((v) => v.name)
      if (!force && this.isKnown(key, names)) {
        const choice = this.choices.get(this.adapter, key)!
        problems.push({ ...entry, choice, fresh: false })
        continue
      }
      const reason =
        share < leastShare ? `under ${+(100 * leastShare).toPrecision(3)} % of the time` : 'the time was up'
      if (share < leastShare || performance.now() > deadline) {
        skipped.push({ problem: key, reason })
        continue
      }
      let choice: Choice | undefined
      try {
        choice = await runTrial(this.device, site, { clock, rounds, deadline })
      } catch (error) {
        skipped.push({ problem: key, reason: (error as Error).message.split('\n')[0]! })
        continue
      }
      if (!choice) {
        skipped.push({ problem: key, reason: performance.now() > deadline ? 'the time was up' : 'no variant runs' })
        continue
      }
      this.learn(key, choice)
      problems.push({ ...entry, choice, fresh: true })
    }
    return { problems, skipped }
  }

  private learn(key: string, choice: Choice): void {
    this.choices.set(this.adapter, key, choice)
    this.generation++
  }

  private async measureExpressions(
    expressions: ReadonlyMap<string, Expression>,
    report: TuneReport,
    deadline: number,
    options: TuneOptions,
  ): Promise<TuneReport> {
    const problems = [...report.problems]
    const skipped = [...report.skipped]
    for (const [key, expression] of expressions) {
      options.signal?.throwIfAborted()
      const { name, problem, example, ways } = expression
      const names = Object.keys(ways)
      // What share of the work it has is not known: its launches are among the others.
      const entry = { kernel: name, problem, example, heuristic: names[0]!, count: 1, share: 0 }
      if (!options.force && this.isKnown(key, names)) {
        problems.push({ ...entry, choice: this.choices.get(this.adapter, key)!, fresh: false })
        continue
      }
      if (performance.now() > deadline) {
        skipped.push({ problem: key, reason: 'the time was up' })
        continue
      }
      options.onProgress?.(problems.length, problems.length + 1, key)
      const choice = await measureExpression(this.device, expression, options)
      if (!choice) {
        skipped.push({ problem: key, reason: 'no way gives finite values' })
        continue
      }
      this.learn(key, choice)
      problems.push({ ...entry, choice, fresh: true })
    }
    return { problems, skipped }
  }

  /** Takes the heuristic for these problems from now on. */
  private giveUp(problems: readonly Tuned[]): void {
    for (const { kernel, problem, heuristic, choice } of problems)
      if (heuristic in choice.times) this.learn(`${kernel} ${problem}`, { ...choice, winner: heuristic })
  }
}

/** Runs what the work asks for and notes the problems in its plans, with the time they take. */
class Collector implements Observer {
  nanoseconds = 0
  private readonly watch: Stopwatch

  constructor(
    private readonly tuner: Tuner,
    device: Device,
    private readonly found: Map<string, Found>,
  ) {
    this.watch = new Stopwatch(device)
  }

  planned(): void {}

  async submit({ executable, groups, leaves }: ObservedRun): Promise<void> {
    const { plan, duration } = executable
    const spans = await this.watch.measure(
      plan.steps.length,
      (pass, i) => executable.dispatch(pass, i, groups),
      duration,
    )
    const spent = spans.map(({ begin, end }) => end - begin)
    this.nanoseconds += spent.reduce((sum, t) => sum + t, 0)
    this.tuner.collect(plan, leaves, this.found, spent)
  }
}

function bytesOf(ref: BufferRef, plan: Plan, leaves: readonly Node[]): number {
  if (ref.kind === 'slot') return ref.bytes
  if (ref.window) return ref.window.bytes
  if (ref.kind === 'result') return plan.results[ref.index]!.bytes
  const leaf = leaves[ref.index]!
  return leaf.storage?.byteLength ?? leaf.host!.byteLength
}
