/** Numbers as people read them: three digits, and a unit that no line break parts from them. */

/** Three significant digits without an exponent where it is avoidable. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2)
  return size >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

function scaled(value: number, steps: readonly (readonly [number, string])[]): string {
  const [factor, unit] = steps.find(([at]) => value >= at) ?? steps[steps.length - 1]!
  return `${digits(value / factor)}\u00a0${unit}`
}

/** Milliseconds as s, ms, µs or ns. */
export const duration = (milliseconds: number): string =>
  scaled(milliseconds, [
    [1000, 's'],
    [1, 'ms'],
    [1e-3, 'µs'],
    [1e-6, 'ns'],
  ])

/** Powers of ten, as data sheets have them. */
export const byteCount = (bytes: number): string =>
  Math.abs(bytes) < 1000
    ? `${Math.round(bytes)}\u00a0B`
    : `${bytes < 0 ? '−' : ''}${scaled(Math.abs(bytes), [
        [1e9, 'GB'],
        [1e6, 'MB'],
        [1e3, 'kB'],
      ])}`

export const flopCount = (flops: number): string =>
  scaled(flops, [
    [1e12, 'TFLOP'],
    [1e9, 'GFLOP'],
    [1e6, 'MFLOP'],
    [1e3, 'kFLOP'],
    [1, 'FLOP'],
  ])

export const percent = (share: number): string =>
  `${share >= 0.1 ? Math.round(share * 100) : digits(share * 100)}\u00a0%`

/** A whole number, or one decimal where an average is none. */
export const count = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(1))
