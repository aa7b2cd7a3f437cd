/** What a trial must know about kernels beyond their bindings: which inputs have a meaning, and which outputs are free. */

export interface BindingFacts {
  /** Range of the random values; −1 to 1 unless told otherwise. A range of one value fills with it. */
  readonly range?: readonly [low: number, high: number]
  /** How an output is compared with the reference variant's: by its values, its magnitudes (free sign), or not at all. */
  readonly compare?: 'values' | 'magnitudes' | 'none'
  /** Largest relative error, where the usual bound for its type is too tight. */
  readonly tolerance?: number
}

const facts: Record<string, Record<string, BindingFacts>> = {
  eigh: {
    // Vectors of near eigenvalues turn with rounding; sweeps and scratch are a variant's own.
    vectors: { compare: 'magnitudes', tolerance: 0.02 },
    info: { compare: 'none' },
    work: { compare: 'none' },
  },
  adamw: {
    v: { range: [0, 1] },
    hyper: { range: [0.25, 0.75] },
    factor: { range: [0.5, 1] },
    // Every element of a block belongs to a parameter.
    blocks: { range: [64, 64] },
  },
  layerNormGradInput: { rstd: { range: [0.5, 1.5] } },
  layerNormGradParams: { rstd: { range: [0.5, 1.5] } },
}

export const factsOf = (kernel: string, binding: string): BindingFacts => facts[kernel]?.[binding] ?? {}

/**
 * Relative error ‖a − b‖/‖b‖ within which two variants agree. f32 kernels differ by the order of their sums; one that rounds to
 * half precision on the way is far outside. f16 outputs differ by their own rounding. Integers are equal or wrong.
 */
export const toleranceOf = { f32: 1e-4, f16: 5e-3, integer: 0 }
