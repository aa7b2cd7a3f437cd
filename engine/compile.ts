/**
 * `compile(fn)`: records and plans a function once per shapes of its arguments, then replays the plan. A replay uploads the
 * arguments, encodes and submits; nothing is recorded. What the function does to parameters (an optimiser step) is replayed too;
 * plain numbers that it reads are those of the first call, except the optimiser's settings and random streams.
 */
import { type HostArray, toHostArray } from './dtype.ts'
import { createNode, type Node } from './graph.ts'
import { hostLeaf } from './ops/build.ts'
import { getDevice } from './runtime/current.ts'
import type { Device, Replay } from './runtime/device.ts'
import { Tensor } from './tensor.ts'

type Result = Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>>

/** Shapes of arguments that a compiled function keeps plans of; those used longest ago give way. */
const keptTraces = 32

interface Traced {
  readonly replay: Replay
  readonly rebuild: (nodes: readonly Node[]) => Result
  readonly outputs: readonly Node[]
}

/** The function with its recording and planning done once per argument shapes; arguments are tensors in host memory or computed. */
export function compile<A extends Tensor[], R extends Result>(
  fn: (...args: A) => R,
  label = fn.name || 'compiled',
): (...args: A) => Promise<R> {
  const byDevice = new WeakMap<Device, Map<string, Traced>>()
  return async (...args) => {
    const device = await getDevice()
    let traces = byDevice.get(device)
    if (!traces) byDevice.set(device, (traces = new Map()))
    const data: HostArray[] = []
    for (const t of args) data.push(t.node.host ?? toHostArray(await t.data(), t.dtype))
    // Planned anew, and traced with it, where the device would plan otherwise than it did.
    const key = [device.stamp, ...args.map((t) => `${t.dtype}${t.shape}`)].join(';')
    const traced = traces.get(key)
    if (!traced) {
      // What was recorded before belongs to no replay.
      await device.realize([])
      const holders = args.map((t, i) => hostLeaf(data[i]!, t.shape, t.dtype))
      const result = fn(...(holders.map((n) => new Tensor(n)) as A))
      const { tensors, rebuild } = unpack(result)
      const outputs = tensors.map((t) => t.node)
      const replay = await device.trace(outputs, holders, label)
      try {
        await replay.run(undefined)
      } catch (error) {
        replay.dispose()
        throw error
      }
      traces.get(key)?.replay.dispose()
      traces.set(key, { replay, rebuild, outputs })
      if (traces.size > keptTraces) {
        const [oldest, { replay: old }] = traces.entries().next().value!
        traces.delete(oldest)
        old.dispose()
      }
      return rebuild(outputs.map((n) => leafOf(n))) as R
    }
    traces.delete(key)
    traces.set(key, traced)
    const results = await traced.replay.run(data)
    let next = 0
    const fresh = new Map<Node, Node>()
    for (const root of traced.replay.roots) {
      const known = [...fresh].find(([n]) => n.outputs[0] === root.outputs[0])
      fresh.set(root, known ? known[1] : holding(root, results[next++]!))
    }
    return traced.rebuild(traced.outputs.map((n) => fresh.get(n) ?? leafOf(n))) as R
  }
}

/** A leaf of a computed node's value: the trace keeps its own nodes. */
function leafOf(node: Node): Node {
  const leaf = createNode('leaf', [], {}, node.outputs.slice(0, 1))
  leaf.storage = node.storage
  leaf.version = node.version
  leaf.host = node.host
  return leaf
}

function holding(node: Node, storage: Node['storage']): Node {
  const leaf = createNode('leaf', [], {}, node.outputs.slice(0, 1))
  leaf.storage = storage
  leaf.transient = true
  return leaf
}

function unpack(result: Result): { tensors: Tensor[]; rebuild: (nodes: readonly Node[]) => Result } {
  if (result instanceof Tensor) return { tensors: [result], rebuild: ([n]) => new Tensor(n!) }
  if (Array.isArray(result)) return { tensors: [...result], rebuild: (nodes) => nodes.map((n) => new Tensor(n)) }
  const record = result as Readonly<Record<string, Tensor>>
  const names = Object.keys(record)
  return {
    tensors: names.map((n) => record[n]!),
    rebuild: (nodes) => Object.fromEntries(nodes.map((n, i) => [names[i]!, new Tensor(n)])),
  }
}
