/** Learning rate over a run: linear warm-up, then cosine to 0 (IV-A). */
export interface Schedule {
  readonly peak: number
  readonly steps: number
  /** Share of the steps that warm up. */
  readonly warmup: number
}

/** Rate of step `step`, counted from 0. */
export function learningRate({ peak, steps, warmup }: Schedule, step: number): number {
  const rising = Math.max(1, Math.round(warmup * steps))
  if (step < rising) return (peak * (step + 1)) / rising
  const progress = (step - rising) / Math.max(1, steps - rising)
  return peak * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)))
}
