/**
 * Scaled-dot-product attention: the problem, its operands in memory, and the WGSL that every attention kernel shares.
 *
 *   s = scale·q·k + bias,   p = softmax over keys,   o = Σ p·v,   lse = log Σ exp s
 *
 * q [batch.., lq, heads, d], k and v [batch.., lk, heads, d] lie anywhere in their buffers (`AttentionOperand`), so that
 * they may be slices of one packed buffer. o, do are contiguous [batch.., lq, heads, d]; lse, delta contiguous
 * [batch.., heads, lq]; dq [batch.., lq, heads, d], dk, dv [batch.., lk, heads, d] are contiguous too unless `dqOut`, `dkOut`
 * and `dvOut` say where they go: into their slices of one packed gradient, for instance.
 *
 * q, k, v, o, do and the gradients are f32 or f16 in memory; bias, mask, lse, delta and every sum are f32.
 *
 * A key is masked where the key mask is not above 0, where `causal` and key > query, or where its score is below −1e38.
 * A query whose keys are all masked gets o = 0, lse = −∞ and zero gradients.
 */
import type { Binding, Capabilities, Cost, Program } from '../kernel.ts'
import { ceilDiv, declareBindings, declareUniforms, foldGrid, packUniforms } from '../kernel.ts'
import { enableHalf, type FloatArray, type FloatType, floatArray, floatBytes, floatFunctions } from '../storage.ts'

/** Where an operand lies: strides and offset in elements; the stride along the last axis is 1. */
export interface AttentionOperand {
  readonly batchStrides: readonly number[]
  readonly headStride: number
  /** Along queries or keys. */
  readonly rowStride: number
  readonly offset: number
  /** Element type of q, k or v; default f32. */
  readonly type?: FloatType
}

/** Width of the widest head that the kernels take: they keep a row of it in registers. */
export const widestHead = 128

export interface AttentionProblem {
  /** 1 to 3 batch dimensions; their product is the number of sequences. */
  readonly batch: readonly number[]
  readonly heads: number
  readonly lq: number
  readonly lk: number
  /** Width of a head, 1 to `widestHead`. */
  readonly d: number
  readonly scale: number
  /** Query i sees keys 0..i. */
  readonly causal: boolean
  readonly q: AttentionOperand
  readonly k: AttentionOperand
  readonly v: AttentionOperand
  /** Added to the scores, [batch.., heads, lq, lk]; batch and head strides may be 0 (broadcast). */
  readonly bias?: AttentionOperand
  /** f32, a key is attended where > 0, [batch.., lk]; `rowStride` runs along keys, `headStride` is 0. */
  readonly keyMask?: AttentionOperand
  /** Where dq, dk and dv go; contiguous buffers of their own when absent. Elements between their rows are left as they are. */
  readonly dqOut?: AttentionOperand
  readonly dkOut?: AttentionOperand
  readonly dvOut?: AttentionOperand
  /** dk and dv lie in one buffer, which their launch binds once, as `dkdv`: WebGPU forbids binding it twice. */
  readonly dkdvTogether?: boolean
  /** Element types of the results (o; dq, dk and dv), and of do; default f32. */
  readonly output?: FloatType
  readonly gradient?: FloatType
}

/** Which axis a kernel owns, and what it sums over the other: o over keys; dq over keys; dk and dv over queries. */
export type Pass = 'forward' | 'queries' | 'keys'

export const sequences = (p: AttentionProblem): number => p.batch.reduce((a, b) => a * b, 1)

/** Rows that a pass owns, and rows that it runs over. */
export const ownLength = (p: AttentionProblem, pass: Pass): number => (pass === 'keys' ? p.lk : p.lq)
export const otherLength = (p: AttentionProblem, pass: Pass): number => (pass === 'keys' ? p.lq : p.lk)

/** Arrays of a pass: rows it owns, rows it runs over, results. Scores are own[0]·other[0]; own[1]·other[1] is do·v. */
export const passArrays = {
  forward: { own: ['q'], other: ['k', 'v'], outputs: ['o'] },
  queries: { own: ['q', 'dout'], other: ['k', 'v'], outputs: ['dq'] },
  keys: { own: ['k', 'v'], other: ['q', 'dout'], outputs: ['dk', 'dv'] },
} as const satisfies Record<Pass, { own: string[]; other: string[]; outputs: string[] }>

