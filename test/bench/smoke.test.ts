/** The benchmark's own tools: a group runs end to end, a wrong contestant fails the run, peers are no part of the project. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Report } from '../../bench/results.ts'
import { root } from '../project/sources.ts'

const test = suite('bench')
const folder = mkdtempSync(join(tmpdir(), 'diptych-bench-'))

function bench(...args: string[]): { status: number | null; text: string; report: Report } {
  const json = join(folder, 'report.json')
  rmSync(json, { force: true })
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'bench/main.ts', ...args, '--quick', '--json', json],
    { cwd: root, encoding: 'utf8', env: { ...process.env, DIPTYCH_QUIET: '1', NO_COLOR: '1' } },
  )
  const text = stdout + stderr
  return {
    status,
    text,
    get report(): Report {
      return JSON.parse(readFileSync(json, 'utf8'))
    },
  }
}

test('a quick row is checked, timed and reported', () => {
  const { status, text, report } = bench('matmul')
  assert.is(status, 0, text)
  assert.ok(report.ok && report.ceilings.gflops > 0 && report.environment.adapter.length > 0)
  const [row] = report.groups[0]!.rows
  const [result] = row!.contestants
  assert.is(result!.status, 'ok')
  assert.ok(result!.checks.length > 0 && result!.checks.every(({ error, limit }) => error > 0 && error <= limit))
  const { median, best, samples } = result!.timing!
  assert.ok(samples >= 3 && best > 0 && median >= best)
  assert.is(result!.counts!.dispatches, 1)
  assert.is(result!.bytesMoved, row!.bytes)
  assert.is(result!.launches!.length, 1)
  for (const word of [row!.name, 'GFLOP/s', result!.launches![0]!.label]) assert.ok(text.includes(word), text)
})

test('a contestant that computes something else is not timed, and fails the run', () => {
  const { status, text, report } = bench('wrong', '--group', 'test/bench/wrong.group.ts')
  assert.is(status, 1, text)
  assert.not(report.ok)
  const results = report.groups[0]!.rows[0]!.contestants
  assert.equal(
    results.map((r) => [r.name, r.status, r.timing !== undefined]),
    [
      ['diptych', 'failed', false],
      ['diptych right', 'ok', true],
      ['diptych NaN', 'failed', false],
    ],
  )
  assert.match(results[0]!.reason!, /y is off by 0\.33/)
  assert.match(text, /failed:\n.*wrong tripled diptych/)
})

test('a group is added by one file: the one that the README shows', () => {
  const [, code] = /^```ts\n([\s\S]*?)^```$/m.exec(readFileSync(join(root, 'bench/README.md'), 'utf8'))!
  const file = join(folder, 'scale.mts')
  // As in groups/, from elsewhere.
  writeFileSync(file, code!.replaceAll("'../", `'${join(root, 'bench')}/`))
  const { status, text, report } = bench('scale', '--group', file)
  assert.is(status, 0, text)
  const [row] = report.groups[0]!.rows
  assert.is(row!.contestants[0]!.bytesMoved, row!.bytes)
})

test('what does not exist is refused, not ignored', () => {
  const unknown = bench('matmull')
  assert.is(unknown.status, 2)
  assert.match(unknown.text, /no group 'matmull'; known are .*matmul/)
})

test('peers are installed by their own lockfile alone', () => {
  const own = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const peers = JSON.parse(readFileSync(join(root, 'bench/peers/package-lock.json'), 'utf8')).packages
  const names = Object.keys(peers['']!.dependencies)
  assert.ok(names.length >= 5)
  for (const name of names) assert.not(`node_modules/${name}` in own, name)
})

test.after(() => rmSync(folder, { recursive: true, force: true }))
test.run()
