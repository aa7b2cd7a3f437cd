/**
 * Jacobi with the matrix in registers, one subgroup a matrix: each lane keeps `pairsPerLane` pairs of rows of A and as many
 * rows of V. No memory and no barrier between the first load and the last store.
 *
 * Brent and Luk's ordering moves the rows instead of the indices: with 2m positions in m pairs (top k, bottom k), every
 * round rotates each pair and then moves
 *     top 0 stays, bottom 0 → top 1, top k → top k+1, top m−1 → bottom m−1, bottom k → bottom k−1,
 * so that after 2m−1 rounds every two rows have met once and all are home again. A pair of rows lies in one lane, so the
 * rotation from the left needs no neighbour; columns are named registers, so their move costs nothing; only two rows a
 * lane cross to a neighbour, by shuffles.
 *
 * The WGSL is written out entry by entry, a_<row>_<column> with rows local to the lane, since registers cannot be indexed.
 * CPU adapters keep the same entries in an array that one loop of unknown length fills: the array then stays in memory, where
 * a constant index is one vector load, and a compiler that would take 10 s over so many live registers takes 1 s.
 * Sizes are padded with zero rows to 2 · pairsPerLane · lanes; a zero row is never rotated. n itself is a uniform: sizes of one
 * padding share a pipeline.
 *
 * RTX 3090 class (kernel.ts; `jacobi.ts` compares it with the other way): 4n registers a lane hold A and V, 112 at n = 28 and 160 at the limit
 * of 40, below the 255 of a thread. n/2 lanes of a subgroup work, 14 of 32 at n = 28. 16 workgroups a multiprocessor are four subgroups
 * a scheduler, which hide each other's shuffles: 500 instructions a round, 27 rounds, some 8 sweeps are 108,000, at four a
 * clock 16 µs a matrix and multiprocessor.
 */
import {
  type Capabilities,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
} from '../kernel.ts'
import { type JacobiOptions, jacobiBindings, jacobiCost, jacobiFunctions, jacobiUniforms } from './common.ts'

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Lines joined and indented; lists of lines may be nested. */
const block = (indent: number, lines: string[]): string => lines.map((line) => ' '.repeat(indent) + line).join('\n')

/** Where position `from` goes in one round's move over `pairs` pairs; 2k is top k, 2k+1 bottom k. */
function moveTarget(from: number, pairs: number): number {
  if (from === 0 || pairs === 1) return from
  if (from === 1) return 2
  if (from === 2 * pairs - 2) return 2 * pairs - 1
  return from % 2 === 0 ? from + 2 : from - 2
}

