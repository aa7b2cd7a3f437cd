/**
 * Reverse-mode differentiation as a transformation of the graph: walks the nodes backwards and records each op's vjp in
 * ordinary ops. Nothing runs here, and the result can be differentiated again.
 */
import { autocast } from './autocast.ts'
import { isFloat } from './dtype.ts'
import { Node } from './graph.ts'
import { add, cast, concat, full } from './ops/build.ts'
import { vjps } from './ops/vjps.ts'
import { formatShape, ShapeError, sameShape } from './shape.ts'

/** Nodes reachable from `roots`, inputs before users. */
export function topological(
  roots: readonly Node[],
  stopAt: (node: Node) => boolean = () => false,
  inputsOf: (node: Node) => readonly Node[] = (node) => node.inputs,
): Node[] {
  const order: Node[] = []
  const state = new Map<Node, boolean>()
  const stack: Node[] = [...roots].reverse()
  while (stack.length) {
    const node = stack[stack.length - 1]!
    const known = state.get(node)
    if (known === undefined) {
      state.set(node, false)
      if (stopAt(node)) continue
      const inputs = inputsOf(node)
      for (let i = inputs.length - 1; i >= 0; i--) if (!state.has(inputs[i]!)) stack.push(inputs[i]!)
    } else {
      stack.pop()
      if (!known) {
        state.set(node, true)
        order.push(node)
      }
    }
  }
  return order
}

/** The inputs that a node's value is computed from; what it only sends gradients to is left out. */
export function valueInputs(node: Node): readonly Node[] {
  if (node.op === 'withGradient' || node.op === 'after') return node.inputs.slice(0, 1)
  // A kernel of which only output 0 was kept must run again for its other outputs.
  if (node.op === 'pick' && node.inputs[0]!.realized) node.inputs = [recomputed(node.inputs[0]!)]
  return node.inputs
}

/** What must be computed before a node: its value's inputs, and what it waits for. */
export const orderInputs = (node: Node): readonly Node[] => (node.op === 'after' ? node.inputs : valueInputs(node))

const copies = new WeakMap<Node, Node>()

function recomputed(node: Node): Node {
  let copy = copies.get(node)
  if (!copy) copies.set(node, (copy = new Node(node.op, node.inputs, node.attrs, node.outputs, node.kind)))
  return copy
}

/**
 * Gradient of `loss` with respect to each of `wrt`: nodes of their shapes, zeros where the loss does not depend on them.
 * @param seed gradient of the loss itself; 1 when the loss is a scalar
 * @throws ShapeError when the loss is not a scalar and no seed is given
 */
export function gradNodes(loss: Node, wrt: readonly Node[], seed?: Node): Node[] {
  if (!isFloat(loss.dtype)) throw new ShapeError(`grad: the loss must be a float tensor, got ${loss.dtype}`)
  if (!seed && loss.shape.some((d) => d !== 1))
    throw new ShapeError(
      `grad: the loss must be a scalar, got ${formatShape(loss.shape)}; reduce it with .sum() or .mean()`,
    )
  if (seed && !sameShape(seed.shape, loss.shape))
    throw new ShapeError(`grad: seed ${formatShape(seed.shape)} does not fit the loss ${formatShape(loss.shape)}`)

  const found = pullBack([loss], [seed ?? full(loss.shape, 1, loss.dtype)], wrt)
  return wrt.map((node, i) => found[i] ?? full(node.shape, 0, node.dtype))
}

/** Partial derivatives: none of `inputs` is looked behind. Undefined for those that do not take part. */
export const partials = (output: Node, inputs: readonly Node[], seed: Node): (Node | undefined)[] =>
  pullBack([output], [seed], inputs, true)

/**
 * Gradients of `wrt` from those of `outputs` (undefined: none), undefined where no output depends on it.
 * @param within the gradients stop at `wrt`: what flows through one of them is not counted for another
 */
