/**
 * Runs in the page, imported before the one test file of the page (see run.ts): uvu then leaves its suites in a queue, as it does for its
 * own command line, and `runTests` runs them.
 */

export interface PageResult {
  readonly total: number
  readonly passed: number
  /** What uvu says of the tests that failed, a text per suite. */
  readonly errors: string[]
}

/** Runs a suite: what failed (`true` when nothing did), tests passed, skipped, all. */
type Suite = () => Promise<[string | true, number, number, number]>

const queue: Suite[] = []
Object.assign(globalThis, { UVU_DEFER: true, UVU_QUEUE: [queue], UVU_INDEX: 0 })

export async function runTests(): Promise<PageResult> {
  let total = 0
  let passed = 0
  const errors: string[] = []
  for (const run of queue) {
    const [failure, done, , all] = await run()
    total += all
    passed += done
    if (failure !== true) errors.push(failure)
  }
  return { total, passed, errors }
}