/** Needs `subgroups` and ⌈n/2⌉ / pairsPerLane ≤ subgroupMinSize lanes. */
export function jacobiRows(options: JacobiOptions, caps: Capabilities, pairsPerLane: number): Program {
  const { batch, n, maxSweeps, tolerance } = options
  const lanes = ceilDiv(ceilDiv(n, 2), pairsPerLane)
  const perLane = 2 * pairsPerLane
  const size = perLane * lanes
  const pairs = size / 2
  const inMemory = caps.software
  const rows = range(perLane)
  const columns = range(size)
  const ownPairs = range(pairsPerLane)
  const bindings = jacobiBindings(n)
  const uniforms = { ...jacobiUniforms, entries: 'u32' } as const
  /** ` && c < n`, where columns of some n of this padding are no entries of the matrix. */
  const andReal = (c: number): string => (c > size - perLane ? ` && ${c}u < u.n` : '')

  const wgsl = /* wgsl */ `enable subgroups;
// The stopping test is the same number in every lane (a subgroup sum), which the analysis cannot know.
diagnostic(off, subgroup_uniformity);

${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${jacobiFunctions}
@compute @workgroup_size(${lanes})
fn main(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let matrix = wid.x + wid.y * groups.x;
  if (matrix >= u.batch) { return; }
  let before = select(lane - 1u, 0u, lane == 0u);
  let after = min(lane + 1u, ${lanes - 1}u);
  let first = lane * ${perLane}u;
  let matrix_at = matrix * u.n * u.n;
  var largest = 0.0;
  for (var i = lane; i < u.n * u.n; i += ${lanes}u) { largest = max(largest, abs(s[matrix_at + i])); }
  let scale = power_of_two(subgroupMax(largest));
  let unscale = reciprocal_power_of_two(scale);
${block(2, loadRows())}
  var on_diagonal = 0.0;
  var off_diagonal = 0.0;
${block(2, sumSquares('on_diagonal', true))}
${block(2, sumSquares('off_diagonal', false))}
  var off = subgroupAdd(off_diagonal);
  let norm = sqrt(subgroupAdd(on_diagonal) + off);
  off = sqrt(off);
  let negligible = negligible_entry(norm);
  var sweep = 0u;
  while (sweep < u.max_sweeps && !(off <= u.tolerance * norm)) {
    for (var round = 0u; round < ${size - 1}u; round++) {
${block(6, findRotations())}
${block(6, rotateAndMove())}
    }
    off_diagonal = 0.0;
${block(4, sumSquares('off_diagonal', false))}
    off = sqrt(subgroupAdd(off_diagonal));
    sweep++;
  }

${block(2, sortAndStore())}
  if (lane == 0u) {
    info[2u * matrix] = f32(sweep);
    info[2u * matrix + 1u] = select(0.0, off / max(norm, 1e-30), norm > 0.0);
  }
}
`
  return {
    label: `jacobi.rows.${pairsPerLane}.${size}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { batch, n, max_sweeps: maxSweeps, tolerance, entries: perLane * size }),
    grid: foldGrid(batch, caps.maxGrid),
    cost: jacobiCost(options),
    workgroupBytes: 0,
    accumulators: 2 * perLane * size,
  }

  /** Entry (r, c) of this lane's rows of A or V. */
  function at(x: string, r: number, c: number): string {
    return inMemory ? `${x}[${r * size + c}]` : `${x}_${r}_${c}`
  }

  /** The symmetric part of S divided by the scale, zero in the padding, and the identity; without a branch, of which there would be one an entry. */
  function loadRows(): string[] {
    const load = (row: string, c: string): string =>
      `0.5 * to_unit(s[matrix_at + ${row} * u.n + ${c}], unscale) + 0.5 * to_unit(s[matrix_at + ${c} * u.n + ${row}], unscale)`
    if (inMemory)
      return [
        `var a: array<f32, ${perLane * size}>;`,
        `var v: array<f32, ${perLane * size}>;`,
        `for (var i = 0u; i < u.entries; i++) {`,
        `  let row = first + i / ${size}u;`,
        `  let column = i % ${size}u;`,
        `  if (row < u.n && column < u.n) { a[i] = ${load('row', 'column')}; }`,
        `  v[i] = select(0.0, 1.0, row == column);`,
        '}',
      ]
    return rows.flatMap((r) => [
      `let row_${r} = min(first + ${r}u, u.n - 1u);`,
      `let real_${r} = first + ${r}u < u.n;`,
      ...columns.map((c) => {
        const column = andReal(c) ? `min(${c}u, u.n - 1u)` : `${c}u`
        return `var a_${r}_${c} = select(0.0, ${load(`row_${r}`, column)}, real_${r}${andReal(c)});`
      }),
      ...columns.map((c) => `var v_${r}_${c} = select(0.0, 1.0, first + ${r}u == ${c}u);`),
    ])
  }

  /** Entry of a local row in the column that is local position `column` of the lane's own rows. */
  function ownEntry(row: number, column: number): string {
    return range(lanes).reduce((value, j) => {
      const name = at('a', row, perLane * j + column)
      return j === 0 ? name : `select(${value}, ${name}, lane == ${j}u)`
    }, '')
  }

  /** The lane whose diagonal holds local row r, column c; undefined if none does. */
  function diagonalOwner(r: number, c: number): number | undefined {
    return c % perLane === r ? Math.floor(c / perLane) : undefined
  }

  function sumSquares(sum: string, diagonal: boolean): string[] {
    return rows.flatMap((r) =>
      columns.flatMap((c) => {
        const owner = diagonalOwner(r, c)
        const square = `${at('a', r, c)} * ${at('a', r, c)}`
        if (owner === undefined) return diagonal ? [] : [`${sum} += ${square};`]
        return [`${sum} += select(0.0, ${square}, lane ${diagonal ? '==' : '!='} ${owner}u);`]
      }),
    )
  }

  function findRotations(): string[] {
    return ownPairs.flatMap((l) => [
      `let pp_${l} = ${ownEntry(2 * l, 2 * l)};`,
      `let pq_${l} = ${ownEntry(2 * l, 2 * l + 1)};`,
      `let qq_${l} = ${ownEntry(2 * l + 1, 2 * l + 1)};`,
      `let own_${l} = rotation(pp_${l}, qq_${l}, pq_${l}, negligible);`,
    ])
  }

  /**
   * One round of rotations and moves, streaming over the pairs of columns k: V J and Jᵀ (A J) of the two columns, the rows
   * moved, and the results kept in `pending` until their destination has been read.
   */
  function rotateAndMove(): string[] {
    const pending: { readonly column: number; readonly line: string }[] = []
    const lines: string[] = []
    for (let k = 0; k < pairs; k++) {
      const [owner, l, p, q] = [Math.floor(k / pairsPerLane), k % pairsPerLane, 2 * k, 2 * k + 1]
      lines.push(`let c_${k} = subgroupBroadcast(own_${l}.x, ${owner}u);`)
      lines.push(`let s_${k} = subgroupBroadcast(own_${l}.y, ${owner}u);`)
      for (const x of ['a', 'v'])
        for (const r of rows) {
          lines.push(`let ${x}c_${r}_${p} = c_${k} * ${at(x, r, p)} - s_${k} * ${at(x, r, q)};`)
          lines.push(`let ${x}c_${r}_${q} = s_${k} * ${at(x, r, p)} + c_${k} * ${at(x, r, q)};`)
        }
      for (const from of [p, q]) {
        lines.push(...rotateFromLeft(from))
        const column = moveTarget(from, pairs)
        for (const r of rows) {
          lines.push(`let moved_${r}_${from} = ${movedRow(r, from)};`)
          pending.push({ column, line: `${at('a', r, column)} = moved_${r}_${from};` })
          pending.push({ column, line: `${at('v', r, column)} = vc_${r}_${from};` })
        }
      }
      for (let i = pending.length - 1; i >= 0; i--)
        if (pending[i]!.column <= q) lines.push(...pending.splice(i, 1).map(({ line }) => line))
    }
    return lines
  }

  /**
   * Jᵀ (A J) of one column, in ar_: the lane's own pairs of rows. A pair's own 2×2 block is set, not computed: exact zeros
   * are what lets the residual fall below rounding.
   */
  function rotateFromLeft(c: number): string[] {
    return ownPairs.flatMap((l) => {
      const [p, q] = [2 * l, 2 * l + 1]
      const set = (computed: string, r: number, exact: string): string => {
        const owner = diagonalOwner(r, c)
        return owner === undefined ? computed : `select(${computed}, ${exact}, lane == ${owner}u)`
      }
      const top = `own_${l}.x * ac_${p}_${c} - own_${l}.y * ac_${q}_${c}`
      const bottom = `own_${l}.y * ac_${p}_${c} + own_${l}.x * ac_${q}_${c}`
      return [
        `let ar_${p}_${c} = ${set(set(top, p, `pp_${l} - own_${l}.z * pq_${l}`), q, '0.0')};`,
        `let ar_${q}_${c} = ${set(set(bottom, p, '0.0'), q, `qq_${l} + own_${l}.z * pq_${l}`)};`,
      ]
    })
  }

  /** What local row r holds after the move, in column c: its neighbour in this lane, or the next lane's. */
  function movedRow(r: number, c: number): string {
    const last = perLane - 1
    if (pairs === 1) return `ar_${r}_${c}`
    if (r === 0) {
      const up = pairsPerLane === 1 ? `select(ar_0_${c}, ar_1_${c}, lane == 0u)` : `ar_${last - 1}_${c}`
      return `select(subgroupShuffle(${up}, before), ar_0_${c}, lane == 0u)`
    }
    if (r === last) return `select(subgroupShuffle(ar_1_${c}, after), ar_${last - 1}_${c}, lane == ${lanes - 1}u)`
    if (r === 2) return `select(ar_0_${c}, ar_1_${c}, lane == 0u)`
    return r % 2 === 0 ? `ar_${r - 2}_${c}` : `ar_${r + 2}_${c}`
  }

  /** Each eigenvalue's place is the number of smaller ones (and equal ones before it). */
  function sortAndStore(): string[] {
    const owner = (c: number): string => `${Math.floor(c / perLane)}u`
    return [
      ...rows.map((r) => `let value_${r} = ${ownEntry(r, r)}; var rank_${r} = 0u;`),
      ...columns.flatMap((c) => [
        `let other_${c} = subgroupBroadcast(value_${c % perLane}, ${owner(c)});`,
        ...rows.map(
          (r) =>
            `rank_${r} += select(0u, 1u, (other_${c} < value_${r} || (other_${c} == value_${r} && ${c}u < first + ${r}u))${andReal(c)});`,
        ),
      ]),
      ...columns.map((c) => `let place_${c} = subgroupBroadcast(rank_${c % perLane}, ${owner(c)});`),
      ...rows.flatMap((r) => [
        `if (first + ${r}u < u.n) {`,
        `  values[matrix * u.n + rank_${r}] = from_unit(value_${r}, scale);`,
        `  let base = matrix_at + (first + ${r}u) * u.n;`,
        ...columns.map((c) => {
          const store = `vectors[base + place_${c}] = ${at('v', r, c)};`
          return andReal(c) ? `  if (${c}u < u.n) { ${store} }` : `  ${store}`
        }),
        '}',
      ]),
    ]
  }
}
