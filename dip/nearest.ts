/** The known name that an unknown one most likely meant. */

/** Levenshtein distance: insertions, deletions and substitutions from one word to the other. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]!
}

/** Nearest by whole path or, nearly as good, by its last part. Case does not count. */
export function nearestName(name: string, known: readonly string[]): string {
  const last = (path: string) => path.slice(path.lastIndexOf('.') + 1).toLowerCase()
  const distance = (k: string) =>
    Math.min(editDistance(name.toLowerCase(), k.toLowerCase()), editDistance(last(name), last(k)) + 0.5)
  return known.reduce((best, k) => (distance(k) < distance(best) ? k : best))
}
