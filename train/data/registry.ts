/** The data sets by name. */
import { UserError } from '../cli/errors.ts'
import { celebDf } from './celebdf.ts'
import { deeperForensics } from './deeperforensics.ts'
import { dfdc } from './dfdc.ts'
import { dfdcPreview } from './dfdcpreview.ts'
import { faceForensics } from './faceforensics.ts'
import { anyFolder } from './folder.ts'
import type { DatasetReader } from './types.ts'
import { wildDeepfake } from './wilddeepfake.ts'

export const DATASETS: readonly DatasetReader[] = [
  faceForensics,
  celebDf,
  dfdc,
  dfdcPreview,
  wildDeepfake,
  deeperForensics,
  anyFolder,
]

/** The reader of a data set. @throws UserError that suggests the nearest name. */
export function dataset(name: string): DatasetReader {
  const reader = DATASETS.find((d) => d.name === name)
  if (reader) return reader
  throw new UserError(`no data set is called "${name}"`, {
    fix: `did you mean "${nearestName(name)}"? Known: ${DATASETS.map((d) => d.name).join(', ')}`,
  })
}

/** The registry name nearest to what was typed, by edit distance to short and long names, case ignored. */
function nearestName(typed: string): string {
  const distance = (reader: DatasetReader) =>
    Math.min(...[reader.name, reader.title].map((name) => editDistance(typed.toLowerCase(), name.toLowerCase())))
  return [...DATASETS].sort((a, b) => distance(a) - distance(b))[0].name
}

/** Levenshtein distance. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]
}
