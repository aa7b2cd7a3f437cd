/** Sums of products over named axes. */
import { broadcastShapes, formatShape, numel, ShapeError } from './shape.ts'
import type { Tensor } from './tensor.ts'

interface Labelled {
  readonly x: Tensor
  readonly labels: readonly string[]
}

/** Stands for axis `i` from the right of an ellipsis; no letter that an equation may use. */
const hidden = (i: number): string => `…${i}`

/** Labels of one term, those of an ellipsis of `extra` axes included. */
function labelsOf(text: string, extra: number, equation: string): string[] {
  const [before, after, ...more] = text.trim().split('...') as [string, string | undefined, ...string[]]
  const letters = before + (after ?? '')
  if (more.length || ![...letters].every((c) => /[A-Za-z]/.test(c)))
    throw new ShapeError(`einsum: '${equation}': labels are single letters or one '...', got '${text.trim()}'`)
  const ellipsis = after === undefined ? [] : Array.from({ length: extra }, (_, i) => hidden(extra - 1 - i))
  return [...before, ...ellipsis, ...(after ?? '')]
}

/** Axes bearing one label twice become their diagonal. */
function withoutRepeats({ x, labels }: Labelled, equation: string): Labelled {
  const again = labels.findIndex((l, i) => labels.indexOf(l) !== i)
  if (again < 0) return { x, labels }
  const first = labels.indexOf(labels[again]!)
  if (x.shape[first] !== x.shape[again])
    throw new ShapeError(
      `einsum: '${equation}': label '${labels[again]}' is ${x.shape[first]} and ${x.shape[again]} in ${formatShape(x.shape)}`,
    )
  const rest = labels.filter((_, i) => i !== first && i !== again)
  return withoutRepeats({ x: x.diagonal(first, again), labels: [...rest, labels[again]!] }, equation)
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

/** The operands under their labels, ellipses broadcast to one another, diagonals taken. */
function label(equation: string, texts: readonly string[], operands: readonly Tensor[]): Labelled[] {
  const extras = texts.map((t, i) => {
    const named = t.replace('...', '').trim().length
    const { shape } = operands[i]!
    const extra = t.includes('...') ? shape.length - named : 0
    if (extra < 0 || (!t.includes('...') && shape.length !== named))
      throw new ShapeError(`einsum: '${equation}': operand ${i} is ${formatShape(shape)}, its labels are '${t.trim()}'`)
    return extra
  })
  const spans = texts.map((t, i) => {
    const at = t.trim().indexOf('...')
    return at < 0 ? [] : operands[i]!.shape.slice(at, at + extras[i]!)
  })
  const common = broadcastShapes('einsum', ...spans)
  return texts.map((t, i) => {
    const at = t.trim().indexOf('...')
    const x = operands[i]!
    const labels = labelsOf(t, extras[i]!, equation)
    if (at < 0) return withoutRepeats({ x, labels }, equation)
    const span = common.slice(common.length - extras[i]!)
    const shape = [...x.shape.slice(0, at), ...span, ...x.shape.slice(at + extras[i]!)]
    return withoutRepeats({ x: x.expand(shape), labels }, equation)
  })
}

/**
 * Sum of products over named axes, e.g. `einsum('bik,bkj->bij', x, y)`; operands are contracted from the left, each pair by
 * one matrix product. A label twice in one operand takes the diagonal ('ii->' is the trace), '...' stands for any leading or
 * inner axes, broadcast among the operands. Without `->` the labels that occur once are kept, in alphabetical order, after those
 * of '...'.
 * @throws ShapeError when labels, ranks or sizes disagree
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  const [lhs, rhs] = equation.split('->') as [string, string | undefined]
  const texts = lhs.split(',')
  if (texts.length !== operands.length)
    throw new ShapeError(`einsum: '${equation}' names ${texts.length} operands, got ${operands.length}`)
  const terms = label(equation, texts, operands)
  const sizes = new Map<string, number>()
  terms.forEach(({ x, labels }, i) => {
    labels.forEach((l, axis) => {
      const known = sizes.get(l) ?? x.shape[axis]!
      if (known !== x.shape[axis])
        throw new ShapeError(`einsum: '${equation}': label '${l}' is ${known} and, in operand ${i}, ${x.shape[axis]}`)
      sizes.set(l, known)
    })
  })
  const spread = [...sizes.keys()].filter((l) => l.startsWith('…')).length
  const letters = [...lhs].filter((c) => /[A-Za-z]/.test(c))
  const once = [...new Set(letters)].filter((l) => letters.filter((o) => o === l).length === 1).sort()
  const kept = labelsOf(rhs ?? `${spread ? '...' : ''}${once.join('')}`, spread, equation)
  if (new Set(kept).size !== kept.length) throw new ShapeError(`einsum: '${equation}': the output names a label twice`)
  for (const l of kept)
    if (!sizes.has(l)) throw new ShapeError(`einsum: '${equation}': no operand has the label '${l}'`)
  const later = (from: number) => new Set([...kept, ...terms.slice(from).flatMap((t) => t.labels)])
  const all = terms.slice(1).reduce((product, term, i) => contract(product, term, later(i + 2)), terms[0]!)
  return ordered(reduced(all, new Set(kept)), kept)
}
