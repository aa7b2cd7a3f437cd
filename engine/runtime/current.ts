/** The default device: opened, replaced, asked for. */
import type { OpenOptions } from '../device/adapter.ts'
import { requestGpu } from '../device/open.ts'
import { openStore } from '../tuner/store.ts'
import { Device } from './device.ts'

let current: Device | undefined
let opening: Promise<Device> | undefined

/**
 * Opens a device and makes it the default one. A program may open several, and several times: after a device was lost, or to
 * compare adapters. Tensors belong to the device that computed them, and are refused by another.
 * @throws DeviceError, which says what to install or change, when there is none
 */
export async function openDevice(options: OpenOptions = {}): Promise<Device> {
  const gpu = await requestGpu(options)
  const store = options.adapter === 'null' || options.tune === 'off' ? undefined : await openStore()
  const device = new Device(gpu, store, options)
  device.tuner.mode = options.tune ?? 'cached'
  await device.tuner.load()
  useDevice(device)
  return device
}

/** Makes an open device the default one: what tensors are computed on, and where new parameters live. */
export function useDevice(device: Device): void {
  current = device
  opening = Promise.resolve(device)
}

/** The default device; opened on first use if the program has not. */
export function getDevice(): Promise<Device> {
  if (!opening) {
    opening = openDevice()
    // What kept it from opening may be mended: the next call tries again.
    opening.catch(() => {
      opening = undefined
    })
  }
  return opening
}

/** The default device if it is open already. */
export const openedDevice = (): Device | undefined => current

/** The default device, which must be open: for what happens at once (parameters, assignments). */
export function currentDevice(): Device {
  if (!current) throw new Error('No device is open yet: call `await openDevice()` first.')
  return current
}

/** Opens a device as the default one was opened and puts it in its place: after that one was lost. @throws DeviceError */
export const reopenDevice = (): Promise<Device> => openDevice(currentDevice().options)