export function checkProblem(p: AttentionProblem): void {
  const fail = (what: string): never => {
    throw new Error(`attention: ${what}`)
  }
  if (p.batch.length < 1 || p.batch.length > 3) fail(`1 to 3 batch dimensions, got ${p.batch.length}`)
  if (!(p.d >= 1 && p.d <= widestHead)) fail(`head width 1 to ${widestHead}, got ${p.d}`)
  for (const [name, size] of Object.entries({ heads: p.heads, lq: p.lq, lk: p.lk, sequences: sequences(p) }))
    if (!(size >= 1)) fail(`${name} must be at least 1, got ${size}`)
  const { q, k, v, bias, keyMask, dqOut, dkOut, dvOut } = p
  for (const [name, operand] of Object.entries({ q, k, v, bias, keyMask, dqOut, dkOut, dvOut }))
    if (operand && operand.batchStrides.length !== p.batch.length)
      fail(`${name} has ${operand.batchStrides.length} batch strides for ${p.batch.length} batch dimensions`)
  if (p.dkdvTogether && !(dkOut && dvOut)) fail('dk and dv in one buffer need dkOut and dvOut')
}

/** Whether rows can be read and written as vec4f: d and every stride and offset of q, k, v and outputs are multiples of 4. */
export function vectorizable(p: AttentionProblem): boolean {
  const given = [p.q, p.k, p.v, p.dqOut, p.dkOut, p.dvOut].filter((o) => o !== undefined)
  const operands = given.flatMap((o) => [...o.batchStrides, o.headStride, o.rowStride, o.offset])
  return p.d % 4 === 0 && operands.every((stride) => stride % 4 === 0)
}

/** A contiguous [batch.., length, heads, d] array. */
export function contiguousOperand(p: AttentionProblem, length: number): AttentionOperand {
  let stride = length * p.heads * p.d
  const batchStrides = [...p.batch].reverse().map((size) => {
    const here = stride
    stride *= size
    return here
  })
  return { batchStrides: batchStrides.reverse(), headStride: p.d, rowStride: p.heads * p.d, offset: 0 }
}

/** Where the rows of an output lie. */
function outputOperand(p: AttentionProblem, name: string): AttentionOperand {
  const given = { dq: p.dqOut, dk: p.dkOut, dv: p.dvOut }[name]
  return given ?? contiguousOperand(p, name === 'dk' || name === 'dv' ? p.lk : p.lq)
}

/** The WGSL variable that an output's rows are written to. */
export const outputArray = (p: AttentionProblem, name: string): string =>
  p.dkdvTogether && (name === 'dk' || name === 'dv') ? 'dkdv' : name

/** Everything a kernel needs around its own `main`. */
export interface Shell {
  readonly bindings: readonly Binding[]
  /** The bound row arrays by name; an index counts vec4s where `vector` was asked for. */
  readonly arrays: Readonly<Record<string, FloatArray>>
  readonly uniforms: Uint32Array
  /** Directives, declarations and helper functions, to be followed by the kernel. */
  readonly wgsl: string
}

/**
 * Declarations for a kernel that reads `inputs` (q, k, v, dout row arrays, then bias and mask if present, then `scalars`)
 * and writes `outputs` (row arrays) and `scalarOutputs`.
 *
 * WGSL it defines, for each row array X: `XBase(sequence, head)` and `u.X_row` in elements of X's binding;
 * `XAt(row, c)`: components 4c..4c+3 of the row that starts at `row`, zero beyond d; and for outputs `XPut(row, c, value)`.
 * `score(raw, biasOf(..), keyAttended(..), query, key)`: the score, or `masked` where the key is masked or out of range.
 */
