/** Values written straight into a part of a larger one: gradients into their flat buffer, dq, dk and dv into that of qkv. */
import type { Node, OutputSpec } from '../graph.ts'
import { pick, record } from '../ops/build.ts'
import { contiguousStrides } from '../shape.ts'
import { resolvePick, specOf, type ValueRef } from './emit.ts'
import { writesStrided } from './kernels.ts'
import type { Output } from './launches.ts'
import type { Partition } from './partition.ts'
import { bindingAlignment } from './plan.ts'
import { isKernel } from './roles.ts'
import { dot, type Index, plus } from './symbolic.ts'
import { axisVariables, pushed, stridesOf } from './views.ts'

/** Element c of the value stands at offset + Σ c·stride of the container, in elements. */
export interface Placement {
  readonly container: Node
  readonly strides: readonly number[]
  readonly offset: number
}

type Exclusive = (ref: ValueRef) => boolean

/** A copy of `ref` in a place of its own. */
function copyOf(ref: ValueRef): Output {
  const value = record('contiguous', [pick(ref.node, ref.output)], {})
  return { value, ref: { node: value, output: 0 } }
}

/** Places the parts of a pack; returns copies of those that stand elsewhere already. */
export function placeInPack(
  pack: Node<'pack'>,
  part: Partition,
  only: Exclusive,
  placed: Map<OutputSpec, Placement>,
): Output[] {
  const refs = part.operands.get(pack)!.map((o) => o.ref)
  const copies: Output[] = []
  refs.forEach((ref, i) => {
    const offset = pack.attrs.offsets[i]!
    const once = refs.filter((r) => specOf(r) === specOf(ref)).length === 1
    // A kernel's output needs a binding of its own, which may start only at certain bytes.
    const bound = isKernel(ref.node) || part.tails.has(ref.node)
    const aligned = (offset * 4) % bindingAlignment === 0 || !bound
    let value = ref
    if (!(once && aligned && only(ref))) {
      const copy = copyOf(ref)
      copies.push(copy)
      value = copy.ref
    }
    placed.set(specOf(value), { container: pack, strides: contiguousStrides(specOf(value).shape), offset })
  })
  return copies
}

/** Places the parts of a concat if all of them are results of kernels that can write them there. */
export function placeInConcat(
  concat: Node<'concat'>,
  part: Partition,
  only: Exclusive,
  placed: Map<OutputSpec, Placement>,
): boolean {
  const found = new Map<OutputSpec, Placement>()
  const strides = contiguousStrides(concat.shape)
  let start = 0
  for (const x of concat.inputs) {
    // From the part down to the kernel's output, then from there up again with coordinates.
    const path: Node[] = []
    let base = x
    while (base.op !== 'pick' && !part.inMemory(base) && pushed(base, axisVariables(base.inputs[0]?.shape ?? []))) {
      path.push(base)
      base = base.inputs[0]!
    }
    const ref = resolvePick(base)
    if (!writesStrided(ref.node) || !only(ref)) return false
    const { shape } = specOf(ref)
    const at = path.reduceRight<readonly Index[]>((c, node) => pushed(node, c)!, axisVariables(shape))
    const moved = at.map((c, axis) => (axis === concat.attrs.axis ? plus(c, start) : c))
    const index = dot(moved, strides)
    const steps = stridesOf(index, shape.length)
    if (!steps || (shape.at(-1)! > 1 && steps.at(-1) !== 1)) return false
    found.set(specOf(ref), { container: concat, strides: steps, offset: index.constant })
    start += x.shape[concat.attrs.axis]!
  }
  for (const [spec, placement] of found) placed.set(spec, placement)
  return found.size === concat.inputs.length
}
