/** Directional pooling and its gradient in float64, plain loops. */
import type { DirectionalPoolProblem } from './directional.ts'

export interface DirectionalPoolReference {
  /** [B, L, E] */
  readonly zh: Float64Array
  /** [B, L, E] */
  readonly zv: Float64Array
  /** [B, 1, E] */
  readonly zcls: Float64Array
  /** [B, L, E] t·L² + i·L + j of the first maximum; zero in mean mode. */
  readonly idxh: Uint32Array
  /** [B, L, E] */
  readonly idxv: Uint32Array
}

export function directionalPoolReference(
  problem: DirectionalPoolProblem,
  z: ArrayLike<number>,
): DirectionalPoolReference {
  const { b, t, l, e, mode } = problem
  const start = mode === 'max' ? Number.NEGATIVE_INFINITY : 0
  const zh = new Float64Array(b * l * e).fill(start)
  const zv = new Float64Array(b * l * e).fill(start)
  const zcls = new Float64Array(b * e)
  const idxh = new Uint32Array(b * l * e)
  const idxv = new Uint32Array(b * l * e)
  const pool = (out: Float64Array, idx: Uint32Array, to: number, value: number, token: number): void => {
    if (mode === 'mean') out[to]! += value / (t * l)
    else if (value > out[to]!) {
      out[to] = value
      idx[to] = token
    }
  }
  for (let sample = 0; sample < b; sample++)
    for (let frame = 0; frame < t; frame++)
      for (let token = -1; token < l * l; token++)
        for (let c = 0; c < e; c++) {
          const value = z[((sample * t + frame) * (l * l + 1) + token + 1) * e + c]!
          if (token < 0) {
            zcls[sample * e + c]! += value / t
            continue
          }
          const at = frame * l * l + token
          pool(zh, idxh, (sample * l + Math.floor(token / l)) * e + c, value, at)
          pool(zv, idxv, (sample * l + (token % l)) * e + c, value, at)
        }
  return { zh, zv, zcls, idxh, idxv }
}

/** dz [B, T, L·L + 1, E]; the indices matter in max mode only. */
export function directionalPoolBackwardReference(
  problem: DirectionalPoolProblem,
  grads: { readonly dzh: ArrayLike<number>; readonly dzv: ArrayLike<number>; readonly dzcls: ArrayLike<number> },
  indices: { readonly idxh: ArrayLike<number>; readonly idxv: ArrayLike<number> },
): Float64Array {
  const { b, t, l, e, mode } = problem
  const dz = new Float64Array(b * t * (l * l + 1) * e)
  const slot = (sample: number, frame: number, token: number, c: number): number =>
    ((sample * t + frame) * (l * l + 1) + token) * e + c
  for (let sample = 0; sample < b; sample++)
    for (let c = 0; c < e; c++) {
      for (let frame = 0; frame < t; frame++) dz[slot(sample, frame, 0, c)]! += grads.dzcls[sample * e + c]! / t
      for (let k = 0; k < l; k++) {
        const from = (sample * l + k) * e + c
        if (mode === 'max') {
          for (const [grad, idx] of [
            [grads.dzh[from]!, indices.idxh[from]!],
            [grads.dzv[from]!, indices.idxv[from]!],
          ] as const)
            dz[slot(sample, Math.floor(idx / (l * l)), (idx % (l * l)) + 1, c)]! += grad
          continue
        }
        for (let frame = 0; frame < t; frame++)
          for (let other = 0; other < l; other++) {
            dz[slot(sample, frame, k * l + other + 1, c)]! += grads.dzh[from]! / (t * l)
            dz[slot(sample, frame, other * l + k + 1, c)]! += grads.dzv[from]! / (t * l)
          }
      }
    }
  return dz
}
