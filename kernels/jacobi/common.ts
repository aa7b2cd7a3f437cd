/** What the Jacobi kernels share: the problem, its bindings and cost, and the rotation. */
import type { Binding, Cost } from '../kernel.ts'

export interface JacobiProblem {
  readonly batch: number
  readonly n: number
  /** Sweeps after which to stop even if not converged. Default 30; 5–10 are usual. */
  readonly maxSweeps?: number
  /** Stop when ‖off‖_F ≤ tolerance · ‖S‖_F. Default 1e-7. */
  readonly tolerance?: number
}

/** The problem with its defaults filled in. */
export type JacobiOptions = Required<JacobiProblem>

/** From this size on the matrix and its rotations exceed the 16 KiB of workgroup memory that WebGPU guarantees: scratch is bound. */
const workFrom = 60

/** Whether launches of this size bind `work` [batch, n, n]; depends on n alone, not on the device or the variant. */
export const jacobiNeedsWork = (n: number): boolean => n >= workFrom

export function jacobiBindings(n: number): Binding[] {
  const bindings: Binding[] = [
    { name: 's', type: 'f32', access: 'read' },
    { name: 'values', type: 'f32', access: 'read_write' },
    { name: 'vectors', type: 'f32', access: 'read_write' },
    { name: 'info', type: 'f32', access: 'read_write' },
  ]
  if (jacobiNeedsWork(n)) bindings.push({ name: 'work', type: 'f32', access: 'read_write' })
  return bindings
}

/** Flops of eight sweeps (a typical count): a rotation changes 2n entries of rows, of columns and of vectors, 3 flops each. */
export function jacobiCost({ batch, n }: JacobiProblem): Cost {
  return { flops: batch * 8 * ((n * (n - 1)) / 2) * 18 * n, bytes: 4 * batch * (2 * n * n + n + 2) }
}

/** Uniform words of every variant. */
export const jacobiUniforms = { batch: 'u32', n: 'u32', max_sweeps: 'u32', tolerance: 'f32' } as const

/**
 * `rotation(app, aqq, apq, negligible)` → (cos θ, sin θ, tan θ) with |θ| ≤ π/4, such that p' = c p − s q, q' = s p + c q makes the
 * entry (p, q) zero, and the diagonal becomes app − t apq, aqq + t apq; none where |apq| < negligible. The Newton step makes c
 * exact to the last bit or so whatever the adapter's inverseSqrt, since a biased cosine would pull the eigenvectors away from unit
 * length.
 *
 * `negligible_entry(norm)` → the entry so small that a matrix of such has converged. Rotating them all the same would do harm: where an
 * eigenvalue is repeated, diagonal entries are equal to the last bit, each such rotation turns by 45° and mixes what other pairs have just
 * made zero; 76 eigenvalues of three kinds then take 30 sweeps, and 9 without. At least 1e-18: with the matrix scaled to 1, the square of a
 * smaller one would vanish.
 *
 * `power_of_two(largest)` → 2^k with largest / 2^k in [1, 2), by its exponent bits; 2^±k are normal numbers.
 *
 * `to_unit(x, 2^-k)` → x / 2^k and `from_unit(v, 2^k)` → v · 2^k are exact for subnormal x and results too, which many adapters take
 * for zero in arithmetic: those are counts of 2^-149 and travel as integers.
 */
export const jacobiFunctions = /* wgsl */ `
fn rotation(app: f32, aqq: f32, apq: f32, negligible: f32) -> vec3f {
  if (abs(apq) < negligible) { return vec3f(1.0, 0.0, 0.0); }
  let d = aqq - app;
  let h = 2.0 * apq;
  let t = select(-h, h, d >= 0.0) / (abs(d) + sqrt(d * d + h * h));
  let y = 1.0 + t * t;
  let r = inverseSqrt(y);
  let c = r * (1.5 - 0.5 * y * r * r);
  return vec3f(c, t * c, t);
}

fn negligible_entry(norm: f32) -> f32 { return max(1e-18, u.tolerance * norm / f32(u.n)); }

fn power_of_two(largest: f32) -> f32 {
  let exponent = clamp((bitcast<u32>(largest) >> 23u) & 255u, 1u, 253u);
  return bitcast<f32>(exponent << 23u);
}

fn reciprocal_power_of_two(scale: f32) -> f32 {
  return bitcast<f32>((254u << 23u) - bitcast<u32>(scale));
}

fn to_unit(x: f32, unscale: f32) -> f32 {
  let magnitude = bitcast<u32>(x) & 0x7fffffffu;
  let small = f32(magnitude) * (unscale * 0x1p-126f * 0x1p-23f);
  return select(x * unscale, select(small, -small, bitcast<u32>(x) > magnitude), magnitude < 0x00800000u);
}

fn from_unit(v: f32, scale: f32) -> f32 {
  let count = abs(v) * (scale * 0x1p126f) * 0x1p23f;
  let small = bitcast<f32>(u32(round(count)) | (bitcast<u32>(v) & 0x80000000u));
  return select(v * scale, small, scale < 0x1p-60f && count < 0x1p23f);
}
`
