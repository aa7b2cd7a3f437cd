/** What profiles, checks and the tuner are given: tensors to compute, or a function that computes or records some. */
import type { Device } from '../runtime/device.ts'
import { Tensor } from '../tensor.ts'

/** Tensors not computed yet, or a function; what it returns is computed too if it is a tensor, or an array or record of them. */
export type Subject = Tensor | readonly Tensor[] | (() => unknown)

function tensorsIn(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value]
  if (Array.isArray(value)) return value.flatMap(tensorsIn)
  const plain = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
  return plain ? Object.values(value).filter((v) => v instanceof Tensor) : []
}

/** Runs a subject and everything that it leaves to be computed, assignments included. */
export async function runSubject(device: Device, subject: Subject): Promise<void> {
  const value = typeof subject === 'function' ? await subject() : subject
  await device.realize(tensorsIn(value).map((t) => t.node))
}
