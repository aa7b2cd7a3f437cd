/**
 * `npm run bench -- [groups…]`: checks, measures and reports. Exits 1 if a check of this engine failed, 2 if it was asked for
 * something that does not exist.
 */
import { writeFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { type AdapterKind, DeviceError } from '../engine/index.ts'
import { type DeviceInfo, type Group, type LibraryName, libraryNames, type RowContext } from './contract.ts'
import { loadGroups, ownGroupFiles } from './groups.ts'
import { measureHost, trainingPeers } from './host.ts'
import { openLibrary, packageVersion } from './open.ts'
import { hostText } from './output/host.ts'
import { groupTitle, headText, rowText, verdict } from './output/table.ts'
import { ProcessRunner } from './processes.ts'
import type { Environment, Report } from './results.ts'
import { chosenRows, passedAll, runGroups } from './run.ts'
import { type Runner, Session } from './session.ts'

interface Options {
  readonly peers?: boolean | string
  readonly filter: readonly string[]
  readonly quick?: boolean
  readonly json?: string
  readonly html?: string
  readonly adapter: AdapterKind
  readonly group: readonly string[]
  readonly serve?: boolean
  readonly port: number
  readonly steps: number
}

/** What the user asked for and cannot have. */
class UsageError extends Error {}

const peerNames = libraryNames.filter((name) => name !== 'diptych')

function chosenPeers(asked: boolean | string | undefined): LibraryName[] {
  if (!asked) return []
  if (asked === true) return [...peerNames]
  return asked.split(',').map((name) => {
    if (!(peerNames as string[]).includes(name))
      throw new UsageError(`there is no peer '${name}'; known are ${peerNames.join(', ')}`)
    return name as LibraryName
  })
}

function chosenGroups(groups: readonly Group[], wanted: readonly string[]): Group[] {
  if (!wanted.length) return [...groups]
  return wanted.map((name) => {
    const found = groups.find((g) => g.name === name)
    if (!found)
      throw new UsageError(
        `there is no group '${name}'; known are ${[...groups.map((g) => g.name), 'host'].join(', ')}`,
      )
    return found
  })
}

/** A line that is overwritten, where a person watches. */
const tell = (what: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`)
}

const say = (text: string): void => {
  tell('')
  console.log(text)
}

function environmentOf(device: DeviceInfo, runners: Iterable<Runner>): Environment {
  const versions: Record<string, string> = {
    diptych: packageVersion(new URL('../package.json', import.meta.url)),
    node: process.versions.node,
    webgpu: packageVersion(new URL('package.json', import.meta.resolve('webgpu'))),
  }
  for (const { library, version } of runners) if (library !== 'diptych') versions[library] = version
  return {
    date: new Date().toISOString(),
    adapter: device.adapter,
    driver: device.driver,
    software: device.software,
    platform: `Node ${process.versions.node}, ${process.platform} ${process.arch}`,
    versions,
  }
}

/** A runner for this engine and each peer. With peers all live in processes of their own, else this engine lives here. */
async function openRunners(
  groups: readonly Group[],
  files: readonly string[],
  peers: readonly LibraryName[],
  adapter: AdapterKind,
): Promise<Map<LibraryName, Runner>> {
  const runners = new Map<LibraryName, Runner>()
  if (!peers.length) return runners.set('diptych', new Session(await openLibrary('diptych', adapter), groups))
  const { installPeers } = await import('./peers/install.ts')
  installPeers(say)
  for (const library of ['diptych', ...peers] as const) {
    tell(`starting ${library}`)
    try {
      runners.set(library, await ProcessRunner.open({ library, adapter, groupFiles: files }))
    } catch (error) {
      if (library === 'diptych') throw error
      say(`${library} does not start: ${(error as Error).message}`)
    }
  }
  return runners
}

async function servePage(options: Options): Promise<boolean> {
  const { serve } = await import('./serve.ts')
  const { url } = await serve([...ownGroupFiles(), ...options.group], options.port)
  say(`the benchmark is at ${url} (end with Ctrl-C)`)
  return true
}

/** Peers of a run: those asked for; naming `host` asks for those that train, which it is about. */
function peersOf(wanted: readonly string[], options: Options): LibraryName[] {
  const asked = chosenPeers(options.peers)
  return asked.length || options.peers === false ? asked : wanted.includes('host') ? [...trainingPeers] : []
}

async function run(wanted: readonly string[], options: Options): Promise<boolean> {
  const files = [...ownGroupFiles(), ...options.group]
  const withHost = !wanted.length || wanted.includes('host')
  const named = wanted.filter((name) => name !== 'host')
  const groups = wanted.length && !named.length ? [] : chosenGroups(await loadGroups(files), named)
  const peers = peersOf(wanted, options)
  const runners = await openRunners(await loadGroups(files), files, peers, options.adapter)
  try {
    const own = runners.get('diptych')!
    const device = own.device!
    const context: RowContext = {
      software: device.software,
      maxBinding: device.maxBinding,
      quick: options.quick ?? false,
    }
    if (groups.length && !groups.some((group) => chosenRows(group, context, options.filter).length))
      throw new UsageError(`no row of ${groups.map((g) => g.name).join(', ')} matches ${options.filter.join(', ')}`)
    const environment = environmentOf(device, runners.values())
    tell('measuring the ceilings')
    const ceilings = await own.ceilings()
    say(headText(environment, ceilings))
    const results = await runGroups(groups, runners, {
      context,
      filters: options.filter,
      ceilings,
      tell,
      onGroup: (group) => say(groupTitle(group)),
      onRow: (row) => say(rowText(row)),
    })
    const host = withHost
      ? await measureHost({
          groupFiles: files,
          peers: peers.filter((name) => trainingPeers.includes(name)),
          adapter: options.adapter,
          checkers: runners,
          context,
          quick: context.quick,
          steps: options.steps,
          tell,
        })
      : undefined
    if (host) say(hostText(host))
    const report: Report = {
      format: 1,
      quick: context.quick,
      environment,
      ceilings,
      groups: results,
      ...(host && { host }),
      ok: passedAll(results) && (!host || [...host.rows, ...host.memory].every(isFine)),
    }
    if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`)
    if (options.html) writeFileSync(options.html, await (await import('./output/html.ts')).htmlReport(report))
    say(`\n${verdict(report)}`)
    return report.ok
  } finally {
    for (const runner of runners.values()) await runner.close()
  }
}

