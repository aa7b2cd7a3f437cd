/** The command line: arguments, exit codes, and scoring with a detector of known answers. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { DIP, makeConfig } from '../../dip/index.ts'
import { nn } from '../../engine/index.ts'
import { findCheckpoint } from '../../train/cli/checkpoint.ts'
import { runScore, type ScoreFlags, type ScoreHost } from '../../train/cli/commands/score.ts'
import { UserError } from '../../train/cli/errors.ts'
import { parseCsv } from '../../train/data/index.ts'
import { ANCHOR_COUNT } from '../../train/faces/anchors.ts'
import type { FaceNetwork } from '../../train/faces/index.ts'
import type { Detector, VideoVerdict } from '../../train/score/index.ts'
import { saveDetector } from '../../train/training/checkpoint.ts'
import { runFfmpeg } from '../../train/video/ffmpeg.ts'
import { encodeVideo } from '../../train/video/index.ts'

const test = suite('command line')
const folder = mkdtempSync(join(tmpdir(), 'diptych-cli-'))
test.after(() => rmSync(folder, { recursive: true, force: true }))
const bin = fileURLToPath(new URL('../../train/cli/bin.mjs', import.meta.url))

/** Runs the program from another working directory. */
function diptych(...args: string[]) {
  const env = { ...process.env, NO_COLOR: '1' }
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { cwd: folder, encoding: 'utf8', env })
  return { status, stdout, stderr }
}

test('mistakes at the prompt: the nearest name, exit code 2, no stack', () => {
  const cases: [string[], RegExp][] = [
    [['scroe', 'x.mp4'], /Did you mean score\?/],
    [['synth', '--identites', '6', 'x'], /Did you mean --identities\?/],
    [['scan', 'ff', '.'], /did you mean "ff\+\+"\?/],
    [['ablate', 'idn', 'x.jsonl'], /Allowed choices are ste-ratio, ste-paradigm, idm, did, augment/],
    [['score', 'no such.mp4'], /no such\.mp4: there is no such file/],
  ]
  for (const [args, words] of cases) {
    const { status, stderr } = diptych(...args)
    assert.is(status, 2, stderr)
    assert.match(stderr, words)
    assert.not.match(stderr, /\n\s+at /)
  }
  const { status, stdout } = diptych('--version')
  assert.is(status, 0)
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
})

test('weights: named ones must exist', async () => {
  const error = await findCheckpoint(join(folder, 'none.safetensors'), () => {}).catch((e: Error) => e)
  assert.instance(error, UserError)
  assert.match((error as UserError).fix!, 'npm start')
})

// ---------------------------------------------------------------------------------------------------------------- scoring

/** Finds one large face in the same place of every frame that is not black. */
const network: FaceNetwork = async (images, count) => {
  const scores = new Float32Array(count * 2 * ANCHOR_COUNT)
  for (let i = 0; i < count; i++)
    if (images[i * 3 * 240 * 320 + 5000] > -0.9) scores[2 * (i * ANCHOR_COUNT + 4400) + 1] = 0.99
  return { scores, offsets: new Float32Array(count * 4 * ANCHOR_COUNT) }
}

/** Calls a clip fake with this logit, whatever it shows. */
const detector = (logits: number[]): Detector => {
  let next = 0
  return {
    config: { T: 4, M: 16 },
    sha256: 'd'.repeat(64),
    temperature: 2,
    threshold: 0.5,
    async probabilities(clips) {
      for (const clip of clips) assert.is(clip.length, 4 * 16 * 16 * 3)
      return clips.map(() => {
        const logit = logits[next++ % logits.length]
        return { logit, probability: 1 / (1 + Math.exp(-logit)) }
      })
    },
  }
}

function host(given: Detector) {
  const said = { out: '', note: '' }
  const parts: ScoreHost = {
    openDetector: async () => given,
    network: async () => network,
    write: (text) => void (said.out += text),
    note: (text) => void (said.note += text),
    signal: new AbortController().signal,
  }
  return { said, parts }
}
const flags: ScoreFlags = { every: 0, minFace: 20, adapter: 'auto' }
const file = (name: string) => join(folder, name)
const film = (name: string, count: number, value: (i: number) => number) =>
  encodeVideo(
    file(name),
    Array.from({ length: count }, (_, i) => new Uint8Array(160 * 120 * 3).fill(value(i))),
    { width: 160, height: 120 },
  )

