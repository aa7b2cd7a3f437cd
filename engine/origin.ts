/** Where in the user's program something was called: stack lines without the engine's own. */

/** Folders of the engine and its kernels; empty in a bundle, where nothing tells its files apart. */
const own = (() => {
  const here = (import.meta.url ?? '').match(/^(.*[\\/])engine[\\/]origin\.[jt]s/)
  if (!here) return []
  const root = here[1]!.replace(/^file:\/\//, '')
  return ['engine', 'kernels'].map((folder) => `${root}${folder}/`)
})()

/** A frame of the engine, or of a built-in that it called (`Array.map (<anonymous>)`). */
const isOwn = (line: string): boolean =>
  /\((<anonymous>|native)\)$/.test(line) || own.some((folder) => line.replaceAll('\\', '/').includes(folder))
const isFrame = (line: string): boolean => /^\s*at /.test(line)

/** Stack text with room for deep engine calls; the limit of the program stays as it is. */
function deepStack(): string {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 40
  const { stack } = new Error()
  Error.stackTraceLimit = limit
  return stack ?? ''
}

/** The innermost stack line outside the engine, `file:line:column` or `function (file:line:column)`; undefined where unknown. */
export function callSite(): string | undefined {
  if (!own.length) return undefined
  const lines = deepStack().split('\n')
  return lines
    .find((line) => isFrame(line) && !isOwn(line))
    ?.trim()
    .replace(/^at /, '')
}

/** Makes an error's stack begin at the user's call: the engine's frames on top of it are left out. */
export function startAtCaller(error: Error): void {
  if (!own.length) return
  const frames = deepStack().split('\n').filter(isFrame)
  const first = frames.findIndex((line) => !isOwn(line))
  if (first >= 0) error.stack = `${error.name}: ${error.message}\n${frames.slice(first, first + 10).join('\n')}`
}
