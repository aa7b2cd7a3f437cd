/** Host data on their way to a device and back. */
import { byteSize, type DType, fromBytes, type HostArray } from '../dtype.ts'
import type { HostData } from './replay.ts'

/** Elements up to which a result that was read is kept in host memory rather than in a buffer. */
export const smallResult = 1024

/** Copies host data to the start of a buffer, after all work submitted before. */
export function writeHost({ queue }: GPUDevice, buffer: GPUBuffer, data: HostArray): void {
  const bytes = data.byteLength
  if (bytes % 4 === 0) return queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>)
  const padded = new Uint8Array(Math.ceil(bytes / 4) * 4)
  padded.set(new Uint8Array(data.buffer, data.byteOffset, bytes))
  queue.writeBuffer(buffer, 0, padded)
}

export const copyOf = (host: HostArray, dtype: DType): HostData =>
  fromBytes(
    host.buffer.slice(host.byteOffset, host.byteOffset + host.byteLength) as ArrayBuffer,
    dtype,
    host.byteLength / byteSize(dtype),
  )