const isFine = ({ library, status }: { library: LibraryName; status: string }): boolean =>
  library !== 'diptych' || status === 'ok'

const list = (value: string, before: readonly string[]): string[] => [...before, value]

const program = new Command('bench')
  .description('Checks kernels and models against float64 references, then measures them.')
  .argument(
    '[groups...]',
    "groups to run, all unless named; 'host' is the host's cost and the memory of training steps",
  )
  .option(
    '--filter <text>',
    "only rows whose name contains the text, in upper or lower case; given again, rows with either; dip's small and base " +
      'presets run only where a filter names them',
    list,
    [],
  )
  .option('--quick', 'tiny problems and few samples: shows that everything runs')
  .option('--peers [names]', 'compare with tfjs, jax-js, ort-web, ort-node (or some of them, with commas)')
  .option('--json <file>', 'write the results as JSON')
  .option('--html <file>', 'write the results as one HTML page with charts')
  .option('--group <file>', 'a file that exports a further group; may be given again', list, [])
  .option('--no-peers', 'no peers, not even for host')
  .option('--steps <number>', "steps of host's memory rows, 0 for none", Number, 200)
  .option('--serve', 'serve the benchmark as a page for a browser')
  .option('--port <number>', 'where to serve it', Number, 8017)
  .addOption(
    new Option('--adapter <kind>', 'adapter to run on')
      .choices(['auto', 'discrete', 'integrated', 'software'])
      .default('auto'),
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))

try {
  program.parse()
  const options = program.opts<Options>()
  if (!(await (options.serve ? servePage(options) : run(program.args, options)))) process.exitCode = 1
} catch (error) {
  tell('')
  const known = error instanceof UsageError || error instanceof DeviceError
  console.error(known ? `bench: ${error.message}` : error)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
