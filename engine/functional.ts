/** Functions of several tensors that are compositions of the ops: einsum, distances, resizing, directional pooling. */

import { autocast } from './autocast.ts'
import { tensor } from './create.ts'
import * as b from './ops/build.ts'
import { formatShape, numel, ShapeError } from './shape.ts'
import { Tensor } from './tensor.ts'

/** Labels of one operand; a label named twice in it would ask for a diagonal. */
function labelsOf(text: string, equation: string): string[] {
  const labels = [...text.trim()]
  if (!labels.every((c) => /[A-Za-z]/.test(c)))
    throw new ShapeError(`einsum: '${equation}': labels are single letters, got '${text}'`)
  if (new Set(labels).size !== labels.length)
    throw new ShapeError(`einsum: '${equation}': '${text}' names a label twice; take the diagonal first`)
  return labels
}

interface Labelled {
  readonly x: Tensor
  readonly labels: readonly string[]
}

/** Axes brought into the order of `labels`, which name exactly those of the operand. */
const ordered = ({ x, labels }: Labelled, want: readonly string[]): Tensor =>
  x.permute(want.map((l) => labels.indexOf(l)))

/** Sums over the labels that nothing else needs. */
function reduced({ x, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const gone = labels.flatMap((l, i) => (needed.has(l) ? [] : [i]))
  return gone.length ? { x: x.sum(gone), labels: labels.filter((l) => needed.has(l)) } : { x, labels }
}

/** One matrix product: labels of both that are still needed are its batch, labels of both that are not are summed. */
function contract(p: Labelled, q: Labelled, later: ReadonlySet<string>): Labelled {
  const left = reduced(p, new Set([...q.labels, ...later]))
  const right = reduced(q, new Set([...p.labels, ...later]))
  const shared = left.labels.filter((l) => right.labels.includes(l))
  const batch = shared.filter((l) => later.has(l))
  const inner = shared.filter((l) => !later.has(l))
  const rows = left.labels.filter((l) => !shared.includes(l))
  const columns = right.labels.filter((l) => !shared.includes(l))
  const size = (labels: readonly string[]) =>
    labels.map((l) =>
      left.labels.includes(l) ? left.x.shape[left.labels.indexOf(l)]! : right.x.shape[right.labels.indexOf(l)]!,
    )
  const [nb, nr, nc, ni] = [batch, rows, columns, inner].map((l) => numel(size(l))) as [number, number, number, number]
  const labels = [...batch, ...rows, ...columns]
  if (!inner.length) {
    const [a, c] = [ordered(left, [...batch, ...rows]), ordered(right, [...batch, ...columns])]
    return {
      x: a
        .reshape([nb, nr, 1])
        .mul(c.reshape([nb, 1, nc]))
        .reshape(size(labels)),
      labels,
    }
  }
  const a = ordered(left, [...batch, ...rows, ...inner]).reshape([nb, nr, ni])
  const c = ordered(right, [...batch, ...inner, ...columns]).reshape([nb, ni, nc])
  return { x: a.matmul(c).reshape(size(labels)), labels }
}

/**
 * Sum of products over named axes, e.g. `einsum('bik,bkj->bij', x, y)`; operands are contracted from the left, each pair by
 * one matrix product. Without `->` the labels that occur once are kept, in alphabetical order.
 * @throws ShapeError when labels, ranks or sizes disagree
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  const [lhs, rhs] = equation.split('->') as [string, string | undefined]
  const terms = lhs.split(',').map((t) => labelsOf(t, equation))
  if (terms.length !== operands.length)
    throw new ShapeError(`einsum: '${equation}' names ${terms.length} operands, got ${operands.length}`)
  const sizes = new Map<string, number>()
  terms.forEach((labels, i) => {
    const { shape } = operands[i]!
    if (labels.length !== shape.length)
      throw new ShapeError(
        `einsum: '${equation}': operand ${i} is ${formatShape(shape)}, its labels are '${labels.join('')}'`,
      )
    labels.forEach((l, axis) => {
      const known = sizes.get(l) ?? shape[axis]!
      if (known !== shape[axis])
        throw new ShapeError(`einsum: '${equation}': label '${l}' is ${known} and, in operand ${i}, ${shape[axis]}`)
      sizes.set(l, known)
    })
  })
  const all = terms.flat()
  const kept =
    rhs === undefined
      ? [...new Set(all)].filter((l) => all.filter((o) => o === l).length === 1).sort()
      : labelsOf(rhs, equation)
  for (const l of kept)
    if (!sizes.has(l)) throw new ShapeError(`einsum: '${equation}': no operand has the label '${l}'`)
  let current: Labelled = { x: operands[0]!, labels: terms[0]! }
  for (let i = 1; i < terms.length; i++)
    current = contract(
      current,
      { x: operands[i]!, labels: terms[i]! },
      new Set([...kept, ...terms.slice(i + 1).flat()]),
    )
  return ordered(reduced(current, new Set(kept)), kept)
}

/**
 * ‖x_i − y_j‖² of the rows of x [..., n, d] and y [..., m, d]: [..., n, m]. Computed as ‖x‖² + ‖y‖² − 2 x·y, not below 0; rows
 * closer than about 10⁻³ of their length lose digits.
 */
export function pairwiseSquaredDistances(x: Tensor, y: Tensor = x): Tensor {
  if (x.rank < 2 || y.rank < 2 || x.shape.at(-1) !== y.shape.at(-1))
    throw new ShapeError(
      `pairwiseSquaredDistances: needs [..., n, d] and [..., m, d], got ${formatShape(x.shape)} and ${formatShape(y.shape)}`,
    )
  const squares = x.square().sum(-1, true).add(y.square().sum(-1, true).transpose())
  // Differences of large numbers: autocast would leave little of them.
  return squares.sub(autocast('f32', () => x.matmul(y.transpose())).mul(2)).maximum(0)
}

export type ResizeMode = 'nearest' | 'bilinear' | 'bicubic'

/** Keys' cubic with a = −¾, as PyTorch has it. */
const cubic = (t: number): number => {
  const a = -0.75
  const d = Math.abs(t)
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0
}

/** [to, from]: row i holds the weights of the samples that make up output i (pixel centres at ½, edges repeated). */
export function resizeMatrix(from: number, to: number, mode: ResizeMode): Float32Array {
  const matrix = new Float32Array(to * from)
  const put = (row: number, column: number, weight: number) => {
    matrix[row * from + Math.min(Math.max(column, 0), from - 1)]! += weight
  }
  for (let i = 0; i < to; i++) {
    const centre = ((i + 0.5) * from) / to - 0.5
    if (mode === 'nearest') {
      put(i, Math.floor((i * from) / to), 1)
      continue
    }
    const base = Math.floor(centre)
    const t = centre - base
    if (mode === 'bilinear') {
      put(i, base, 1 - t)
      put(i, base + 1, t)
    } else for (let k = -1; k <= 2; k++) put(i, base + k, cubic(t - k))
  }
  return matrix
}

/**
 * x [..., H, W] to [..., height, width], corners not aligned, no antialiasing: one matrix product an axis. Axes that keep their
 * size are left alone.
 */
export function resize(x: Tensor, height: number, width: number, mode: ResizeMode = 'bilinear'): Tensor {
  if (x.rank < 2) throw new ShapeError(`resize: needs [..., H, W], got ${formatShape(x.shape)}`)
  const [h, w] = [x.shape.at(-2)!, x.shape.at(-1)!]
  if (height < 1 || width < 1 || h < 1 || w < 1)
    throw new ShapeError(`resize: ${formatShape([h, w])} to ${formatShape([height, width])}: sizes must be at least 1`)
  return autocast('f32', () => {
    const along = w === width ? x : x.matmul(tensor(resizeMatrix(w, width, mode), [width, w]).transpose())
    return h === height ? along : tensor(resizeMatrix(h, height, mode), [height, h]).matmul(along)
  })
}

export interface DirectionalPool {
  /** [B, side, E]: over frames and columns of each row. */
  readonly rows: Tensor
  /** [B, side, E]: over frames and rows of each column. */
  readonly columns: Tensor
  /** [B, 1, E]: mean of the class tokens over frames. */
  readonly cls: Tensor
}

/** Pools z [B, T, 1 + side², E], class token first, over (frame, column) and (frame, row) in one pass. First-order gradient. */
export function directionalPool(z: Tensor, side: number, mode: 'mean' | 'max' = 'mean'): DirectionalPool {
  const node = b.record('directionalPool', [z.node], { mode, side })
  return { rows: new Tensor(node), columns: new Tensor(b.pick(node, 1)), cls: new Tensor(b.pick(node, 2)) }
}
