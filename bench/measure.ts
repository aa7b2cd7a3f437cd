/**
 * Measures a row: every contestant is checked first, those that pass are timed in alternating rounds, so that whatever else the
 * machine does falls on all of them alike.
 */
import {
  type Check,
  type Contestant,
  contestantName,
  contestantsOf,
  type Launch,
  type LibraryName,
  type Row,
} from './contract.ts'
import type { ContestantResult, LaunchResult, RowResult } from './results.ts'
import { type Ceilings, estimate, rtx3090 } from './roofline.ts'
import type { PreparedInfo, RowAddress, Runner, Usage } from './session.ts'
import { timing } from './statistics.ts'

export interface MeasureOptions {
  readonly quick: boolean
  readonly ceilings: Ceilings
  /** Says what is being done. */
  readonly tell?: (what: string) => void
}

export interface Entry {
  readonly contestant: Contestant
  readonly name: string
  readonly runner: Runner
  readonly checks: readonly Check[]
  readonly info: PreparedInfo
  readonly usage: Usage | undefined
  /** Least ms of a run so far. */
  quickest: number
  repeats: number
  readonly samples: number[]
}

/** What an error says, in one line. */
export function reasonOf(error: unknown): string {
  const [first = '', second = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
  return first.endsWith(':') ? `${first} ${second.trim()}` : first
}

export const passed = (checks: readonly Check[]): boolean =>
  checks.length > 0 && checks.every(({ error, limit }) => error <= limit)

export function whyFailed(checks: readonly Check[]): string {
  const bad = checks.filter(({ error, limit }) => !(error <= limit))
  if (!checks.length) return 'wrong: it was compared with nothing'
  return `wrong: ${bad.map((c) => `${c.what} is off by ${c.error.toPrecision(2)}, at most ${c.limit} allowed`).join('; ')}`
}

/** Prepares a contestant and checks it; a result instead of an entry when it may not be timed. */
export async function admit(
  row: Row,
  address: RowAddress,
  contestant: Contestant,
  runner: Runner,
): Promise<Entry | ContestantResult> {
  const name = contestantName(contestant)
  const { library } = contestant
  try {
    const info = await runner.prepare(address, name)
    const checks = await row.check(info.outputs, row.inputs())
    if (!passed(checks)) return { name, library, status: 'failed', reason: whyFailed(checks), checks }
    const usage = await runner.count(name, 2)
    return { contestant, name, runner, checks, info, usage, quickest: Infinity, repeats: 1, samples: [] }
  } catch (error) {
    return { name, library, status: 'unable', reason: reasonOf(error), checks: [] }
  }
}

const isEntry = (x: Entry | ContestantResult): x is Entry => 'samples' in x

/** Ms that a sample lasts at least. Starting it and waiting for it, up to 2 ms on a CPU adapter, then weigh little. */
const enough = 20
/** Runs of a sample at most, and bytes that they may take together: a library may free nothing before the queue is waited for. */
const [mostRuns, mostBytes] = [1000, 2 ** 30]

/** Runs that make a sample long enough, by the quickest so far. */
function repeatsOf({ quickest, usage }: Entry): number {
  const fitting = Math.floor(mostBytes / Math.max(usage?.peakBytes ?? 0, 1))
  return Math.max(1, Math.min(Math.ceil(enough / quickest), mostRuns, fitting))
}

/** Times all entries in rounds, each round in another order. */
async function race(entries: readonly Entry[], { quick }: MeasureOptions): Promise<void> {
  const expected = (e: Entry) => (Number.isFinite(e.quickest) ? e.quickest * e.repeats : 0)
  const once = async (e: Entry, known = expected(e)) => {
    const took = await e.runner.sample(e.name, e.repeats, known)
    e.quickest = Math.min(e.quickest, took)
    return took
  }
  for (const e of entries) {
    // How long a run takes is learned while it is waited for; the first of these are too long, for they are not slept through.
    for (let i = 0; i < 3 && !(i > 0 && e.quickest > 300); i++) await once(e)
    // A short run alone is mostly the wait for it, so how many fit is seen only when several share one.
    for (let i = 0; i < 4 && repeatsOf(e) > e.repeats; i++) {
      e.repeats = repeatsOf(e)
      await once(e, 0)
    }
    for (let i = 0; i < (e.repeats > 1 ? 2 : 1); i++) await once(e)
  }
  const round = entries.reduce((sum, e) => sum + expected(e), 0)
  const [least, most, budget] = quick ? [3, 5, 400] : [round > 3000 ? 5 : 7, 40, 3000 * entries.length]
  const rounds = Math.min(most, Math.max(least, Math.floor(budget / Math.max(round, 1e-3))))
  for (let r = 0; r < rounds; r++)
    for (let i = 0; i < entries.length; i++) {
      const e = entries[(i + r) % entries.length]!
      e.samples.push(await once(e))
    }
}

const described = (launches: readonly Launch[] | undefined, ceilings: Ceilings): LaunchResult[] | undefined =>
  launches?.map((launch) => {
    const { bound, milliseconds } = estimate(launch, ceilings)
    return { ...launch, intensity: launch.flops / Math.max(launch.bytes, 1), bound, least: milliseconds }
  })

function finish(entry: Entry, row: Row, ceilings: Ceilings): ContestantResult {
  const { name, contestant, checks, info, usage } = entry
  const time = timing(entry.samples, entry.repeats)
  const launches = described(info.launches, ceilings)
  const discreteLaunches = described(info.discreteLaunches, rtx3090)
  const bytesMoved = launches ? launches.reduce((sum, l) => sum + l.bytes, 0) : usage?.counts.boundBytes
  return {
    name,
    library: contestant.library,
    status: 'ok',
    checks,
    timing: time,
    speed: (row.unit === 'GFLOP/s' ? row.cost.flops : row.cost.bytes) / (time.median * 1e6),
    share: estimate(row.cost, ceilings).milliseconds / time.median,
    ...(usage && { counts: usage.counts, peakBytes: usage.peakBytes }),
    ...(bytesMoved !== undefined && { bytesMoved }),
    ...(launches && { launches }),
    ...(discreteLaunches && { discreteLaunches }),
  }
}

/** Median of the fastest peer over that of this engine's fastest contestant. */
function leadOf(results: readonly ContestantResult[]): number | undefined {
  const fastest = (own: boolean) =>
    Math.min(
      ...results
        .filter((r) => (r.library === 'diptych') === own)
        .map((r) => r.timing?.median ?? Number.POSITIVE_INFINITY),
    )
  const [peer, own] = [fastest(false), fastest(true)]
  return Number.isFinite(peer) && Number.isFinite(own) ? peer / own : undefined
}

/** Checks, then times. Contestants of libraries that have no runner are left out. */
export async function measureRow(
  row: Row,
  address: RowAddress,
  runners: ReadonlyMap<LibraryName, Runner>,
  options: MeasureOptions,
): Promise<RowResult> {
  const { ceilings } = options
  const admitted: (Entry | ContestantResult)[] = []
  for (const contestant of contestantsOf(row)) {
    const runner = runners.get(contestant.library)
    if (!runner) continue
    options.tell?.(`${address.group} ${row.name}: checking ${contestantName(contestant)}`)
    admitted.push(await admit(row, address, contestant, runner))
  }
  const entries = admitted.filter(isEntry)
  options.tell?.(`${address.group} ${row.name}: timing ${entries.map((e) => e.name).join(', ')}`)
  try {
    await race(entries, options)
  } finally {
    for (const runner of runners.values()) await runner.release()
  }
  const contestants = admitted.map((one) => (isEntry(one) ? finish(one, row, ceilings) : one))
  const here = estimate(row.cost, ceilings)
  const there = estimate(row.cost, rtx3090)
  const lead = leadOf(contestants)
  return {
    name: row.name,
    unit: row.unit,
    ...row.cost,
    intensity: row.cost.flops / row.cost.bytes,
    bound: here.bound,
    least: here.milliseconds,
    discreteBound: there.bound,
    discreteLeast: there.milliseconds,
    contestants,
    ...(lead !== undefined && { lead }),
  }
}
