/**
 * The README is run, not only read: every `ts` block is a program that must exit 0, and so must every `sh` block that
 * follows a line `<!-- run -->`.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from './sources.ts'

const readme = suite('README')
const file = join(root, 'README.md')
const minutesPerBlock = 5

interface Block {
  readonly language: string
  readonly code: string
  /** Line of the README on which the code begins. */
  readonly line: number
  /** Stands after `<!-- run -->`. */
  readonly marked: boolean
}

function blocksOf(markdown: string): Block[] {
  const fence = /(<!-- run -->[ \t]*\n(?:[ \t]*\n)*)?^```(\w+)[^\n]*\n([\s\S]*?)^```[ \t]*$/gm
  return [...markdown.matchAll(fence)].map((match) => {
    const [whole, marker, language, code] = match
    const before = markdown.slice(0, match.index! + whole.indexOf('```'))
    return { language: language!, code: code!, line: before.split('\n').length + 1, marked: marker !== undefined }
  })
}

function execute(command: string, args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: minutesPerBlock * 60_000,
  })
  let output = ''
  child.stdout.on('data', (text) => (output += text))
  child.stderr.on('data', (text) => (output += text))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, output })))
}

readme('blocks are found, with their marks', () => {
  const text = 'a\n```ts\nlet x = 1\n```\n<!-- run -->\n```sh\nls\n```\n\n```sh\nrm\n```\n```\nplain\n```\n'
  assert.equal(blocksOf(text), [
    { language: 'ts', code: 'let x = 1\n', line: 3, marked: false },
    { language: 'sh', code: 'ls\n', line: 7, marked: true },
    { language: 'sh', code: 'rm\n', line: 11, marked: false },
  ])
})

if (!existsSync(file)) {
  readme('exists', () => assert.unreachable('There is no README.md.'))
} else {
  const text = readFileSync(file, 'utf8')
  const blocks = blocksOf(text)

  for (const command of ['npm run setup && npm start', 'npm run setup && npm test'])
    readme(`names ${command}`, () => assert.match(text, command))

  readme('shows TypeScript', () => assert.ok(blocks.some(({ language }) => language === 'ts')))

  // Inside the package and outside node_modules, where `import 'diptych'` resolves to the package's own exports.
  const folder = join(root, '.diptych', `readme-${process.pid}`)
  readme.before(() => void mkdirSync(folder, { recursive: true }))
  readme.after(() => rmSync(folder, { recursive: true, force: true }))

  for (const { language, code, line, marked } of blocks) {
    if (language === 'ts') {
      readme(`the program on line ${line} runs`, async () => {
        const program = join(folder, `line-${line}.ts`)
        writeFileSync(program, code)
        const result = await execute(process.execPath, ['--import', 'tsx', program])
        assert.is(result.code, 0, `\n${code}\n${result.output}`)
      })
    } else if (language === 'sh' && marked) {
      readme(`the commands on line ${line} run`, async () => {
        const result = await execute('bash', ['-euo', 'pipefail', '-c', code])
        assert.is(result.code, 0, `\n${code}\n${result.output}`)
      })
    }
  }
}

readme.run()
