/**
 * What the host pays for a training step, on Dawn's null backend: everything is recorded, encoded and submitted, nothing executes.
 * And the memory of many steps. Node only; every library in a process of its own, in alternating rounds.
 */
import type { AdapterKind } from '../engine/index.ts'
import { contestantName, contestantsOf, type Group, type LibraryName, type Row, type RowContext } from './contract.ts'
import { group as blockGroup } from './groups/block.ts'
import { group as dipGroup } from './groups/dip.ts'
import { admit, reasonOf } from './measure.ts'
import { ProcessRunner } from './processes.ts'
import type { HostReport, HostResult, MemoryResult, Target } from './results.ts'
import type { Runner } from './session.ts'
import { timing } from './statistics.ts'

export interface HostOptions {
  readonly groupFiles: readonly string[]
  readonly peers: readonly LibraryName[]
  /** Where kernels execute. */
  readonly adapter: AdapterKind
  /** Runners there, for the check. */
  readonly checkers: ReadonlyMap<LibraryName, Runner>
  readonly context: RowContext
  readonly quick: boolean
  /** Steps of the memory rows; 0 leaves them out. */
  readonly steps: number
  readonly tell: (what: string) => void
}

/** The libraries that train on WebGPU in Node. */
export const trainingPeers: readonly LibraryName[] = ['tfjs', 'jax-js']

const nullContext = (quick: boolean): RowContext => ({ software: true, maxBinding: 2 ** 27, quick, unchecked: true })

const rowNamed = (group: Group, part: string, context: RowContext): Row => {
  const row = group.rows(context).find(({ name }) => name.includes(part))
  if (!row) throw new Error(`bench: group '${group.name}' has no row named '${part}'`)
  return row
}

const opened = (
  library: LibraryName,
  { groupFiles }: HostOptions,
  adapter: AdapterKind = 'null',
): Promise<ProcessRunner> => ProcessRunner.open({ library, adapter, groupFiles })

/** Steps before GPU objects are counted. */
const settlingSteps = 5

interface Entry {
  readonly name: string
  readonly runner: ProcessRunner
  readonly result: HostResult
  readonly samples: number[]
}

/** Checks every contestant where kernels execute, then makes it ready on the null backend. */
async function enter(options: HostOptions): Promise<{ entries: Entry[]; failed: HostResult[] }> {
  const { context, quick, peers, checkers, tell } = options
  const row = rowNamed(blockGroup, 'training step', context)
  const onNull = nullContext(quick)
  const address = { group: 'block', row: rowNamed(blockGroup, 'training step', onNull).name, context: onNull }
  const entries: Entry[] = []
  const failed: HostResult[] = []
  for (const contestant of contestantsOf(row)) {
    const { library } = contestant
    const name = contestantName(contestant)
    if (library !== 'diptych' && !peers.includes(library)) continue
    const checker = checkers.get(library)
    if (!checker) {
      failed.push({ name, library, status: 'unable', reason: 'it does not start', checks: [] })
      continue
    }
    tell(`host: checking ${name}`)
    const admitted = await admit(row, { ...address, row: row.name, context }, contestant, checker)
    await checker.release()
    if ('status' in admitted) {
      failed.push(admitted)
      continue
    }
    tell(`host: preparing ${name}`)
    try {
      const runner = await opened(library, options)
      await runner.prepare(address, name)
      // Counted once steady: the first steps fill what is kept, such as room for the copies of losses that nobody has read yet.
      await runner.samples(name, settlingSteps)
      const usage = await runner.count(name, 5)
      const { checks } = admitted
      const counted = usage && { counts: usage.counts, peakBytes: usage.peakBytes }
      entries.push({ name, runner, samples: [], result: { name, library, status: 'ok', checks, ...counted } })
    } catch (error) {
      failed.push({ name, library, status: 'unable', reason: reasonOf(error), checks: admitted.checks })
    }
  }
  return { entries, failed }
}

async function raceOnHost({ quick, tell }: HostOptions, entries: readonly Entry[]): Promise<void> {
  tell(`host: timing ${entries.map((e) => e.name).join(', ')}`)
  const [rounds, steps] = quick ? [3, 2] : [20, 10]
  for (const { runner, name } of entries) await runner.samples(name, quick ? 2 : 30)
  for (let r = 0; r < rounds; r++)
    for (let i = 0; i < entries.length; i++) {
      const { runner, name, samples } = entries[(i + r) % entries.length]!
      samples.push(...(await runner.samples(name, steps)))
    }
}

