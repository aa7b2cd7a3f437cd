/** `diptych tune`: on Dawn's null backend, where everything is compiled and nothing executed; and what it prints. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openDevice } from '../../engine/index.ts'
import { formatTuning, type PartReport, tunePreset } from '../../train/tune.ts'

const test = suite('tune')

test('every kernel with a choice in scoring and training is found, and the way to the diffusion', async () => {
  const device = await openDevice({ adapter: 'null' })
  const parts: string[] = []
  let seen = 0
  const reports = await tunePreset(device, {
    preset: 'tiny',
    clips: 1,
    seconds: 600,
    leastShare: 0,
    onPart: (part) => parts.push(part),
    onProgress: () => seen++,
  })
  assert.equal(parts, ['score', 'train'])
  // What the null backend reads back means nothing: a problem may count as one that no variant solves.
  const [score, train] = reports.map(
    ({ problems, skipped }) =>
      new Set([...problems.map((p) => p.kernel), ...skipped.map((s) => s.problem.split(' ')[0])]),
  )
  for (const kernel of ['matmul', 'attention', 'layerNorm', 'directionalPool', 'dip.diffuse'])
    assert.ok(score!.has(kernel), kernel)
  for (const kernel of ['matmul', 'attentionGradQuery', 'attentionGradKeyValue', 'layerNormGradInput', 'adamw'])
    assert.ok(train!.has(kernel), kernel)
  for (const { problems, whole } of reports) {
    assert.ok(whole!.heuristic > 0 && whole!.tuned > 0)
    for (const { choice, count } of problems) assert.ok(choice.winner in choice.times && count > 0)
  }
  assert.ok(seen >= reports.reduce((sum, r) => sum + r.problems.length, 0))
  assert.ok(JSON.parse(device.tuner.export()).adapters)
  device.destroy()
})

test('no time: nothing is measured, and that is said', async () => {
  const device = await openDevice({ adapter: 'null' })
  const [report] = await tunePreset(device, { preset: 'tiny', clips: 1, parts: ['score'], seconds: 0, leastShare: 0 })
  assert.equal(report!.problems, [])
  assert.ok(report!.skipped.length > 5 && report!.skipped.every((s) => s.reason === 'the time was up'))
  const text = formatTuning([report!])
  assert.match(text, /\d+ problems not measured: the time was up/)
  assert.match(text, /^Geometric mean of the gains: 1\.00 × over 0 problems$/m)
  device.destroy()
})

test('the table names winners, heuristics, gains, rejected candidates and what was dropped', () => {
  const report: PartReport = {
    part: 'train',
    problems: [
      {
        kernel: 'matmul',
        problem: 'm≈181* n≈724',
        example: 'm=197 n=768',
        heuristic: 'tiled.small',
        choice: {
          winner: 'tiled.large',
          times: { 'tiled.small': 150, 'tiled.large': 100 },
          rejected: { 'split.8x8': "'c' holds 3 NaN" },
        },
        count: 12,
        share: 0.25,
        fresh: true,
      },
      {
        kernel: 'softmax',
        problem: 'rows=8',
        example: 'rows=8',
        heuristic: 'lanes64',
        choice: { winner: 'lanes32', times: { lanes64: 5, lanes32: 4 }, rejected: {} },
        count: 1,
        share: 0,
        fresh: false,
      },
    ],
    skipped: [{ problem: 'eigh n=8', reason: 'the time was up' }],
    whole: { heuristic: 200, tuned: 160, dropped: ['softmax'] },
  }
  const text = formatTuning([report])
  const lines = [
    /^Training step$/m,
    /matmul {2}m=197 n=768 {2}× 12, 25\.0 % of the time$/m,
    /^ {4}bucket m≈181\* n≈724$/m,
    /100 µs {2}tiled\.large {2}← winner, 1\.50 ×$/m,
    /150 µs {2}tiled\.small {2}← heuristic$/m,
    /rejected {2}split\.8x8: 'c' holds 3 NaN$/m,
    /softmax {2}rows=8 \(known\)$/m,
    /4\.0 µs {2}lanes32 {2}← winner, 1\.25 ×$/m,
    /5\.0 µs {2}lanes64 {2}← heuristic$/m,
    /1 problems not measured: the time was up$/m,
    /2 problems, 1 of them measured now; the heuristic loses in 2; 1 candidates rejected$/m,
    /200 ms with the heuristic, 160 ms tuned \(1\.25 ×\); winners given up, since they made it slower: softmax$/m,
    // √(1.5 · 1): the winner that was given up gains nothing.
    /^Geometric mean of the gains: 1\.22 × over 2 problems$/m,
  ]
  for (const line of lines) assert.match(text, line)
})

test('a preset that there is not is said, with exit code 2', () => {
  const bin = fileURLToPath(new URL('../../train/cli/bin.mjs', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [bin, 'tune', '--preset', 'huge'], { encoding: 'utf8' })
  assert.is(status, 2)
  assert.match(stderr, /Allowed choices are tiny, micro, small, base/)
})

test.run()