test('a video: verdict, numbers, interval and report; a strange name is only a name', async () => {
  const name = `a "b" 'c' $d.mp4`
  await film(name, 20, (i) => 60 + 8 * i)
  const { said, parts } = host(detector([3, 2, 3, 2, 4]))
  const report = file('report.html')
  assert.is(await runScore(file(name), 'w.safetensors', { ...flags, json: true, report }, parts), 0)
  const verdict = JSON.parse(said.out) as VideoVerdict
  assert.is(verdict.verdict, 'likely fake')
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
  const mean = [3, 2, 3, 2, 4].reduce((sum, x) => sum + sigmoid(x), 0) / 5
  assert.ok(Math.abs(verdict.score! - mean) < 1e-12)
  assert.ok(Math.abs(verdict.meanLogitScore! - sigmoid(2.8)) < 1e-12)
  assert.ok(Math.abs(verdict.maxScore! - sigmoid(4)) < 1e-12)
  assert.ok(Math.abs(verdict.probability! - sigmoid(1.4)) < 1e-12)
  assert.ok(verdict.scoreInterval!.low < mean && mean < verdict.scoreInterval!.high)
  assert.is(verdict.clips.length, 5)
  assert.ok(Math.abs(verdict.clips[4].endSeconds - 20 / 25) < 1e-9)
  assert.match(readFileSync(report, 'utf8'), 'likely fake')
})

test('clips that disagree are uncertain, clips that agree on real are real', async () => {
  const verdictOf = async (logits: number[]) => {
    const { said, parts } = host(detector(logits))
    await runScore(file(`a "b" 'c' $d.mp4`), 'w', { ...flags, json: true }, parts)
    return JSON.parse(said.out) as VideoVerdict
  }
  const torn = await verdictOf([3, -3, 3, -3, 2])
  assert.is(torn.verdict, 'uncertain')
  assert.ok(torn.reason)
  assert.is((await verdictOf([-3])).verdict, 'likely real')
})

test('too short and empty scenes are inconclusive, without a number and without failing', async () => {
  await film('short.mp4', 12, (i) => 60 + 8 * i)
  await film('black.mp4', 18, () => 0)
  for (const [name, code] of [
    ['short.mp4', 'too-few-frames'],
    ['black.mp4', 'no-face'],
  ]) {
    const { said, parts } = host(detector([3]))
    assert.is(await runScore(file(name), 'w', { ...flags, json: true }, parts), 0)
    const verdict = JSON.parse(said.out) as VideoVerdict
    assert.is(verdict.verdict, 'inconclusive')
    assert.is(verdict.code, code)
    assert.is(verdict.score, undefined)
  }
})

test('files that are no videos are refused by name', async () => {
  writeFileSync(file('empty.mp4'), '')
  writeFileSync(file('text.mp4'), 'hello')
  writeFileSync(file('cut.mp4'), readFileSync(file('short.mp4')).subarray(0, 1500))
  for (const [name, words] of [
    ['empty.mp4', /empty/],
    ['text.mp4', /not a video/],
    ['cut.mp4', /cut off/],
    ['gone.mp4', /no such file/],
  ] as const) {
    const error = await runScore(file(name), 'w', flags, host(detector([3])).parts).catch((e: Error) => e)
    assert.instance(error, UserError, name)
    assert.is((error as UserError).exitCode, 2)
    assert.match((error as UserError).message, words)
  }
})

test('a folder: a row a file, errors are rows, and --resume keeps what is done', async () => {
  const many = file('many')
  mkdirSync(join(many, 'in, side'), { recursive: true })
  await film('many/in, side/good.mp4', 18, (i) => 60 + 8 * i)
  await film('many/short.mp4', 12, (i) => 60 + 8 * i)
  writeFileSync(join(many, 'text.mp4'), 'hello')
  writeFileSync(join(many, 'notes.txt'), 'hello')
  const out = file('rows')
  const first = host(detector([3]))
  assert.is(await runScore(many, 'w', { ...flags, out }, first.parts), 3)
  const [header, ...rows] = parseCsv(readFileSync(join(out, 'scores.csv'), 'utf8')).map(({ cells }) => cells)
  assert.equal(header.slice(0, 4), ['file', 'status', 'verdict', 'score'])
  assert.equal(
    rows.map((cells) => cells.slice(0, 2)),
    [
      [join('in, side', 'good.mp4'), 'scored'],
      ['short.mp4', 'inconclusive'],
      ['text.mp4', 'error'],
    ],
  )
  assert.is(rows[2][3], '', 'an error has no number')
  assert.is(readFileSync(join(out, 'scores.jsonl'), 'utf8').trim().split('\n').length, 3)
  assert.match(first.said.note, /1 other file/)

  // The last line cut off, as by a kill: its video and the failed one are tried again, the rest is kept.
  const lines = readFileSync(join(out, 'scores.jsonl'), 'utf8').trim().split('\n')
  writeFileSync(join(out, 'scores.jsonl'), `${lines[0]}\n${lines[1].slice(0, 40)}`)
  const second = host(detector([-3]))
  assert.is(await runScore(many, 'w', { ...flags, out, resume: true }, second.parts), 3)
  assert.match(second.said.note, /1 rows? kept/)
  const again = parseCsv(readFileSync(join(out, 'scores.csv'), 'utf8')).map(({ cells }) => cells)
  assert.equal(again.slice(1), rows)
})

