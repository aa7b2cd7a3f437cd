/** The report of one scored video. A section whose data are absent is left out. */
import { timelineChart } from './charts.ts'
import { renderReport } from './html.ts'
import { colormap, pngDataUri, rangeOf } from './images.ts'
import { strip } from './strip.ts'
import { REHEARSAL } from './training.ts'
import type { Block, MatrixFigure, Section, Tone, Verdict, VideoResult } from './types.ts'

const TONES: Record<Verdict, Tone> = {
  'likely fake': 'fake',
  uncertain: 'uncertain',
  'likely real': 'real',
  inconclusive: 'plain',
}

/** @returns the HTML of the report. */
export async function videoReport(result: VideoResult): Promise<string> {
  const sections: Section[] = [
    { title: '', blocks: verdict(result) },
    { title: 'Clips', blocks: await timeline(result) },
    { title: 'Faces', blocks: faces(result) },
    { title: 'Directional saliency', blocks: (result.strips ?? []).map(strip) },
    { title: 'Diffusion distances', blocks: matrices(result.matrices ?? []) },
    { title: 'Video', blocks: video(result) },
    { title: 'Provenance', blocks: provenance(result) },
  ]
  return renderReport({ title: result.file, subtitle: 'Deepfake score', sections })
}

function verdict(result: VideoResult): Block[] {
  const { score, probability, interval, threshold } = result
  const blocks: Block[] = []
  if (result.rehearsalWeights)
    blocks.push({ kind: 'notice', tone: 'warning', text: `Weights trained on made-up videos. ${REHEARSAL}` })
  const tiles = [
    { label: 'verdict', value: result.verdict, detail: result.reason, tone: TONES[result.verdict] },
  ] as Extract<Block, { kind: 'tiles' }>['tiles']
  if (score !== undefined)
    tiles.push({
      label: 'score',
      value: score.toFixed(3),
      detail: threshold === undefined ? 'mean fake probability of the clips' : `threshold ${threshold.toFixed(3)}`,
    })
  if (probability !== undefined)
    tiles.push({
      label: 'calibrated probability of fake',
      value: `${(100 * probability).toFixed(0)} %`,
      detail: interval
        ? `${Math.round(100 * interval.level)} % interval ${(100 * interval.low).toFixed(0)} – ${(100 * interval.high).toFixed(0)} %`
        : undefined,
    })
  blocks.push({ kind: 'tiles', tiles })
  blocks.push({
    kind: 'text',
    text: 'A score is evidence, not proof: it tells how much the faces resemble those of the forgeries that the model was trained on.',
  })
  for (const note of result.notes ?? []) blocks.push({ kind: 'text', text: note })
  return blocks
}

async function timeline({ clips = [], threshold, meanLogitScore, maxScore }: VideoResult): Promise<Block[]> {
  if (clips.length === 0) return []
  const svg = await timelineChart(clips, threshold)
  const several = clips.some((clip) => (clip.track ?? 0) !== (clips[0].track ?? 0))
  const blocks: Block[] = [{ kind: 'chart', svg, description: `Fake probability of ${clips.length} clips over time` }]
  blocks.push({
    kind: 'table',
    columns: [
      ...(several ? ['face'] : []),
      { title: 'from (s)', digits: 2 },
      { title: 'to (s)', digits: 2 },
      'fake probability',
    ],
    rows: clips.map((clip) => [
      ...(several ? [(clip.track ?? 0) + 1] : []),
      clip.startSeconds.toFixed(2),
      clip.endSeconds.toFixed(2),
      clip.probability.toFixed(3),
    ]),
  })
  const facts: [string, number][] = []
  if (meanLogitScore !== undefined) facts.push(['by mean logit', meanLogitScore])
  if (maxScore !== undefined) facts.push(['highest clip', maxScore])
  if (facts.length > 0) blocks.push({ kind: 'facts', facts })
  return blocks
}

function faces({ tracks = [] }: VideoResult): Block[] {
  if (tracks.length < 2) return []
  return [
    {
      kind: 'text',
      text: `${tracks.length} faces were followed and scored on their own; the video takes the highest score.`,
    },
    {
      kind: 'table',
      columns: ['face', 'clips', 'score'],
      rows: tracks.map(({ track, clips, score }) => [track + 1, clips, score.toFixed(3)]),
    },
  ]
}

const MATRIX_PIXELS = 168

function matrices(figures: MatrixFigure[]): Block[] {
  if (figures.length === 0) return []
  const images = figures.map(({ title, matrix: { values, width, height } }) => {
    const [low, high] = rangeOf(values)
    const { rgb } = colormap(values, width, height)
    const caption = `${title}, ${low.toPrecision(3)} (dark) to ${high.toPrecision(3)}`
    const scale = MATRIX_PIXELS / Math.max(width, height)
    const size = { width: Math.round(width * scale), height: Math.round(height * scale) }
    return { uri: pngDataUri(width, height, rgb), caption, ...size }
  })
  return [{ kind: 'images', images, pixelated: true }]
}

function video({ video: v }: VideoResult): Block[] {
  if (!v) return []
  const facts: [string, string | number][] = []
  if (v.width !== undefined && v.height !== undefined) facts.push(['size', `${v.width} × ${v.height}`])
  if (v.frames !== undefined) facts.push(['frames', v.frames])
  if (v.fps !== undefined) facts.push(['frames per second', v.fps.toFixed(2)])
  if (v.durationSeconds !== undefined) facts.push(['duration', `${v.durationSeconds.toFixed(2)} s`])
  return facts.length > 0 ? [{ kind: 'facts', facts }] : []
}

function provenance({ provenance: facts }: VideoResult): Block[] {
  return facts && Object.keys(facts).length > 0 ? [{ kind: 'facts', facts: Object.entries(facts) }] : []
}
