/** Conventions that a reader relies on and that no other tool keeps. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Source, sources } from './sources.ts'

const conventions = suite('conventions')
const files = sources()
const maxLines = 400

/** Every line that matches, as `path:line: text`. */
function lines(pattern: RegExp, among: (file: Source) => boolean = () => true): string[] {
  return files
    .filter(among)
    .flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
    )
}

const none = (complaints: string[]) => assert.ok(complaints.length === 0, `\n${complaints.join('\n')}`)

conventions('no tab', () => none(lines(/\t/)))

conventions('no test is singled out or skipped', () => none(lines(/\.(only|skip)\(/, ({ layer }) => layer === 'test')))

conventions('nothing is left to do', () => none(lines(/\b(TO[D]O|FIX[M]E|X[X]X)\b|not implement[e]d/)))

conventions('every source says what it is before its first statement', () =>
  none(
    files.filter(({ layer, text }) => layer !== 'test' && !/^(#!.*\n)?\/(\*\*|\/)/.test(text)).map(({ path }) => path),
  ),
)

/** One class whose methods are the vocabulary of the engine: a list, not a tangle. */
const lists = new Set(['engine/tensor.ts'])

conventions(`no source of the layers is over ${maxLines} lines`, () =>
  none(
    files
      .filter(({ layer, path, text }) => layer !== 'test' && !lists.has(path) && text.split('\n').length > maxLines + 1)
      .map(({ path, text }) => `${path}: ${text.split('\n').length} lines`),
  ),
)

conventions.run()
