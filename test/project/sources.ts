/** Reading the project's own sources: which files there are and what each imports. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Lower first; a layer imports from itself and from those before it. `bench` and `test` stand side by side on top. */
export const layers = ['kernels', 'engine', 'dip', 'train', 'bench', 'test'] as const
export type Layer = (typeof layers)[number]

export interface Import {
  readonly specifier: string
  /** `type`: erased, as in `import type`. `lazy`: `import()`. `value`: a static import. */
  readonly kind: 'type' | 'lazy' | 'value'
  /** Path from the project's root of the imported file; undefined for packages. */
  readonly file: string | undefined
}

export interface Source {
  /** Path from the project's root, with slashes. */
  readonly path: string
  readonly layer: Layer
  readonly text: string
  readonly imports: Import[]
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'vendor' || entry.name === 'node_modules' ? [] : walk(path)
    return /\.(ts|mts|mjs|js)$/.test(entry.name) ? [path] : []
  })
}

/** Every TypeScript and JavaScript file of the layers, vendored ones excepted. */
export function sources(): Source[] {
  return layers.flatMap((layer) => {
    const folder = join(root, layer)
    if (!existsSync(folder)) return []
    return walk(folder).map((file) => {
      const path = relative(root, file).split(sep).join('/')
      const text = readFileSync(file, 'utf8')
      return { path, layer, text, imports: importsOf(path, text) }
    })
  })
}

const staticImport = /^[ \t]*(?:import|export)\s+(type\s+(?!from\b))?(?:[\w$*{}\s,]+?\bfrom\s*)?(['"])([^'"\n]+)\2/gm
const dynamicImport = /(typeof\s+)?\bimport\(\s*(['"])([^'"\n]+)\2\s*\)/g

/** The imports of a source text; comments and template literals (WGSL, programs for child processes) are not looked at. */
export function importsOf(path: string, text: string): Import[] {
  const code = text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^[ \t]*\/\/.*$/gm, '')
    .replace(/`(?:\\[\s\S]|[^`\\])*`/g, '``')
  const resolve = (specifier: string) =>
    specifier.startsWith('.') ? posix.join(dirname(path).split(sep).join('/'), specifier) : undefined
  const found: Import[] = []
  for (const [, type, , specifier] of code.matchAll(staticImport))
    found.push({ specifier: specifier!, kind: type ? 'type' : 'value', file: resolve(specifier!) })
  for (const [, type, , specifier] of code.matchAll(dynamicImport))
    found.push({ specifier: specifier!, kind: type ? 'type' : 'lazy', file: resolve(specifier!) })
  return found
}

/** `@scope/name/path` → `@scope/name`. */
export const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
