/**
 * One contract, every platform: a `*.cases.ts` file beside this one exports `cases()`, and the same cases run on Dawn in
 * Node (test/engine/shared.test.ts) and in a browser (test/browser/run.ts). Such files may import nothing from Node.
 */
export interface Case {
  readonly name: string
  /** Throws or rejects when the case fails. */
  readonly run: () => Promise<void> | void
}

/** What a `*.cases.ts` file exports. */
export interface CaseFile {
  cases(): Case[]
}

/** Fails with both values unless they are equal. */
export function same(actual: unknown, expected: unknown, what: string): void {
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== e) throw new Error(`${what}: got ${a}, expected ${e}`)
}
