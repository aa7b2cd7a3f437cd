/** Which problems count as alike for the tuner: a text that says all that decides how fast a variant is, sizes rounded. */
import type { AdapterDescription } from '../device/adapter.ts'

/** Fields that change numbers but no speed. */
const ignored = new Set(['scale', 'epsilon', 'tolerance'])

/**
 * A problem as text. Small sizes stand as they are, larger ones are rounded to a quarter power of two, with a * where they are no
 * multiple of 4 (which vector loads ask for); of strides and offsets only the kind counts; booleans and names (dtypes, modes) stand.
 * What is 0 or false is left out.
 *
 *     bucketOf({ m: 197, n: 768, a: { rowStride: 768, colStride: 1 } })   // 'm≈181* n≈724 a.colStride=1 a.rowStride=/4'
 */
export const bucketOf = (problem: object): string => textOf(problem, rounded)

/** The same with sizes as they are, for people. */
export const exactOf = (problem: object): string => textOf(problem, (size) => `=${size}`)

function textOf(problem: object, sizeOf: (size: number) => string): string {
  /** Sizes and options before what is said of operands. */
  const parts: [own: string[], nested: string[]] = [[], []]
  const visit = (path: string, name: string, value: unknown, depth: number): void => {
    const text = (of: unknown): string =>
      typeof of !== 'number' ? `=${of}` : /Strides?$|^offset$/.test(name) ? `=${strideOf(of)}` : sizeOf(of)
    if (!value || ignored.has(name) || (typeof value === 'number' && !Number.isInteger(value))) return
    if (Array.isArray(value)) {
      const one = name === 'batch' ? value.reduce((p: number, d: number) => p * d, 1) : undefined
      if (one !== undefined) visit(path, name, one, depth)
      else if (value.some(Boolean))
        parts[depth ? 1 : 0].push(`${path}=${value.map((v) => text(v).replace('=', '')).join()}`)
    } else if (typeof value === 'object') {
      // An epilogue counts by what it reads and does, not by its text.
      if ('wgsl' in value) {
        const { bindings = [], flopsPerOutput = 0 } = value as { bindings?: unknown[]; flopsPerOutput?: number }
        parts[0].push(`${path}=${bindings.length} inputs,${sizeOf(Math.ceil(flopsPerOutput)).replace('=', '')} flops`)
      } else
        for (const [key, inner] of Object.entries(value).sort(byName)) visit(`${path}.${key}`, key, inner, depth + 1)
    } else parts[depth ? 1 : 0].push(`${path}${text(value)}`)
  }
  for (const [key, value] of Object.entries(problem).sort(byName)) visit(key, key, value, 0)
  return parts.flat().join(' ')
}

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : 1)

const strideOf = (value: number): string => (value < 2 ? String(value) : value % 4 === 0 ? '/4' : 'odd')

const rounded = (size: number): string =>
  size <= 8 ? `=${size}` : `≈${Math.round(2 ** (Math.round(4 * Math.log2(size)) / 4))}${size % 4 === 0 ? '' : '*'}`

/** What measurements are valid for: adapter, driver and how they are reached. */
export const adapterKey = ({ vendor, architecture, device, driver, backend }: AdapterDescription): string =>
  [vendor, architecture, device, driver, backend].join(' | ')
