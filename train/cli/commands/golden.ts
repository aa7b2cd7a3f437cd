/** `diptych golden`: whether this machine computes what the float64 reference does. */
import { readFile } from 'node:fs/promises'
import { Option } from 'commander'
import type { AdapterKind } from '../../../engine/index.ts'
import type { DiffuseWay } from '../../golden.ts'
import { EXIT, UserError } from '../errors.ts'
import { type Action, adapterOption, withDevice } from '../options.ts'

export const goldenCommand: Action = (program, setExit) => {
  program
    .command('golden')
    .description('compare values, losses and every gradient with a golden file')
    .argument('<file>', 'golden file (.safetensors)')
    .addOption(new Option('--diffuse <way>', 'to Sᵗ; both unless given').choices(['spectral', 'power', 'auto']))
    .addOption(adapterOption())
    .action(async (file: string, { adapter, diffuse }: { adapter: AdapterKind; diffuse?: DiffuseWay }) => {
      const { formatGolden, runGolden } = await import('../../golden.ts')
      const bytes = await readFile(file)
      await withDevice(adapter, async () => {
        try {
          const report = await runGolden(bytes, { file, ...(diffuse ? { diffuse: [diffuse] } : {}) })
          process.stdout.write(`${formatGolden(report)}\n`)
          if (!report.ok) setExit(EXIT.internal)
        } catch (error) {
          const isInput = error instanceof Error && /^(GoldenError|ConfigError|RangeError|ShapeError)$/.test(error.name)
          throw isInput ? new UserError(error.message, { cause: error }) : error
        }
      })
    })
}
