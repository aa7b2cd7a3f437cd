/** A device for tests that need a great many pipelines. */
import { DeviceError } from '../../engine/device/errors.ts'
import { softwareDrivers } from '../../engine/device/node.ts'
import type { OpenOptions } from '../../engine/index.ts'
import { type Device, openDevice } from '../../engine/index.ts'

/**
 * The GPU; where there is none, or a software adapter is asked for, SwiftShader if the machine has it: a training step is a hundred shaders, over which lavapipe takes
 * minutes and SwiftShader ten seconds. Drivers that the environment names (`npm test -- --adapter lavapipe`) are used as they are.
 */
export async function openQuickDevice(options: OpenOptions = {}): Promise<Device> {
  const swiftshader = softwareDrivers().find((file) => file.includes('swiftshader'))
  const chosen = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES
  if (!swiftshader || chosen) return openDevice(options)
  if (options.adapter !== 'software')
    try {
      return await openDevice({ ...options, adapter: 'discrete' })
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error
    }
  process.env.VK_DRIVER_FILES = swiftshader
  process.env.VK_ICD_FILENAMES = swiftshader
  return openDevice({ ...options, adapter: 'software' })
}
