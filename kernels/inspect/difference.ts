/**
 * How far a buffer is from a reference: Σ(a − b)² and Σb² over the elements that are finite in both, and how many are not finite
 * in one and not the very same bits in the other.
 *
 *   a, b   words of f32, of two f16 each, or of integers, where any inequality counts as not finite
 *   sums   [partials, 4] f32: Σ(a − b)², Σb², count, unused; one row an invocation, to be added up on the host in float64
 *
 * Bound by memory on every adapter; 4096 threads draw on a part of an RTX 3090's, for a check is no hot path.
 *
 * `magnitudes` compares |a| with |b|: eigenvectors are free in their sign. Elements are tested by their bits, which no driver folds.
 */
import { type Binding, type Capabilities, declareUniforms, type Program, packUniforms } from '../kernel.ts'

export interface DifferenceProblem {
  readonly words: number
  readonly type: 'f32' | 'f16' | 'integer'
  readonly magnitudes?: boolean
}

/** Rows of `sums`. */
export const differencePartials = 64 * 64

const uniforms = { words: 'u32', kind: 'u32', magnitudes: 'u32' } as const

/** Bindings: a, b (read), sums (rw). */
export function differenceProgram({ words, type, magnitudes }: DifferenceProblem, _caps: Capabilities): Program {
  const bindings: Binding[] = [
    { name: 'a', type: 'u32', access: 'read' },
    { name: 'b', type: 'u32', access: 'read' },
    { name: 'sums', type: 'vec4f', access: 'read_write' },
  ]
  const wgsl = `@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4f>;
${declareUniforms(uniforms, 3)}
// The words of one f32, or of an f16 widened to f32: its exponent of all ones must stay one.
fn widened(half: u32) -> u32 {
  if ((half & 0x7c00u) == 0x7c00u) { return ((half & 0x8000u) << 16u) | 0x7f800000u | ((half & 0x3ffu) << 13u); }
  return bitcast<u32>(unpack2x16float(half).x);
}
fn compare(p: u32, q: u32) -> vec4f {
  let finite = (p & 0x7f800000u) != 0x7f800000u && (q & 0x7f800000u) != 0x7f800000u;
  if (!finite) { return vec4f(0.0, 0.0, select(1.0, 0.0, p == q), 0.0); }
  var x = bitcast<f32>(p);
  var y = bitcast<f32>(q);
  if (u.magnitudes == 1u) { x = abs(x); y = abs(y); }
  return vec4f((x - y) * (x - y), y * y, 0.0, 0.0);
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var sum = vec4f();
  for (var i = id.x; i < u.words; i += ${differencePartials}u) {
    let p = a[i];
    let q = b[i];
    if (u.kind == 0u) { sum += compare(p, q); }
    else if (u.kind == 1u) { sum += compare(widened(p & 0xffffu), widened(q & 0xffffu)) + compare(widened(p >> 16u), widened(q >> 16u)); }
    else { sum.z += select(1.0, 0.0, p == q); }
  }
  sums[id.x] = sum;
}
`
  return {
    label: 'inspect.difference',
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, {
      words,
      kind: ['f32', 'f16', 'integer'].indexOf(type),
      magnitudes: magnitudes ? 1 : 0,
    }),
    grid: [64, 1, 1],
    cost: { flops: 4 * words, bytes: 8 * words },
    workgroupBytes: 0,
    accumulators: 4,
  }
}

export interface Difference {
  /** ‖a − b‖ / ‖b‖ over what is finite in both; ‖a − b‖ where b is 0. NaN when a square overflowed. */
  readonly error: number
  /** Elements that are not finite in one and not the same bits in the other, or unequal integers. */
  readonly broken: number
}

/** Adds up the kernel's rows. */
export function differenceOf(sums: Float32Array): Difference {
  let [squares, norm, broken] = [0, 0, 0]
  for (let i = 0; i < sums.length; i += 4) {
    squares += sums[i]!
    norm += sums[i + 1]!
    broken += sums[i + 2]!
  }
  return { error: Math.sqrt(norm === 0 ? squares : norm === Infinity ? Number.NaN : squares / norm), broken }
}