// -------------------------------------------------------------------------------------------- refusals by the real command

const small = makeConfig({ T: 2, M: 16, P: 8, E: 8, H: 2, U: 1, SA: 1, TA: 1, C: 1, kn: 3, t: 4, r: 2 })

/** Weights as a model of this configuration has them at first, changed. */
async function weights(
  name: string,
  change: (state: Map<string, { shape: readonly number[]; data: Float32Array }>) => void,
) {
  const state = new Map(
    [...nn.namedParameters(new DIP(small))].map(([key, p]) => [
      key,
      { shape: p.shape, data: p.initial as Float32Array },
    ]),
  )
  change(state)
  await saveDetector(file(name), state, { config: small, rehearsal: true })
}

test('a video of 1×1 pixels is refused', async () => {
  await weights('fits.safetensors', () => {})
  const raw = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', '1x1', '-r', '25', '-i', 'pipe:0']
  const ffmpeg = runFfmpeg([...raw, '-c:v', 'ffv1', '-y', file('one.mkv')], {})
  ffmpeg.stdout.resume()
  ffmpeg.stdin.end(new Uint8Array(20 * 3).map((_, i) => i * 4))
  const { code } = await ffmpeg.done
  assert.is(code, 0)
  const { status, stderr, stdout } = diptych('score', 'one.mkv', '--checkpoint', 'fits.safetensors')
  assert.is(status, 2, stderr)
  assert.is(stdout, '')
  assert.match(stderr, /one\.mkv: .*1×1/)
  assert.not.match(stderr, /\n\s+at /)
})

test('weights of another shape are refused, with every mismatch both ways', async () => {
  await weights('other.safetensors', (state) => {
    state.delete('cls_token')
    state.delete('head.bias')
    state.set('head.weight', { shape: [3, 16], data: new Float32Array(48) })
    state.set('encoder.norm.bias', { shape: [4], data: new Float32Array(4) })
    state.set('blocks.0.weight', { shape: [1], data: new Float32Array(1) })
    state.set('extra', { shape: [], data: new Float32Array(1) })
  })
  const { status, stderr } = diptych('score', 'short.mp4', '--checkpoint', 'other.safetensors')
  assert.is(status, 2, stderr)
  const after = (title: string) => (stderr.split(title)[1] ?? '').split(/\n {2}\S/)[0]!
  const names = (title: string) =>
    after(title)
      .match(/^ {4}[\w.]+/gm)
      ?.map((line) => line.trim())
      .sort()
  assert.equal(names('missing in the file:'), ['cls_token', 'head.bias'])
  assert.equal(names('not in the model:'), ['blocks.0.weight', 'extra'])
  assert.equal(names('of another shape:'), ['encoder.norm.bias', 'head.weight'])
  assert.match(stderr, 'head.weight: [3, 16] in the file, [2, 16] in the model')
  assert.not.match(stderr, /\n\s+at /)
})

test('settings: file, then --set, over a preset; what is wrong is named', () => {
  writeFileSync(
    file('config.json'),
    JSON.stringify({ preset: 'tiny', pool: 'max', optim: { lr: 1 }, 'idm.diffuse': 'power' }),
  )
  const { status, stdout, stderr } = diptych(
    'config',
    '--config',
    'config.json',
    '--set',
    'optim.lr=1e-3',
    '--set',
    'pool=mean',
  )
  assert.is(status, 0, stderr)
  assert.equal(JSON.parse(stdout), makeConfig({ preset: 'tiny', 'optim.lr': 1e-3, 'idm.diffuse': 'power' }))
  writeFileSync(file('bad.json'), '{"optim": {"warmpu": 1}}')
  writeFileSync(file('manifest.jsonl'), '')
  for (const [args, words] of [
    [['config', '--config', 'bad.json'], /unknown key 'optim\.warmpu'; the nearest known one is 'optim\.warmup'/],
    [['config', '--set', 'T=two'], /'T' must be a whole number from 1 to 65535, got "two"/],
    [['config', '--set', 'T'], /key=value/],
    [['config', '--config', 'gone.json'], /gone\.json/],
    [['train', 'manifest.jsonl', '--out', 'run', '--set', 'idm.difuse=power'], /'idm\.diffuse'/],
    [['train', 'manifest.jsonl', '--out', 'run'], /no video of the split train/],
    [['eval', 'manifest.jsonl'], /no video of the split test/],
  ] as const) {
    const result = diptych(...args)
    assert.is(result.status, 2, `${args.join(' ')}: ${result.stderr}`)
    assert.match(result.stderr, words)
    assert.not.match(result.stderr, /\n\s+at /)
  }
})

test.run()
