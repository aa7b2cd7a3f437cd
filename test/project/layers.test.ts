/** The shape of the house: imports point down the layers, never in circles, and nothing below `train/` touches Node. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { importsOf, type Layer, layers as order, packageOf, root, type Source, sources } from './sources.ts'

const layers = suite('layers')
const files = sources()

/** `bench` and `test` share the top: kernels are benchmarked with the tests' helpers, and benchmarks are tested. */
const rank = (layer: Layer): number => Math.min(order.indexOf(layer), order.indexOf('bench'))
const layerOf = (path: string): Layer => path.split('/')[0] as Layer

/** Packages that files below `train/` may import. */
const allowedBelowTrain: Record<string, RegExp> = {
  'engine/device/node.ts': /^(node:.+|webgpu)$/,
  'engine/tuner/file.ts': /^node:.+$/,
  // Validation by a library that runs in a browser, too.
  'dip/config.ts': /^zod$/,
}

/** Values that import each other, as a path that ends where it began; undefined if there is none. */
export function findCycle(graph: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>()
  const path: string[] = []
  const visit = (node: string): string[] | undefined => {
    if (done.has(node)) return undefined
    const start = path.indexOf(node)
    if (start >= 0) return [...path.slice(start), node]
    path.push(node)
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next)
      if (cycle) return cycle
    }
    path.pop()
    done.add(node)
    return undefined
  }
  for (const node of graph.keys()) {
    const cycle = visit(node)
    if (cycle) return cycle
  }
  return undefined
}

const none = (complaints: string[]) => assert.ok(complaints.length === 0, `\n${complaints.join('\n')}`)
const complain = (check: (file: Source) => string[]) => none(files.flatMap(check))

layers('the reader of imports sees every form', () => {
  const text = `
    import a from './a.ts'
    import type { B } from '../b.ts'
    import {
      c,
      type D,
    } from './c.ts'
    import './e.ts'
    export * from './f.ts'
    export type { G } from './g.ts'
    const h = await import('./h.ts') as typeof import('./i.ts')
    import * as fs from 'node:fs'
    // import x from './commented.ts'
    const program = \`
    import y from './inside.ts'\`
    export const from = 1`
  const seen = importsOf('engine/x/y.ts', text).map(({ kind, file, specifier }) => `${kind} ${file ?? specifier}`)
  assert.equal(seen.sort(), [
    'lazy engine/x/h.ts',
    'type engine/b.ts',
    'type engine/x/g.ts',
    'type engine/x/i.ts',
    'value engine/x/a.ts',
    'value engine/x/c.ts',
    'value engine/x/e.ts',
    'value engine/x/f.ts',
    'value node:fs',
  ])
})

layers('a cycle is found, a diamond is none', () => {
  const cycle = { a: ['b'], b: ['c'], c: ['b'] }
  assert.equal(findCycle(new Map(Object.entries(cycle))), ['b', 'c', 'b'])
  const diamond = { a: ['b', 'c'], b: ['d'], c: ['d'], d: [] }
  assert.is(findCycle(new Map(Object.entries(diamond))), undefined)
})

layers('imports point down', () => {
  assert.ok(files.length > 10, `only ${files.length} sources found`)
  complain(({ path, layer, imports }) =>
    imports
      .filter(({ file }) => file && order.includes(layerOf(file)) && rank(layerOf(file)) > rank(layer))
      .map(({ file }) => `${path} imports ${file}, which lies above it`),
  )
})

layers('relative imports name a file that exists', () => {
  complain(({ path, imports }) =>
    imports
      .filter(({ file }) => file && !existsSync(join(root, file)))
      .map(({ specifier }) => `${path} imports ${specifier}, which does not exist`),
  )
})

layers('no file imports itself in a circle', () => {
  const graph = new Map(
    files.map(({ path, imports }) => [
      path,
      imports.flatMap(({ kind, file }) => (kind === 'value' && file ? [file] : [])),
    ]),
  )
  const cycle = findCycle(graph)
  assert.is(cycle, undefined, cycle?.join(' → '))
})

layers('nothing below train/ imports Node or a package', () => {
  complain(({ path, layer, imports }) =>
    rank(layer) >= rank('train')
      ? []
      : imports
          .filter(({ file, specifier }) => !file && !allowedBelowTrain[path]?.test(specifier))
          .map(({ specifier }) => `${path} imports ${specifier}`),
  )
})

layers('train/ imports only packages that a user gets installed', () => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const installed = { ...dependencies, ...optionalDependencies }
  complain(({ path, layer, imports }) =>
    layer !== 'train'
      ? []
      : imports
          .filter(({ file, kind, specifier }) => !file && kind === 'value' && !specifier.startsWith('node:'))
          .filter(({ specifier }) => !(packageOf(specifier) in installed) && packageOf(specifier) !== 'diptych')
          .map(({ specifier }) => `${path} imports ${specifier}, which package.json has not in dependencies`),
  )
})

layers('kernels, engine and dip bundle for a browser', async () => {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const entries = Object.values(exports as Record<string, { default: string }>).map((entry) => entry.default)
  none(
    entries.filter((file) => !existsSync(join(root, file))).map((file) => `package.json exports ${file}: no such file`),
  )
  const { outputFiles } = await build({
    entryPoints: entries.filter((file) => !file.startsWith('./train/')).map((file) => join(root, file)),
    bundle: true,
    write: false,
    outdir: join(root, 'out'),
    format: 'esm',
    platform: 'browser',
    logLevel: 'silent',
  })
  for (const { path, text } of outputFiles) assert.not.match(text, /['"]node:\w+['"]/, path)
})

layers.run()
