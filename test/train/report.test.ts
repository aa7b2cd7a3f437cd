import { decode } from 'fast-png'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { evaluate } from '../../train/metrics/index.ts'
import {
  colormap,
  escapeHtml,
  lineChart,
  lossChart,
  overlay,
  pngDataUri,
  REHEARSAL,
  rangeOf,
  renderReport,
  rocChart,
  scoreChart,
  sideBySide,
  svgToPng,
  timelineChart,
  trainingReport,
  type VideoResult,
  videoReport,
  viridis,
} from '../../train/report/index.ts'

const test = suite('report')
const EVIL = `<script>alert("x")</script>' onload='&`

/** Nothing in a report may run or be fetched. */
function assertInert(html: string): void {
  // The text between tags is escaped, so what still looks like a tag is one.
  for (const tag of html.match(/<[a-z][^>]*>/gi) ?? []) {
    assert.not.match(tag, /^<(script|iframe|object|embed|link|foreignObject|base|form)\b/i)
    const names = [...tag.replace(/"[^"]*"/g, '""').matchAll(/\s([\w:-]+)=/g)].map((m) => m[1])
    assert.not(
      names.some((name) => /^on/i.test(name)),
      tag.slice(0, 200),
    )
    for (const [, name, value] of tag.matchAll(/\s([\w:-]*(?:href|src))="([^"]*)"/gi))
      assert.ok(value.startsWith('data:image/png;base64,') || value.startsWith('#'), `${name}=${value.slice(0, 80)}`)
  }
  assert.not.match(html, /@import|url\((?!#)/)
}

const clips = Array.from({ length: 10 }, (_, i) => [
  { video: `r${i}`, label: 0 as const, method: 'youtube', logit: -1 - (i % 3) },
  { video: `f${i}`, label: 1 as const, method: EVIL, logit: 2 - (i % 4) },
]).flat()

test('text is escaped everywhere', () => {
  assert.is(escapeHtml(`<a href="x">&'</a>\u0007`), '&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;\ufffd')
  const uri = pngDataUri(1, 1, Uint8Array.of(1, 2, 3))
  const html = renderReport({
    title: EVIL,
    subtitle: EVIL,
    sections: [
      {
        title: EVIL,
        blocks: [
          { kind: 'text', text: EVIL },
          { kind: 'verbatim', text: EVIL },
          { kind: 'notice', text: EVIL, tone: 'info' },
          { kind: 'table', columns: [EVIL, 'n'], rows: [[EVIL, 1]], caption: EVIL },
          { kind: 'facts', facts: [[EVIL, EVIL]] },
          { kind: 'tiles', tiles: [{ label: EVIL, value: EVIL, detail: EVIL }] },
          { kind: 'images', images: [{ uri, caption: EVIL, width: 1, height: 1 }] },
          { kind: 'chart', svg: '<svg width="1"></svg>', description: EVIL },
        ],
      },
      { title: 'nothing in it', blocks: [] },
    ],
  })
  assertInert(html)
  assert.not.match(html, 'nothing in it')
  // Title twice, subtitle, heading, three texts, three of the table, two facts, three of a tile, two of an image, a chart.
  assert.is(html.split('&lt;script&gt;').length - 1, 18)
})

test('numbers in tables: decimals, missing ones as a dash, set to the right', () => {
  const columns = ['name', { title: 'auc', digits: 2 }]
  const rows = [
    ['a', 0.987654],
    ['b', null],
    ['c', Number.NaN],
    ['d\nsmall <', 3],
  ] as [string, number | null][]
  const html = renderReport({ title: 't', sections: [{ title: '', blocks: [{ kind: 'table', columns, rows }] }] })
  assert.match(html, '<td class="number">0.99</td>')
  assert.is(html.split('<td class="number">–</td>').length - 1, 2)
  assert.match(html, '<td class="number">3</td>')
  assert.match(html, '<td>d<small>small &lt;</small></td>')
})

test('charts and images from elsewhere are refused', () => {
  const chart = (svg: string) => () =>
    renderReport({ title: 't', sections: [{ title: '', blocks: [{ kind: 'chart', svg, description: '' }] }] })
  assert.throws(chart('<svg><script>1</script></svg>'), /must not contain/)
  assert.throws(chart('<svg onload="x"></svg>'), /must not contain/)
  assert.throws(chart('<svg><image href="http://x/y.png"/></svg>'), /must not contain/)
  assert.throws(chart('<p>'), /begin with <svg/)
  const images = [{ uri: 'http://x/y.png', width: 1, height: 1 }]
  assert.throws(
    () => renderReport({ title: 't', sections: [{ title: '', blocks: [{ kind: 'images', images }] }] }),
    /data URI/,
  )
})

test('charts: plain SVG with the data in it', async () => {
  const evaluation = evaluate(clips, { seed: 1, replicates: 20 })
  const { auc } = evaluation.rows[0].video
  const roc = await rocChart(evaluation.roc, auc)
  assert.match(roc, `AUC ${auc.value!.toFixed(4)}`)
  assert.is(roc.split('class="mark-area').length - 1, 1, 'one area, not one for each point')
  // Area and curve end in the corner (1, 1): x = 300, y = 0 in the plot. Stacked areas once left the plot.
  const numbers = [...roc.matchAll(/d="M([^"Z]*)/g)].flatMap((m) =>
    m[1]
      .split(/[ML, ]/)
      .map(Number)
      .filter(Number.isFinite),
  )
  assert.ok(numbers.length > 0 && Math.max(...numbers) <= 400, `${Math.max(...numbers)}`)

  const scores = await scoreChart(evaluation.videos, 0.43, 'threshold from validation')
  assert.is(scores.split('A2.915').length - 1 >= 20 * 2, true, 'a dot for each video')
  assert.match(scores, 'threshold from validation 0.430')
  assert.match(scores, '&lt;script&gt;')

  const history = Array.from({ length: 1000 }, (_, i) => ({ step: i, values: { loss: 3 - i / 500, sti: 1 } }))
  const loss = await lossChart(history)
  assert.match(loss, '>loss<')
  assert.match(loss, '>sti<')
  assert.ok(loss.length < 60_000, 'long histories are thinned')
  const gap = await lineChart(
    [0, 1, Number.NaN, 3].map((y, x) => ({ x, y, series: 'a' })),
    { x: 'x', y: 'y' },
  )
  assert.not.match(gap, 'NaN')

  const one = await timelineChart([{ startSeconds: 0, endSeconds: 0.5, probability: 0.7 }], 0.5)
  assert.match(one, 'seconds')
  const two = await timelineChart([0, 1].map((track) => ({ startSeconds: 0, endSeconds: 1, probability: 0.7, track })))
  assert.match(two, 'face 2')
  for (const svg of [roc, scores, loss, gap, one, two]) {
    assert.ok(svg.startsWith('<svg'))
    assertInert(svg)
  }
})

test('an SVG becomes a PNG of its size', () => {
  const png = svgToPng(
    '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="6"><rect width="5" height="6" fill="#f00"/></svg>',
    2,
  )
  const { width, height, data, channels } = decode(png)
  assert.equal([width, height], [20, 12])
  assert.equal([...data.slice(0, 3)], [255, 0, 0])
  assert.equal([...data.slice(19 * channels, 19 * channels + 3)], [255, 255, 255], 'white ground')
})

test('colour maps: ends, order, what is no number is grey', () => {
  assert.equal(viridis(0), [68, 1, 84])
  assert.equal(viridis(1), [253, 231, 37])
  assert.equal(viridis(7), viridis(1))
  // Viridis grows lighter all the way.
  const light = (v: number) => viridis(v).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
  for (let k = 1; k <= 100; k++) assert.ok(light(k / 100) > light((k - 1) / 100))
  const { rgb } = colormap([0, 10, Number.NaN, 5], 2, 2)
  assert.equal([...rgb], [68, 1, 84, 253, 231, 37, 128, 128, 128, 33, 144, 141])
  assert.equal([...colormap([3, 3], 2, 1).rgb], [68, 1, 84, 68, 1, 84])
  assert.equal(rangeOf([2, Number.NaN, -1]), [-1, 2])
  assert.throws(() => colormap([1, 2, 3], 2, 2), /3 values for 2×2/)
})

test('overlay: strongest where the heat is highest, untouched where it is lowest', () => {
  const frame = { width: 4, height: 2, rgb: new Uint8Array(24).fill(100) }
  const { rgb } = overlay(frame, { width: 2, height: 1, values: [0, 1] })
  assert.equal([...rgb.slice(0, 3)], [100, 100, 100])
  assert.equal(
    [...rgb.slice(9, 12)],
    [253, 231, 37].map((c) => Math.round(0.35 * 100 + 0.65 * c)),
  )
  assert.equal([...frame.rgb], Array(24).fill(100))
  const both = sideBySide([frame, { width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3) }], 1)
  assert.equal([both.width, both.height], [6, 2])
  assert.equal([...both.rgb.slice(12, 18)], [255, 255, 255, 1, 2, 3])
  assert.throws(() => pngDataUri(2, 2, new Uint8Array(3)), /3 bytes for 2×2/)
  const png = Buffer.from(pngDataUri(4, 2, frame.rgb).split(',')[1], 'base64')
  assert.equal([...decode(png).data], Array(24).fill(100))
})

test('training report: all sections, and none that has no data', async () => {
  const full = await trainingReport({
    title: `run ${EVIL}`,
    synthetic: true,
    shuffledLabels: true,
    config: { preset: EVIL },
    dataSummary: EVIL,
    history: [
      { step: 1, values: { loss: 3 } },
      { step: 2, values: { loss: 2 } },
    ],
    validation: [
      { epoch: 1, teacher: 0.6, student: 0.5 },
      { epoch: 2, teacher: 0.7 },
    ],
    bestEpoch: 2,
    evaluations: [{ name: 'test set', evaluation: evaluate(clips, { seed: 1, replicates: 50, threshold: 0.4 }) }],
    paper: [{ name: 'cdf, AUC', measured: { value: 0.8 }, paperPercent: 88.36 }],
    calibration: { temperature: 1.5, nllBefore: 0.7, nllAfter: 0.6, clamped: true },
    durationSeconds: 185,
    steps: 2,
    provenance: { adapter: EVIL },
  })
  assertInert(full)
  for (const text of [
    REHEARSAL,
    'labels were shuffled',
    'Evaluation: test set',
    '95 % bootstrap',
    '-8.36',
    '3 min 05 s',
    'picked: epoch 2',
  ])
    assert.ok(full.includes(text), `lacks "${text}"`)
  for (const title of [
    'Data',
    'Training',
    'Validation',
    'Beside the paper',
    'Calibration',
    'Configuration',
    'Provenance',
  ])
    assert.match(full, `<h2>${title}</h2>`)
  const ids = [...full.matchAll(/\sid="([^"]+)"/g)].map((m) => m[1])
  assert.is(new Set(ids).size, ids.length, 'ids are unique over the charts')

  const bare = await trainingReport({ title: 'run', synthetic: false })
  assert.not.match(bare, '<h2>')
  assert.not.ok(bare.includes(REHEARSAL))
})

test('training report: an undefined AUC says why', async () => {
  const fakes = clips.filter((clip) => clip.label === 1)
  const evaluation = evaluate(fakes, { seed: 1, replicates: 20 })
  const html = await trainingReport({ title: 'r', synthetic: false, evaluations: [{ name: 'x', evaluation }] })
  assert.match(html, 'undefined')
  assert.match(html, 'AUC needs both classes: no real video')
  assert.not.match(html, /NaN|>0\.5000</)
})

test('video report: verdict, clips, saliency, matrices; none for an inconclusive video', async () => {
  const frame = { width: 8, height: 8, rgb: new Uint8Array(192).fill(90) }
  const heat = { width: 2, height: 2, values: [0, 1, 2, 3] }
  const result: VideoResult = {
    file: `a ${EVIL}.mp4`,
    verdict: 'likely fake',
    score: 0.9,
    probability: 0.834,
    interval: { low: 0.71, high: 0.9, level: 0.95 },
    threshold: 0.47,
    clips: [0, 1].map((track) => ({ startSeconds: 0, endSeconds: 0.5, probability: 0.9, track })),
    tracks: [0, 1].map((track) => ({ track, score: 0.9, clips: 1 })),
    strips: [{ title: 'rows', frames: [frame, frame], heat: [heat, heat] }],
    matrices: [{ title: 'Dist_hh', matrix: heat }],
    provenance: { sha256: 'ab' },
    rehearsalWeights: true,
  }
  const html = await videoReport(result)
  assertInert(html)
  for (const text of ['likely fake', '0.900', '83 %', '71 – 90 %', 'highest score', 'Dist_hh', REHEARSAL, 'sha256'])
    assert.ok(html.includes(text), `lacks "${text}"`)
  assert.is(html.split('<img ').length - 1, 2)
  const none = await videoReport({ file: 'b.mp4', verdict: 'inconclusive', reason: 'no face found' })
  assert.match(none, 'no face found')
  assert.not.match(none, /<h2>|<svg|0\.5/)
  try {
    await videoReport({ ...result, strips: [{ title: 'rows', frames: [frame], heat: [] }] })
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, '"rows" has 1 frames and 0 heat fields')
  }
})

test.run()
