/** Which test files run in a page, and the script that each becomes. */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const test = new URL('../', import.meta.url)

/** Files of test/kernels/ that a page cannot run, and why. The browser suite prints them. */
const nodeOnly: Readonly<Record<string, string>> = {
  'kernels/matrix.test.ts': "compiles on Dawn's null backend, which only Node has",
}

export interface PageFiles {
  /** Relative to test/: every kernel test and every shared case file. */
  readonly files: string[]
  readonly left: { readonly file: string; readonly reason: string }[]
}

/** The files whose path contains one of the filters; all without any. */
export function pageFiles(filters: readonly string[]): PageFiles {
  const chosen = (file: string) => filters.length === 0 || filters.some((filter) => `test/${file}`.includes(filter))
  const list = (folder: string, ending: string) =>
    readdirSync(new URL(folder, test))
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => `${folder}${name}`)
  const kernels = list('kernels/', '.test.ts')
  const stale = Object.keys(nodeOnly).filter((file) => !kernels.includes(file))
  if (stale.length) throw new Error(`test/browser/files.ts leaves out files that do not exist: ${stale.join(', ')}`)
  return {
    files: [...kernels.filter((file) => !nodeOnly[file]), ...list('shared/', '.cases.ts')].filter(chosen),
    left: Object.entries(nodeOnly)
      .map(([file, reason]) => ({ file, reason }))
      .filter(({ file }) => chosen(file)),
  }
}

/** A module that exports the promise of the file's `PageResult`. Throws if the file cannot be bundled for a page. */
export async function bundle(file: string): Promise<string> {
  const ofCases = `import { suite } from 'uvu'
import { cases } from '../${file}'
const test = suite('${file}')
for (const one of cases()) test(one.name, async () => one.run())
test.run()`
  const contents = `import { runTests } from './page.ts'
${file.endsWith('.cases.ts') ? ofCases : `import '../${file}'`}
export const result = runTests()`
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('browser', test)), sourcefile: 'entry.ts', loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    sourcemap: 'inline',
    logLevel: 'silent',
  })
  return outputFiles[0]!.text
}