export function pullBack(
  outputs: readonly Node[],
  seeds: readonly (Node | undefined)[],
  wrt: readonly Node[],
  within = false,
): (Node | undefined)[] {
  // Gradients follow the dtypes that were recorded, not the policy of where they are asked for.
  return autocast('f32', () => walk(outputs, seeds, wrt, within))
}

function walk(
  outputs: readonly Node[],
  seeds: readonly (Node | undefined)[],
  wrt: readonly Node[],
  within: boolean,
): (Node | undefined)[] {
  const targets = new Set(wrt)
  const order = topological(outputs, (node) => within && targets.has(node))
  // Only nodes through which some target is reached need a gradient.
  const needed = new Set<Node>()
  for (const node of order)
    if (targets.has(node) || (node.op !== 'detach' && node.inputs.some((x) => needed.has(x)))) needed.add(node)

  const grads = new Map<Node, Node[][]>()
  const accumulate = (node: Node, output: number, dy: Node) => {
    let slots = grads.get(node)
    if (!slots) grads.set(node, (slots = []))
    // A gradient has its value's dtype, whatever the rule computed in.
    const term = cast(dy, node.outputs[output]!.dtype)
    const terms = slots[output]
    if (terms) terms.push(term)
    else slots[output] = [term]
  }
  outputs.forEach((output, i) => {
    const seed = seeds[i]
    if (seed) accumulate(output, 0, seed)
  })

  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i]!
    const terms = grads.get(node)
    if (!terms || !needed.has(node) || (within && targets.has(node))) continue
    const dy = Array.from(terms, (t) => t && sumOfGradients(t))
    grads.set(
      node,
      dy.map((t) => (t ? [t] : [])),
    )
    if (node.op === 'pick') {
      if (dy[0]) accumulate(node.inputs[0]!, (node as Node<'pick'>).attrs.index, dy[0])
      continue
    }
    if (!node.inputs.some((x) => needed.has(x))) continue
    const first = dy[0] ?? full(node.shape, 0, node.dtype)
    const inputGrads = vjps[node.op](node as never, first, dy, partials)
    node.inputs.forEach((x, j) => {
      const g = inputGrads[j]
      if (g && needed.has(x)) accumulate(x, 0, g)
    })
  }
  return wrt.map((node) => {
    const terms = grads.get(node)?.[0]
    return terms?.length ? sumOfGradients(terms) : undefined
  })
}

/** Sum of gradients. Those of slices are zero-padded: side by side along one axis they are put together, not added up. */
function sumOfGradients(terms: readonly Node[]): Node {
  if (terms.length === 1) return terms[0]!
  const padded = terms.filter((t) => t.op === 'pad')
  const sideBySide = padded.length > 1 ? joined(padded) : undefined
  const list = sideBySide ? [...terms.filter((t) => t.op !== 'pad'), sideBySide] : terms
  return list.reduce((sum, term) => add(sum, term))
}

function joined(terms: readonly Node[]): Node | undefined {
  const parts: { x: Node; start: number; end: number }[] = []
  let along: number | undefined
  for (const term of terms) {
    const { before, after, value } = (term as Node<'pad'>).attrs
    const padded = before.flatMap((b, axis) => (b || after[axis] ? [axis] : []))
    if (value !== 0 || padded.length !== 1 || (along !== undefined && padded[0] !== along)) return undefined
    along = padded[0]!
    parts.push({ x: term.inputs[0]!, start: before[along]!, end: term.shape[along]! - after[along]! })
  }
  parts.sort((a, b) => a.start - b.start)
  const { shape, dtype } = terms[0]!
  const zeros = (count: number) =>
    full(
      shape.map((d, axis) => (axis === along ? count : d)),
      0,
      dtype,
    )
  const list: Node[] = []
  let at = 0
  for (const { x, start, end } of parts) {
    if (start < at) return undefined
    if (start > at) list.push(zeros(start - at))
    list.push(x)
    at = end
  }
  if (at < shape[along!]!) list.push(zeros(shape[along!]! - at))
  return concat(list, along!)
}