export function shell(
  p: AttentionProblem,
  vector: boolean,
  scalars: readonly string[],
  outputs: readonly string[],
  scalarOutputs: readonly string[],
  options: { subgroups?: boolean; dout: boolean },
  caps: Capabilities,
): Shell {
  const unit = vector ? 4 : 1
  const rowArrays: Record<string, AttentionOperand> = { q: p.q, k: p.k, v: p.v }
  const arrays: Record<string, FloatArray> = {}
  const rows = (name: string, type: FloatType | undefined, access: Binding['access'] = 'read'): Binding => {
    const array = floatArray(name, caps, { type, vector, access })
    arrays[name] = array
    return array.binding
  }
  const read = (name: string): Binding => ({ name, type: 'f32', access: 'read' })
  const bindings: Binding[] = [rows('q', p.q.type), rows('k', p.k.type), rows('v', p.v.type)]
  if (p.bias) bindings.push(read('bias'))
  if (p.keyMask) bindings.push(read('keyMask'))
  if (options.dout) {
    bindings.push(rows('dout', p.gradient))
    rowArrays.dout = contiguousOperand(p, p.lq)
  }
  bindings.push(...scalars.map(read))
  for (const name of outputs) rowArrays[name] = outputOperand(p, name)
  for (const name of new Set(outputs.map((output) => outputArray(p, output))))
    bindings.push(rows(name, p.output, 'read_write'))
  bindings.push(...scalarOutputs.map((name): Binding => ({ name, type: 'f32', access: 'read_write' })))

  const members: Record<string, 'u32' | 'f32'> = {}
  const values: Record<string, number> = {}
  const put = (name: string, value: number, t: 'u32' | 'f32' = 'u32'): void => {
    members[name] = t
    values[name] = value
  }
  const padded = [...Array(3 - p.batch.length).fill(1), ...p.batch]
  put('sequences', sequences(p))
  put('heads', p.heads)
  put('lq', p.lq)
  put('lk', p.lk)
  put('d', p.d)
  put('chunks', rowChunks(p))
  put('batch1', padded[1])
  put('batch2', padded[2])
  put('scale', p.scale, 'f32')
  put('minusInfinity', 0xff800000)
  const scalarArrays = { ...(p.bias && { bias: p.bias }), ...(p.keyMask && { keyMask: p.keyMask }) }
  const all = Object.entries({ ...rowArrays, ...scalarArrays })
  for (const [name, operand] of all) {
    const scaleDown = name in rowArrays ? unit : 1
    const strides = [...Array(3 - p.batch.length).fill(0), ...operand.batchStrides]
    strides.forEach((stride, i) => {
      put(`${name}_batch${i}`, stride / scaleDown)
    })
    put(`${name}_head`, operand.headStride / scaleDown)
    put(`${name}_row`, operand.rowStride / scaleDown)
    put(`${name}_offset`, operand.offset / scaleDown)
  }

  const base = (name: string): string => `fn ${name}Base(sequence: u32, head: u32) -> u32 {
  let last = sequence % u.batch2;
  let middle = (sequence / u.batch2) % u.batch1;
  let first = sequence / (u.batch2 * u.batch1);
  return u.${name}_offset + first * u.${name}_batch0 + middle * u.${name}_batch1 + last * u.${name}_batch2 + head * u.${name}_head;
}`
  const tail = p.d % 4
  const at = (name: string): string => {
    if (vector) return `fn ${name}At(row: u32, c: u32) -> vec4f { return ${arrays[name]!.load('row + c')}; }`
    const part = ['0.0', '0.0', '0.0', '0.0']
    for (let i = 0; i < tail; i++) part[i] = arrays[name]!.load(`i + ${i}u`)
    const ragged = tail ? `\n  if (c == u.chunks - 1u) { return vec4f(${part.join(', ')}); }` : ''
    return `fn ${name}At(row: u32, c: u32) -> vec4f {
  let i = row + 4u * c;${ragged}
  return vec4f(${['i', 'i + 1u', 'i + 2u', 'i + 3u'].map((i) => arrays[name]!.load(i)).join(', ')});
}`
  }
  const store = (name: string): string => {
    const array = arrays[outputArray(p, name)]!
    if (vector) return `fn ${name}Put(row: u32, c: u32, value: vec4f) { ${array.store('row + c', 'value')} }`
    const part = (i: number): string => array.store(`i + ${i}u`, `value.${'xyzw'[i]}`)
    const parts = [0, 1, 2, 3].map(part)
    const ragged = tail ? `\n  if (c == u.chunks - 1u) { ${parts.slice(0, tail).join(' ')} return; }` : ''
    return `fn ${name}Put(row: u32, c: u32, value: vec4f) {\n  let i = row + 4u * c;${ragged}\n  ${parts.join(' ')}\n}`
  }
  const inputRows = Object.keys(rowArrays).filter((name) => !outputs.includes(name))
  const wgsl = `${enableHalf(bindings)}${options.subgroups ? 'enable subgroups;\n' : ''}${declareBindings(bindings)}
${declareUniforms(members, bindings.length)}
${floatFunctions(Object.values(arrays))}
// A masked score is so low that exp(masked − high) is 0 for every high ≥ lowest; deadRow does the same in the backward.
const masked = -2e38;
const lowest = -1e38;
const deadRow = 1e38;
${all.map(([name]) => base(name)).join('\n')}
${inputRows.map(at).join('\n')}
${outputs.map(store).join('\n')}
fn biasOf(base: u32, query: u32, key: u32) -> f32 { return ${p.bias ? 'bias[base + query * u.bias_row + key]' : '0.0'}; }
fn keyAttended(base: u32, key: u32) -> bool { return ${p.keyMask ? 'keyMask[base + key * u.keyMask_row] > 0.0' : 'true'}; }
// & and not &&: branches here, one a row, cost SwiftShader's compiler minutes.
fn score(raw: f32, bias: f32, attended: bool, query: u32, key: u32) -> f32 {
  return select(masked, raw * u.scale + bias, attended & (query < u.lq) & (key < u.lk)${p.causal ? ' & (key <= query)' : ''});
}
`
  return { bindings, arrays, uniforms: packUniforms(members, values), wgsl }
}

