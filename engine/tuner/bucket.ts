/** Which problems count as alike for the tuner: a text that says all that decides how fast a variant is, sizes rounded. */
import type { AdapterDescription } from '../device/adapter.ts'

/** Fields that change numbers but no speed. */
const ignored = new Set(['scale', 'epsilon', 'tolerance'])

/**
 * A problem as text. Small sizes stand as they are, larger ones are rounded to a quarter power of two and marked when they are a
 * multiple of 4 (which vector loads need); of strides and offsets only the kind counts; booleans and names (dtypes, modes) stand.
 *
 *     bucketOf({ m: 197, n: 768, a: { rowStride: 768 } })   // 'm≈181 n≈724/4 a.rowStride=/4'
 */
export function bucketOf(problem: object): string {
  const parts: string[] = []
  const visit = (path: string, name: string, value: unknown): void => {
    if (value === undefined || ignored.has(name)) return
    if (Array.isArray(value)) {
      if (value.length === 0) return
      if (name === 'batch')
        visit(
          path,
          name,
          value.reduce((p: number, d: number) => p * d, 1),
        )
      else parts.push(`${path}=${value.map((v) => textOf(name, v)).join()}`)
    } else if (typeof value === 'object' && value !== null) {
      // An epilogue counts by what it reads and does, not by its text.
      if ('wgsl' in value) {
        const { bindings, flopsPerOutput } = value as { bindings?: unknown[]; flopsPerOutput?: number }
        parts.push(`${path}=${bindings?.length ?? 0}+${sizeOf(Math.ceil(flopsPerOutput ?? 0))}`)
      } else for (const key of Object.keys(value).sort()) visit(`${path}.${key}`, key, value[key as keyof typeof value])
    } else if (typeof value !== 'number' || Number.isInteger(value)) {
      const text = textOf(name, value)
      parts.push(text.startsWith('≈') ? `${path}${text}` : `${path}=${text}`)
    }
  }
  for (const [key, value] of Object.entries(problem).sort(([a], [b]) => (a < b ? -1 : 1))) visit(key, key, value)
  return parts.join(' ')
}

const textOf = (name: string, value: unknown): string => {
  if (typeof value !== 'number') return String(value)
  return /Strides?$|^offset$/.test(name) ? strideOf(value) : sizeOf(value)
}

const strideOf = (value: number): string =>
  value === 0 || value === 1 ? String(value) : value % 4 === 0 ? '/4' : 'odd'

function sizeOf(value: number): string {
  if (value <= 8) return String(value)
  return `≈${Math.round(2 ** (Math.round(4 * Math.log2(value)) / 4))}${value % 4 === 0 ? '/4' : ''}`
}

/** What measurements are valid for: adapter, driver and how they are reached. */
export const adapterKey = ({ vendor, architecture, device, driver, backend }: AdapterDescription): string =>
  [vendor, architecture, device, driver, backend].join(' | ')
