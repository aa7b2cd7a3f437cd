/** Which of several whole expressions for the same value is fastest. */
import type { Node } from '../graph.ts'
import { Stopwatch } from '../profile/stopwatch.ts'
import type { Device } from '../runtime/device.ts'
import type { ObservedRun, Observer } from '../runtime/observer.ts'
import type { Choice } from './choices.ts'
import { type Clock, fastestOf } from './trial.ts'

/** Tensors, or anything else that stands for nodes. */
export type Results = readonly { readonly node: Node }[]

export interface Expression {
  readonly name: string
  readonly problem: string
  /** With exact sizes. */
  readonly example: string
  /** Makes an example, on data of its own that are the same for every way: results that must agree. The first is the fallback. */
  readonly ways: Readonly<Record<string, () => Results>>
}

/** Relative error within which two ways must agree: they may be different algorithms. */
const tolerance = 1e-2

export interface ExpressionOptions {
  readonly rounds?: number
  readonly clock?: Clock
}

/** Times every way that agrees with the first that gives finite values, launches alone. Undefined when none does. */
export async function measureExpression(
  device: Device,
  { name, ways }: Expression,
  { rounds = 5, clock = (_, __, measure) => measure() }: ExpressionOptions,
): Promise<Choice | undefined> {
  const rejected: Record<string, string> = {}
  const samples: Record<string, number[]> = {}
  let expected: Float64Array[] | undefined
  for (const [way, make] of Object.entries(ways)) {
    try {
      const found = await valuesOf(device, make())
      const fault = expected && disagreement(found, expected)
      if (fault) rejected[way] = fault
      else samples[way] = []
      expected ??= found
    } catch (error) {
      rejected[way] = (error as Error).message.split('\n')[0]!
    }
  }
  if (!expected) return undefined
  for (let round = 0; round < rounds; round++)
    for (const [way, times] of Object.entries(samples))
      times.push(await clock(name, way, () => nanoseconds(device, ways[way]!())))
  const times = Object.fromEntries(Object.entries(samples).map(([way, of]) => [way, Math.min(...of) / 1e3]))
  return { winner: fastestOf(times, Object.keys(ways)[0]!), times, rejected }
}

async function valuesOf(device: Device, results: Results): Promise<Float64Array[]> {
  await device.realize(results.map((r) => r.node))
  const values: Float64Array[] = []
  for (const { node } of results) values.push(Float64Array.from(await device.read(node)))
  if (values.some((v) => v.some((x) => !Number.isFinite(x)))) throw new Error('gives values that are not finite')
  return values
}

function disagreement(found: readonly Float64Array[], expected: readonly Float64Array[]): string | undefined {
  if (found.length !== expected.length) return `gives ${found.length} results, the first way ${expected.length}`
  for (const [i, mine] of found.entries()) {
    const theirs = expected[i]!
    if (mine.length !== theirs.length)
      return `result ${i} has ${mine.length} elements, the first way's ${theirs.length}`
    let [difference, norm] = [0, 0]
    for (let j = 0; j < mine.length; j++) {
      difference += (mine[j]! - theirs[j]!) ** 2
      norm += theirs[j]! ** 2
    }
    const error = Math.sqrt(norm ? difference / norm : difference)
    if (!(error <= tolerance)) return `result ${i} is off by ${error.toExponential(1)} of its norm`
  }
  return undefined
}

async function nanoseconds(device: Device, results: Results): Promise<number> {
  const timer = new Timer(device)
  await device.observe(timer, () => device.realize(results.map((r) => r.node)))
  return timer.nanoseconds
}

/** Adds up the time of whole plans. */
class Timer implements Observer {
  nanoseconds = 0
  private readonly watch: Stopwatch

  constructor(device: Device) {
    this.watch = new Stopwatch(device)
  }

  planned(): void {}

  async submit({ executable, groups }: ObservedRun): Promise<void> {
    const [span] = await this.watch.measure(1, (pass) => executable.encode(pass, groups), executable.duration)
    this.nanoseconds += span!.end - span!.begin
  }
}
