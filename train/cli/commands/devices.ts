/** `diptych devices`: which adapter computations run on, and what it can do. */
import type { AdapterKind } from '../../../engine/index.ts'
import { type Action, adapterOption, jsonOption, withDevice } from '../options.ts'

export const devicesCommand: Action = (program) => {
  program
    .command('devices')
    .description('show which adapter is used and what it can do')
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async ({ adapter, json }: { adapter: AdapterKind; json?: boolean }) => {
      const { describeAdapter } = await import('../../../engine/index.ts')
      await withDevice(adapter, async ({ adapter: found, caps, gpu }) => {
        const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits
        const facts = { ...found, capabilities: { ...caps, maxBufferSize, maxStorageBufferBindingSize } }
        if (json) return void process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`)
        const lines = [
          describeAdapter(found),
          `  runs on            ${found.software ? 'the CPU' : 'a GPU'}`,
          `  half precision     ${caps.f16 ? 'yes' : 'no'}`,
          `  subgroups          ${caps.subgroups ? `${caps.subgroupMinSize} to ${caps.subgroupMaxSize} lanes` : 'no'}`,
          `  timestamps         ${gpu.features.has('timestamp-query') ? 'yes' : 'no'}`,
          `  largest binding    ${mebibytes(maxStorageBufferBindingSize)} MiB of ${mebibytes(maxBufferSize)} MiB buffers`,
          `  workgroup          ${caps.maxInvocations} invocations, ${caps.maxWorkgroupBytes / 1024} KiB shared`,
        ]
        process.stdout.write(`${lines.join('\n')}\n`)
      })
    })
}

const mebibytes = (bytes: number) => Math.floor(bytes / 2 ** 20)
