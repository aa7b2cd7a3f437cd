import { stripVTControlCharacters } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXIT, formatError, runMain, UserError } from '../../train/cli/errors.ts'
import { createProgress, formatDuration } from '../../train/cli/progress.ts'

const test = suite('progress and errors')
const plain = stripVTControlCharacters

test('durations', () => {
  const cases: [number, string][] = [
    [0, '0.0 s'],
    [9.94, '9.9 s'],
    [9.96, '10 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [185, '3 min 05 s'],
    [3599.7, '1 h 00 min'],
    [7620, '2 h 07 min'],
    [86_400 * 3 + 3600 * 4, '3 d 04 h'],
    [Number.NaN, '?'],
    [Number.POSITIVE_INFINITY, '?'],
    [-1, '?'],
  ]
  for (const [seconds, text] of cases) assert.is(formatDuration(seconds), text)
})

function fakeStream() {
  const lines: string[] = []
  return {
    lines,
    stream: { isTTY: false, write: (text: string) => lines.push(text) > 0 } as unknown as NodeJS.WriteStream,
  }
}

test('without a terminal: sparse lines with the time left, resumed work not counted as speed', () => {
  const { lines, stream } = fakeStream()
  let clock = 0
  const progress = createProgress({ label: 'scan', total: 100, start: 40, unit: 'video', stream, now: () => clock })
  for (let i = 0; i < 60; i++) {
    clock += 1000
    progress.tick(`v${i}`)
  }
  progress.stop()
  progress.stop()
  assert.equal(lines, ['scan: 70/100 (70%), 30 s left, v29\n', 'scan: 100 videos in 1 min 00 s, v59\n'])
})

test('on a terminal: a bar, ended once', () => {
  const { lines, stream } = fakeStream()
  Object.assign(stream, { isTTY: true, columns: 80, cursorTo() {}, clearLine() {}, moveCursor() {}, on() {} })
  const progress = createProgress({ label: 'train', total: 4, unit: 'step', stream })
  progress.update(2, 'loss 0.5')
  progress.stop()
  assert.ok(plain(lines.join('')).includes('train'))
  assert.match(plain(lines.at(-1)!), /^train: 2 steps in 0\.\d s, loss 0\.5\n$/)
})

async function run(fn: () => unknown, env: Record<string, string> = {}) {
  let text = ''
  let code: number | undefined
  await runMain(fn, { write: (t) => void (text += t), env, setExitCode: (c) => void (code = c) })
  return { text: plain(text), code }
}

test('a UserError prints message and fix without a stack', async () => {
  const thrower = () => {
    throw new UserError('x.mp4: no such file', { fix: 'check the path' })
  }
  assert.equal(await run(thrower), { text: 'error: x.mp4: no such file\n  fix: check the path\n', code: EXIT.input })
  const debug = await run(thrower, { DIPTYCH_DEBUG: '1' })
  assert.match(debug.text, 'report-progress.test.ts')
})

test('a bug says so, a returned number is the exit code, nothing is no code', async () => {
  const bug = await run(async () => {
    throw new TypeError('x is undefined')
  })
  assert.is(bug.code, EXIT.internal)
  assert.match(bug.text, 'DIPTYCH_DEBUG=1')
  assert.not.match(bug.text, 'at ')
  assert.is((await run(() => EXIT.partial)).code, EXIT.partial)
  assert.is((await run(() => {})).code, undefined)
  assert.is((await run(() => Promise.reject(new UserError('no', { exitCode: 7 })))).code, 7)
  const chain = formatError(new UserError('outer', { cause: new Error('inner') }), true)
  assert.match(plain(chain), /caused by Error: inner/)
})

test.run()
