/** `npm run check`, file by file of blame: the types hold and the format is the project's. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from './sources.ts'

const check = suite('check')

/** Runs a command of node_modules/.bin; its output is the message of the failure. */
function passes(command: string, ...args: string[]): void {
  const bin = join(root, 'node_modules', '.bin', process.platform === 'win32' ? `${command}.cmd` : command)
  const { status, stdout, stderr, error } = spawnSync(bin, args, { cwd: root, encoding: 'utf8', shell: false })
  assert.ok(status === 0, `${command} ${args.join(' ')}\n${error?.message ?? ''}${stdout}${stderr}`)
}

check('types hold', () => passes('tsc', '--noEmit'))
check('format and lint', () => passes('biome', 'check', '--diagnostic-level=error', '--max-diagnostics=40'))

check.run()
