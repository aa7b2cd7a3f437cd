/** Runs in the page: every shared case, one after the other. test/browser/run.ts bundles it with the list of case files. */
import type { CaseFile } from '../shared/case.ts'

export interface BrowserResult {
  readonly file: string
  readonly name: string
  readonly milliseconds: number
  /** Absent when the case passed. */
  readonly error?: string
}

/** Runs all cases and returns their results; a file whose `cases()` throws or is empty is a failure too. */
export async function runCases(files: Record<string, CaseFile>): Promise<BrowserResult[]> {
  const results: BrowserResult[] = []
  for (const [file, module] of Object.entries(files)) {
    try {
      const cases = module.cases()
      if (cases.length === 0) throw new Error('the file has no case')
      for (const one of cases) {
        const started = performance.now()
        let error: string | undefined
        try {
          await one.run()
        } catch (thrown) {
          error = describe(thrown)
        }
        results.push({ file, name: one.name, milliseconds: performance.now() - started, error })
      }
    } catch (thrown) {
      results.push({ file, name: 'cases()', milliseconds: 0, error: describe(thrown) })
    }
  }
  return results
}

function describe(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown.stack?.includes(thrown.message) ? thrown.stack : `${thrown.message}\n${thrown.stack ?? ''}`
}
