/** What profiles, checks and the tuner are given: tensors to compute, or a function that computes or records some. */
import { Node } from '../graph.ts'
import type { Device } from '../runtime/device.ts'

/** A tensor, seen from below the class of that name. */
export interface HasNode {
  readonly node: Node
}

/** Tensors not computed yet, or a function; what it returns is computed too if it is a tensor, or an array or record of them. */
export type Subject = HasNode | readonly HasNode[] | (() => unknown)

const isTensor = (x: unknown): x is HasNode =>
  typeof x === 'object' && x !== null && (x as Partial<HasNode>).node instanceof Node

function tensorsIn(value: unknown): HasNode[] {
  if (isTensor(value)) return [value]
  if (Array.isArray(value)) return value.flatMap(tensorsIn)
  const plain = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
  return plain ? Object.values(value).filter(isTensor) : []
}

/** Runs a subject and everything that it leaves to be computed, assignments included. */
export async function runSubject(device: Device, subject: Subject): Promise<void> {
  const value = typeof subject === 'function' ? await subject() : subject
  await device.realize(tensorsIn(value).map((t) => t.node))
}
