/** Runs every `test/shared/*.cases.ts` in Node; test/browser/run.ts runs the same cases in Chromium. */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import type { CaseFile } from '../shared/case.ts'

const shared = suite('shared cases')
const folder = new URL('../shared/', import.meta.url)

for (const name of readdirSync(fileURLToPath(folder)).sort()) {
  if (!name.endsWith('.cases.ts')) continue
  const file = (await import(new URL(name, folder).href)) as CaseFile
  const cases = file.cases()
  if (cases.length === 0) throw new Error(`${name} has no case`)
  for (const one of cases) shared(one.name, async () => one.run())
}

shared.run()