/** Memory of one contestant over many steps, in a process that does nothing else. */
async function memoryOn(
  adapter: AdapterKind,
  steps: number,
  options: HostOptions,
  group: Group,
  part: string,
  library: LibraryName,
): Promise<MemoryResult> {
  const context: RowContext = adapter === 'null' ? nullContext(options.quick) : { ...options.context, unchecked: true }
  const row = rowNamed(group, part, context)
  const contestant = contestantName(contestantsOf(row).find((c) => c.library === library)!)
  options.tell(`host: memory of ${library}, ${row.name}`)
  const runner = await opened(library, options, adapter)
  try {
    const address = { group: group.name, row: row.name, context }
    return {
      ...(await runner.memory({ address, contestant, steps })),
      backend: adapter === 'null' ? 'null' : 'adapter',
    }
  } finally {
    await runner.close()
  }
}

/** Steps that are worth waiting for where they are computed as well. */
const stepsThatRun = 20

/** On the null backend, or where it cannot serve the program, on the adapter, with fewer steps if that is a CPU. */
async function memoryOf(options: HostOptions, group: Group, part: string, library: LibraryName): Promise<MemoryResult> {
  const { steps, context, adapter } = options
  try {
    return await memoryOn('null', steps, options, group, part, library)
  } catch (onNull) {
    try {
      const fewer = context.software ? Math.min(steps, stepsThatRun) : steps
      return await memoryOn(adapter, fewer, options, group, part, library)
    } catch {
      const nothing = { before: 0, peak: 0, after: 0, released: 0, gpuGrowth: 0, heapGrowth: 0, made: 0 }
      return { name: part, library, status: 'unable', reason: reasonOf(onNull), backend: 'null', steps, ...nothing }
    }
  }
}

/** What issue and design ask of the compiled step; times and bytes against the peers of the same run. */
function targets(rows: readonly HostResult[], memory: readonly MemoryResult[]): Target[] {
  const find = (name: string) => rows.find((r) => r.name === name && r.status === 'ok')
  const own = find('diptych')
  if (!own?.timing) return []
  const found: Target[] = []
  const add = (what: string, value: number, limit: number) => found.push({ what, value, limit, met: value <= limit })
  const against = (peer: string, limit: number) => {
    const median = find(peer)?.timing?.median
    if (median !== undefined) add(`median host time over that of ${peer}`, own.timing!.median / median, limit)
  }
  against('jax-js', 1 / 5)
  against('tfjs', 1 / 15)
  if (own.counts) {
    add('dispatches a step', own.counts.dispatches, 70)
    add('submits a step', own.counts.submits, 1)
    add(
      'buffers, bind groups and pipelines made a step',
      own.counts.buffers + own.counts.bindGroups + own.counts.pipelines,
      0,
    )
  }
  const jax = find('jax-js')?.peakBytes
  if (own.peakBytes !== undefined && jax) add('peak live bytes over those of jax-js', own.peakBytes / jax, 1 / 2)
  for (const m of memory.filter((one) => one.library === 'diptych' && one.status === 'ok'))
    add(`GPU bytes grown over ${m.steps} steps, ${m.name.replace(/:.*/, '')}`, m.gpuGrowth, 0)
  return found
}

export async function measureHost(options: HostOptions): Promise<HostReport> {
  const { entries, failed } = await enter(options)
  try {
    await raceOnHost(options, entries)
  } finally {
    for (const { runner } of entries) await runner.close()
  }
  const timed = entries.map(({ result, samples }) => ({ ...result, timing: timing(samples, 1) }))
  const rows = [...timed, ...failed]
  const memory: MemoryResult[] = []
  if (options.steps > 0) {
    for (const library of ['diptych', ...options.peers] as const)
      memory.push(await memoryOf(options, blockGroup, 'training step', library))
    memory.push(await memoryOf(options, dipGroup, options.quick ? 'tiny: training' : 'micro: training', 'diptych'))
  }
  return {
    about: `a training step on Dawn's null backend: ${rowNamed(blockGroup, 'training step', options.context).name}`,
    rows,
    memory,
    targets: targets(rows, memory),
  }
}
