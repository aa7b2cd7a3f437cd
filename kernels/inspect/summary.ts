/**
 * What stands in a buffer of floats: how many are NaN, how many infinite, the smallest and largest of the others, and where the first
 * that is not finite stands. Everything is decided by the bits as integers, so no driver's fast mathematics folds it away.
 *
 *   x       words of f32, or of two f16 each
 *   record  [8] u32, zero before: NaNs, infinities, ~ordered(min), ordered(max), ~first, finite elements, unused, unused
 *
 * `ordered` maps the bits of a float to an integer of the same order; complements turn a minimum into a maximum of what was 0.
 * Integer atomics, once an invocation: the same record whatever the order.
 */
import { type Binding, type Capabilities, declareUniforms, type Program, packUniforms } from '../kernel.ts'

export interface SummaryProblem {
  /** Floats, an f16 two to a word. */
  readonly count: number
  readonly type: 'f32' | 'f16'
}

export const summaryWords = 8
const invocations = 32 * 64
const uniforms = { count: 'u32', half: 'u32' } as const

/** Bindings: x (read), record (rw). */
export function summaryProgram({ count, type }: SummaryProblem, _caps: Capabilities): Program {
  const bindings: Binding[] = [
    { name: 'x', type: 'u32', access: 'read' },
    { name: 'record', type: 'atomic<u32>', access: 'read_write' },
  ]
  const wgsl = `@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> record: array<atomic<u32>>;
${declareUniforms(uniforms, 2)}
fn widened(half: u32) -> u32 {
  if ((half & 0x7c00u) == 0x7c00u) { return ((half & 0x8000u) << 16u) | 0x7f800000u | ((half & 0x3ffu) << 13u); }
  return bitcast<u32>(unpack2x16float(half).x);
}
fn bitsOf(i: u32) -> u32 {
  if (u.half == 0u) { return x[i]; }
  return widened((x[i >> 1u] >> ((i & 1u) * 16u)) & 0xffffu);
}
fn ordered(bits: u32) -> u32 { return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u); }
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var nans = 0u; var infinities = 0u; var finite = 0u;
  var low = 0xffffffffu; var high = 0u; var first = 0xffffffffu;
  for (var i = id.x; i < u.count; i += ${invocations}u) {
    let bits = bitsOf(i);
    if ((bits & 0x7f800000u) == 0x7f800000u) {
      if ((bits & 0x007fffffu) != 0u) { nans += 1u; } else { infinities += 1u; }
      first = min(first, i);
    } else {
      finite += 1u;
      low = min(low, ordered(bits));
      high = max(high, ordered(bits));
    }
  }
  atomicAdd(&record[0], nans);
  atomicAdd(&record[1], infinities);
  atomicMax(&record[2], ~low);
  atomicMax(&record[3], high);
  atomicMax(&record[4], ~first);
  atomicAdd(&record[5], finite);
}
`
  return {
    label: 'inspect.summary',
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { count, half: type === 'f16' ? 1 : 0 }),
    grid: [invocations / 64, 1, 1],
    cost: { flops: count, bytes: (type === 'f16' ? 2 : 4) * count },
    workgroupBytes: 0,
    accumulators: 6,
  }
}

export interface Summary {
  readonly nans: number
  readonly infinities: number
  /** Of the finite elements; undefined when there is none. */
  readonly min: number | undefined
  readonly max: number | undefined
  /** Flat index of the first element that is not finite. */
  readonly first: number | undefined
}

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)
const unordered = (key: number): number => {
  word[0] = key & 0x80000000 ? key & 0x7fffffff : ~key
  return float[0]!
}

/** A record as the kernel wrote it. */
export function summaryOf(record: Uint32Array): Summary {
  const [nans, infinities, low, high, first, finite] = record as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const bad = nans + infinities > 0
  return {
    nans,
    infinities,
    min: finite ? unordered(~low >>> 0) : undefined,
    max: finite ? unordered(high) : undefined,
    first: bad ? ~first >>> 0 : undefined,
  }
}

/** Plain-loop reference. */
export function summaryReference(x: ArrayLike<number>): Summary {
  let [nans, infinities, min, max, first] = [0, 0, Infinity, -Infinity, -1]
  for (let i = 0; i < x.length; i++) {
    const v = x[i]!
    if (Number.isFinite(v)) {
      min = Math.min(min, v)
      max = Math.max(max, v)
      continue
    }
    if (Number.isNaN(v)) nans++
    else infinities++
    if (first < 0) first = i
  }
  const finite = x.length > nans + infinities
  return {
    nans,
    infinities,
    min: finite ? min : undefined,
    max: finite ? max : undefined,
    first: first < 0 ? undefined : first,
  }
}
