/**
 * Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost"): the backward pass computes a part of
 * the network a second time instead of keeping what the forward pass made in it.
 *
 * The part is recorded once. When its gradient is asked for, its nodes are copied onto inputs that wait for the incoming
 * gradient (`after`), and the gradient is taken of the copy: what the forward pass computed has no reader left but the
 * forward pass, and its memory is free again.
 */
import { pullBack, topological } from './autograd.ts'
import { isFloat } from './dtype.ts'
import { createNode, type Node } from './graph.ts'
import { pick, record } from './ops/build.ts'
import { Tensor } from './tensor.ts'

/**
 * The same function, with less memory in training: of what it computes only its arguments and results are kept for the backward
 * pass, which computes the rest again. Tensors and parameters that it uses without being given them get their gradients too, and
 * random numbers are drawn once. Second derivatives work as well.
 *
 *     for (const block of blocks) x = checkpoint((h) => block.call(h))(x)
 */
export function checkpoint<A extends Tensor[], R extends Tensor | readonly Tensor[]>(
  fn: (...args: A) => R,
): (...args: A) => R {
  return (...args) => {
    const result = fn(...args)
    const tensors: readonly Tensor[] = result instanceof Tensor ? [result] : result
    const nodes = recomputedInBackward(
      tensors.map((t) => t.node),
      args.map((t) => t.node),
    )
    const wrapped = nodes.map((n) => new Tensor(n))
    return (result instanceof Tensor ? wrapped[0] : wrapped) as R
  }
}

/** The same values, whose gradient is taken of a copy of what lies between `inputs` and `outputs`. */
function recomputedInBackward(outputs: readonly Node[], inputs: readonly Node[]): readonly Node[] {
  const given = new Set(inputs)
  // Everything that depends on an input, inputs first.
  const inside = new Set<Node>()
  for (const node of topological(outputs, (n) => given.has(n) || n.realized))
    if (!given.has(node) && !node.realized && node.inputs.some((x) => given.has(x) || inside.has(x))) inside.add(node)
  const effect = [...inside].find((n) => n.op === 'assign' || n.op === 'adamw')
  if (effect) throw new Error(`checkpoint: '${effect.op}' would be done twice; assign outside of the function`)
  const made = [...new Set(outputs)].filter((n) => inside.has(n) && isFloat(n.dtype))
  if (!made.length) return outputs

  // Where gradients leave the part: its inputs, and whatever else it was computed from.
  const sources = new Set([...given].filter((n) => isFloat(n.dtype)))
  for (const node of inside)
    for (const x of node.inputs) if (!inside.has(x) && !given.has(x) && isFloat(x.dtype)) sources.add(x)

  const vjp = (_: Node, gradients: readonly (Node | undefined)[]) => {
    const first = gradients.find((g) => g)!
    const copies = new Map<Node, Node>()
    for (const x of given) copies.set(x, record('after', [x, first], {}))
    for (const node of inside) copies.set(node, copyOf(node, copies))
    const at = (node: Node) => copies.get(node) ?? node
    return pullBack(made.map(at), gradients, [...sources].map(at), true)
  }
  // Collects the gradients of all results; nothing ever reads its value.
  const specs = made.map((n) => n.outputs[0]!)
  const junction = createNode('withGradient', [made[0]!, ...sources], { vjp }, specs)
  const through = new Map(
    made.map((node, i) => [node, record('withGradient', [node, pick(junction, i)], { vjp: (dy: Node) => [dy] })]),
  )
  return outputs.map((n) => through.get(n) ?? n)
}

function copyOf(node: Node, copies: ReadonlyMap<Node, Node>): Node {
  const inputs = node.inputs.map((x) => copies.get(x) ?? x)
  const attrs = node.op === 'withGradient' ? { vjp: vjpOfCopy(node as Node<'withGradient'>, copies) } : node.attrs
  const copy = createNode(node.op, inputs, attrs as never, node.outputs)
  copy.origin = node.origin
  return copy
}

/** The rule of a `withGradient` node speaks of the nodes that it was made from: here of their copies. */
function vjpOfCopy(node: Node<'withGradient'>, copies: ReadonlyMap<Node, Node>): Node<'withGradient'>['attrs']['vjp'] {
  return (dy, all) => {
    const fixed = new Set<Node>([dy, ...all.filter((g) => g !== undefined), ...copies.values()])
    const moved = new Map(copies)
    return node.attrs.vjp(dy, all).map((g) => {
      if (!g) return undefined
      for (const x of topological([g], (n) => fixed.has(n) || moved.has(n)))
        if (!fixed.has(x) && !moved.has(x) && x.inputs.some((y) => moved.has(y) && !fixed.has(y)))
          moved.set(x, copyOf(x, moved))
      return fixed.has(g) ? g : (moved.get(g) ?? g)
    })
  }
}
