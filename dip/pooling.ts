/** Directional pooling (section III-B): one feature a row of patches and one a column, over all frames. */
import { directionalPool } from '../engine/functional.ts'
import type { Tensor } from '../engine/index.ts'
import type { Pool } from './config.ts'

export interface Directions {
  /** Pooled over frames and columns, [B, L, E]. */
  readonly zh: Tensor
  /** Pooled over frames and rows, [B, L, E]. */
  readonly zv: Tensor
  /** Mean over frames of the class token, [B, 1, E]. */
  readonly zcls: Tensor
}

/** Z [B, T, L²+1, E], class token first. */
export function poolDirections(Z: Tensor, mode: Pool): Directions {
  const { rows, columns, cls } = directionalPool(Z, Math.round(Math.sqrt(Z.shape[2]! - 1)), mode)
  return { zh: rows, zv: columns, zcls: cls }
}