/** `let biasAt`, `let maskAt` for a kernel's main, where `sequence` and `head` are known. */
export const scoreBases = (p: AttentionProblem): string =>
  `  let biasAt = ${p.bias ? 'biasBase(sequence, head)' : '0u'};
  let maskAt = ${p.keyMask ? 'keyMaskBase(sequence, 0u)' : '0u'};`

/** The shell of one pass. */
export function passShell(
  p: AttentionProblem,
  pass: Pass,
  vector: boolean,
  caps: Capabilities,
  subgroups = false,
): Shell {
  const { outputs } = passArrays[pass]
  const forward = pass === 'forward'
  const options = { subgroups, dout: !forward }
  return shell(p, vector, forward ? [] : ['lse', 'delta'], outputs, forward ? ['lse'] : [], options, caps)
}

/** Work of a pass; each product of an L×L matrix with d columns counts 2·lq·lk·d. */
export function passCost(p: AttentionProblem, pass: Pass): Cost {
  const heads = sequences(p) * p.heads
  const products = { forward: 2, queries: 3, keys: 4 }[pass]
  const flops = heads * p.lq * p.lk * (2 * products * p.d + 6) * (p.causal ? 0.5 : 1)
  const bytes = (type: FloatType | undefined, rows: number): number => floatBytes(type ?? 'f32') * rows * p.d
  const inputs = bytes(p.q.type, p.lq) + bytes(p.k.type, p.lk) + bytes(p.v.type, p.lk)
  const statistics = pass === 'forward' ? 4 * p.lq : 8 * p.lq + bytes(p.gradient, p.lq)
  const outputs = bytes(p.output, { forward: p.lq, queries: p.lq, keys: 2 * p.lk }[pass])
  const bias = p.bias ? 4 * biasGroups(p).groups * p.lq * p.lk : 0
  return { flops, bytes: heads * (inputs + statistics + outputs) + bias }
}

/** Sizes of the bias as stored: 1 along the axes it is broadcast over. */
export function biasGroups(p: AttentionProblem): { batch: number[]; heads: number; groups: number } {
  const batch = p.batch.map((size, i) => (p.bias?.batchStrides[i] === 0 ? 1 : size))
  const heads = p.bias?.headStride === 0 ? 1 : p.heads
  return { batch, heads, groups: batch.reduce((a, b) => a * b, 1) * heads }
}

export function passProgram(
  p: AttentionProblem,
  pass: Pass,
  name: string,
  parts: Shell,
  main: string,
  groups: number,
  caps: Capabilities,
  { workgroupBytes = 0, accumulators }: { workgroupBytes?: number; accumulators: number },
): Program {
  return {
    label: `attention.${pass}.${name}`,
    wgsl: `${parts.wgsl}${main}`,
    bindings: parts.bindings,
    uniforms: parts.uniforms,
    grid: foldGrid(groups, caps.maxGrid),
    cost: passCost(p, pass),
    workgroupBytes,
    accumulators,
  }
}

/** `f(0) … f(count − 1)`, one a line. */
export const times = (count: number, f: (i: number) => string, separator = '\n'): string =>
  Array.from({ length: count }, (_, i) => f(i)).join(separator)

/** vec4s that hold a row of d components. */
export const rowChunks = (p: AttentionProblem): number => ceilDiv(p.d, 4)
