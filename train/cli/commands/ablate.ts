/** `diptych ablate`: the settings of an ablation table, trained and tested one after the other, and the table. */
import { mkdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Argument } from 'commander'
import type { Ablation, AblationName } from '../../ablations.ts'
import { ablationNames, ablations, ablationTable, runAblations } from '../../ablations.ts'
import { csvCell } from '../../data/csv.ts'
import { resolveConfig } from '../configuration.ts'
import { UserError } from '../errors.ts'
import { type Action, interruptible, withDevice } from '../options.ts'
import {
  readTrainingManifest,
  refuseOldRun,
  type TrainingFlags,
  trainOptions,
  withTrainingOptions,
} from '../training.ts'

interface AblateFlags extends Omit<TrainingFlags, 'out'> {
  out?: string
  list?: boolean
}

const say = (line: string) => void process.stdout.write(`${line}\n`)

/** Columns as wide as their cells need. */
function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((cells) => cells[i]!.length)))
  return rows
    .map((cells) =>
      cells
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** A folder's name. */
const folderOf = ({ label }: Ablation, index: number) =>
  `${String(index + 1).padStart(2, '0')}-${label.replace(/[^\w.]+/g, '-')}`

export const ablateCommand: Action = (program) => {
  withTrainingOptions(
    program
      .command('ablate')
      .description("train and test every setting of one of the paper's Tables IV to VIII, and write the table")
      .addArgument(new Argument('<table>', 'Table IV, V, VI, VII or VIII').choices(ablationNames))
      .argument('[manifest]', 'as `diptych scan` writes it')
      .option('--out <folder>', 'a folder for each setting goes there, and table.csv')
      .option('--list', 'only say which settings there are'),
  ).action(async (table: AblationName, manifest: string | undefined, given: AblateFlags) => {
    const rows = ablations(table, await resolveConfig(given))
    if (given.list) return say(aligned(rows.map(({ label, changes }) => [label, changes || 'as configured'])))
    if (manifest === undefined)
      throw new UserError(`ablate ${table}: it needs a manifest to train on`, { fix: 'make one with `diptych scan`' })
    if (given.out === undefined)
      throw new UserError(`ablate ${table}: where the runs go is not said`, { fix: 'give --out <folder>' })
    const flags: TrainingFlags = { ...given, out: given.out }
    const file = join(flags.out, 'table.csv')
    const entries = await readTrainingManifest(manifest, flags)
    await refuseOldRun(join(flags.out, folderOf(rows[0]!, 0)), flags)
    const { trainOnManifest } = await import('../../train.ts')
    await mkdir(flags.out, { recursive: true })
    const done = await interruptible('go on with --resume', (signal) =>
      runAblations(
        rows,
        // A device a row: nothing of one stays in the memory of the next.
        (row, index) =>
          withDevice(flags.adapter, async (device) => {
            say(`${table} ${index + 1} of ${rows.length}: ${row.label} ${row.changes}`)
            const out = join(flags.out, folderOf(row, index))
            await mkdir(out, { recursive: true })
            await writeFile(join(out, 'config.json'), `${JSON.stringify(row.config, null, 2)}\n`)
            const { run, report } = await trainOnManifest(entries, {
              ...trainOptions({ ...flags, out }, device, signal, `${table}, ${row.label}, on ${basename(manifest)}`),
              config: row.config,
            })
            await writeFile(join(out, 'report.html'), report)
            return run
          }),
        // After every row: an interrupted table is a table of what is done.
        async (so) => {
          const csv = ablationTable(so).map((cells) => `${cells.map(csvCell).join(',')}\n`)
          await writeFile(file, csv.join(''))
        },
      ),
    )
    say(aligned(ablationTable(done)))
    say(`table: ${file}`)
  })
}
