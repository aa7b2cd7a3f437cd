/** One bare device for all cases that run kernels without the engine: an adapter may be consumed by the device made from it. */
import type { OpenedGpu } from '../../engine/device/adapter.ts'
import { requestGpu } from '../../engine/device/open.ts'
import type { Program } from '../../kernels/kernel.ts'
import { runProgram, type Words } from '../support/program.ts'

let opened: Promise<OpenedGpu> | undefined

/** The device, and how to run a program on it: see `runProgram`. */
export async function openSharedDevice() {
  const { device, capabilities } = await (opened ??= requestGpu())
  return { capabilities, run: (program: Program, data: Words[]) => runProgram(device, program, data) }
}
