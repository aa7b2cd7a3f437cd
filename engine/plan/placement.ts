/** Values written straight into a part of a larger one: gradients into their flat buffer, dq, dk and dv into that of qkv or with heads first. */
import type { Node, OutputSpec } from '../graph.ts'
import { full, pick, record } from '../ops/build.ts'
import { contiguousStrides } from '../shape.ts'
import { resolvePick, specOf, type ValueRef } from './emit.ts'
import { writesStrided } from './kernels.ts'
import type { Output } from './launches.ts'
import type { Partition } from './partition.ts'
import { bindingAlignment } from './plan.ts'
import { isKernel, rearranges } from './roles.ts'
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

/**
 * Places the parts of a concat if all of them are results of kernels that can write them there, padded with zeros at most; returns
 * the zeros that are still to be written, undefined if the concat has to be computed.
 */
export function placeInConcat(
  concat: Node<'concat'>,
  part: Partition,
  only: Exclusive,
  placed: Map<OutputSpec, Placement>,
): Output[] | undefined {
  const found = new Map<OutputSpec, Placement>()
  const zeros: Output[] = []
  let start = 0
  for (const x of concat.inputs) {
    const path = pathDown(x, part)
    const ref = resolvePick(path.at(-1)?.inputs[0] ?? x)
    if (!writesStrided(ref.node) || !only(ref)) return undefined
    /** Strides and offset in the concat of coordinates in the input of path[depth], the part itself for depth −1. */
    const locate = (at: readonly Index[], depth: number, rank: number): Placement | undefined => {
      const moved = path.slice(0, depth + 1).reduceRight((c, node) => through(node, c)!, at)
      const index = dot(
        moved.map((c, axis) => (axis === concat.attrs.axis ? plus(c, start) : c)),
        contiguousStrides(concat.shape),
      )
      const strides = stridesOf(index, rank)
      return strides && { container: concat, strides, offset: index.constant }
    }
    const { shape } = specOf(ref)
    const place = locate(axisVariables(shape), path.length - 1, shape.length)
    if (!place || (shape.at(-1)! > 1 && place.strides.at(-1) !== 1)) return undefined
    found.set(specOf(ref), place)
    for (const [depth, node] of path.entries()) {
      if (node.op !== 'pad') continue
      for (const { start: from, shape: box } of margins(node as Node<'pad'>)) {
        const value = record('contiguous', [full(box, 0, node.dtype)], {})
        const at = axisVariables(box).map((c, axis) => plus(c, from[axis]!))
        const margin = locate(at, depth - 1, box.length)
        if (!margin) return undefined
        found.set(value.outputs[0]!, margin)
        zeros.push({ value, ref: { node: value, output: 0 } })
      }
    }
    start += x.shape[concat.attrs.axis]!
  }
  if (found.size !== concat.inputs.length + zeros.length) return undefined
  for (const [spec, placement] of found) placed.set(spec, placement)
  return zeros
}

/**
 * Places the result of a kernel in what is stored of it rearranged: a gradient with heads before tokens. False if it cannot be
 * written there.
 */
export function placeRearranged(
  node: Node,
  part: Partition,
  only: Exclusive,
  placed: Map<OutputSpec, Placement>,
): boolean {
  const path = [node, ...pathDown(node.inputs[0]!, part)]
  const ref = resolvePick(path.at(-1)!.inputs[0]!)
  if (!path.every(rearranges) || !writesStrided(ref.node) || !only(ref)) return false
  const { shape } = specOf(ref)
  const at = path.reduceRight<readonly Index[]>((c, step) => pushed(step, c)!, axisVariables(shape))
  const strides = stridesOf(dot(at, contiguousStrides(node.shape)), shape.length)
  if (!strides || (shape.at(-1)! > 1 && strides.at(-1) !== 1)) return false
  placed.set(specOf(ref), { container: node, strides, offset: 0 })
  return true
}

/** Rearrangements and zero paddings from a value down to what stands in memory, outermost first. */
function pathDown(x: Node, part: Partition): Node[] {
  const path: Node[] = []
  for (let node = x; node.op !== 'pick' && !part.inMemory(node) && node.inputs.length; node = node.inputs[0]!) {
    if (!through(node, axisVariables(node.inputs[0]!.shape))) break
    path.push(node)
  }
  return path
}

const through = (node: Node, at: readonly Index[]): readonly Index[] | undefined => {
  if (node.op !== 'pad') return pushed(node, at)
  const { before, value } = (node as Node<'pad'>).attrs
  return value === 0 ? at.map((c, axis) => plus(c, before[axis]!)) : undefined
}

/** The boxes that a pad adds around its input. */
function margins({ shape, attrs, inputs }: Node<'pad'>): { start: number[]; shape: number[] }[] {
  const box = (axis: number, start: number, count: number) => ({
    start: shape.map((_, i) => (i === axis ? start : 0)),
    shape: shape.map((d, i) => (i === axis ? count : d)),
  })
  return shape.flatMap((_, axis) => {
    const [before, after] = [attrs.before[axis]!, attrs.after[axis]!]
    const inner = inputs[0]!.shape[axis]!
    return [...(before ? [box(axis, 0, before)] : []), ...(after ? [box(axis, before + inner, after)] : [])]
  })
}
