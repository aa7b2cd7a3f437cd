/**
 * Values that several launches would each compute, or one many times over: memory, or do it again? Counted in flops, with the price
 * of a memory access and of a launch in the same money.
 */
import { valueInputs } from '../autograd.ts'
import type { Node } from '../graph.ts'
import type { ReduceOp } from '../ops/names.ts'
import { pointwise } from '../ops/pointwise.ts'
import { numel } from '../shape.ts'
import { resolvePick } from './emit.ts'
import { isPointwise, isReduction } from './roles.ts'

export interface Prices {
  /** Flops that fit into the time of reading or writing one element. */
  readonly access: number
  /** Flops that fit into the time of a launch. */
  readonly launch: number
}

// Measured on lavapipe (2 cores): 16 GFLOP/s, 10 GB/s, about 10 µs a launch. A discrete GPU does some 80 flops in the time of
// an access and needs 3 µs for a small launch, but fills up only with many threads: a tenth of its rate is counted.
export const softwarePrices: Prices = { access: 8, launch: 100_000 }
export const gpuPrices: Prices = { access: 32, launch: 500_000 }

/** Most work that one invocation does again for one value, in flops with an access counted as 4. */
const serialLimit = 512
/** Most nodes that one value is computed from in place; more make kernels that take long to compile. */
const coneLimit = 64

/** Elements that a reduction adds up for each of its results. */
export const reductionLength = (node: Node): number =>
  (node as Node<ReduceOp>).attrs.axes.reduce((p, axis) => p * node.inputs[0]!.shape[axis]!, 1)

interface Work {
  readonly flops: number
  readonly accesses: number
  readonly nodes: number
}

/** Arithmetic and distinct loads of one element of `node`, computed from what stands in memory. */
function workOf(node: Node, stands: (node: Node) => boolean): Work {
  let [flops, accesses, nodes] = [0, 0, 0]
  const seen = new Set<Node>()
  const size = numel(node.shape)
  const visit = (n: Node, times: number) => {
    if (seen.has(n)) return
    seen.add(n)
    if (n !== node && stands(n)) {
      // What is much smaller than the value stays in the cache.
      accesses += numel(n.shape) * 8 < size ? times / 8 : times
      return
    }
    if (++nodes > coneLimit) return
    if (isReduction(n)) {
      const length = reductionLength(n)
      flops += times * length
      return visit(n.inputs[0]!, times * length)
    }
    if (n.op === 'randomBits') flops += 60 * times
    flops += times * (pointwise[n.op as keyof typeof pointwise]?.flops ?? 0)
    for (const x of valueInputs(n)) visit(x, times)
  }
  visit(node, 1)
  return { flops, accesses, nodes }
}

export interface SharingOptions {
  readonly order: readonly Node[]
  readonly consumers: ReadonlyMap<Node, readonly Node[]>
  readonly prices: Prices
  given(node: Node): boolean
}

/** Adds to `stored` what is better put into memory than computed again. */
export function storeShared(stored: Set<Node>, { order, consumers, prices, given }: SharingOptions): void {
  const stands = (n: Node) => given(n) || stored.has(resolvePick(n).node)
  /** How often each stored value's launch evaluates a node. */
  const evaluations = new Map<Node, Map<Node, number>>()
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i]!
    if (given(node) || stored.has(node) || node.op === 'pick' || node.op === 'constant') continue
    const users = consumers.get(node) ?? []
    const uses = new Map<Node, number>()
    for (const user of users) {
      const within = stored.has(user) ? new Map([[user, numel(user.shape)]]) : (evaluations.get(user) ?? [])
      for (const [launch, count] of within) {
        const times = isReduction(user)
          ? count * reductionLength(user)
          : user.op === 'concat' || user.op === 'pad'
            ? (count * numel(node.shape)) / numel(user.shape)
            : count
        const known = uses.get(launch) ?? 0
        // Pointwise readers share one evaluation, others look at other coordinates.
        uses.set(launch, isPointwise(user) ? Math.max(known, times) : known + times)
      }
    }
    if (isDear(node, users, uses)) stored.add(node)
    else evaluations.set(node, uses)
  }

  function isDear(node: Node, users: readonly Node[], uses: ReadonlyMap<Node, number>): boolean {
    const size = numel(node.shape)
    const again = [...uses.values()].reduce((sum, count) => sum + count, 0)
    if (again <= size && !isReduction(node)) return false
    const { flops, accesses, nodes } = workOf(node, stands)
    // The gradient of max and min looks for the elements equal to the extremum: they must be the very numbers it was taken of,
    // and a value computed in two kernels may be rounded in two ways.
    if (uses.size > 1 && flops > 0 && users.some((u) => u.op === 'max' || u.op === 'min')) return true
    if (nodes > coneLimit || flops + 4 * accesses > serialLimit) return true
    const inPlace = again * (flops + prices.access * (accesses - 1))
    const inMemory = size * (flops + prices.access * (accesses + 1)) + prices.launch
    return inPlace > inMemory
  }
}
