/**
 * Charts as SVG text: vega-lite compiled and drawn by vega, on the server, without a script in the result. Their ink and grid are
 * fixed colours, which `renderReport` replaces with variables that follow a light or dark page.
 */
import { Resvg } from '@resvg/resvg-js'
import * as vega from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import type { VideoScore } from '../metrics/aggregate.ts'
import type { Metric, RocPoint } from '../metrics/ranking.ts'
import type { ClipResult, HistoryPoint } from './types.ts'

export const CHART_INK = '#3c4350'
export const CHART_GRID = '#e2e5ea'
/** Colour-blind safe (Okabe and Ito): orange is fake, blue is real, everywhere. */
export const FAKE_COLOUR = '#d55e00'
export const REAL_COLOUR = '#0072b2'
const SERIES = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f']
const WIDTH = 620
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'

const CONFIG = {
  background: 'transparent',
  // The page describes each chart as a whole; a label on every dot would multiply its size.
  aria: false,
  font: FONT,
  padding: 4,
  view: { stroke: null },
  axis: {
    labelColor: CHART_INK,
    titleColor: CHART_INK,
    domainColor: CHART_INK,
    tickColor: CHART_INK,
    gridColor: CHART_GRID,
    labelFontSize: 11,
    titleFontSize: 12,
    titleFontWeight: 500,
    titlePadding: 8,
    labelLimit: 200,
  },
  legend: {
    labelColor: CHART_INK,
    titleColor: CHART_INK,
    orient: 'top',
    title: null,
    labelFontSize: 12,
    symbolStrokeWidth: 3,
  },
  title: { color: CHART_INK, fontSize: 13, fontWeight: 600, anchor: 'start' },
} as const

/** Draws a vega-lite specification whose data are in it. Nothing is ever loaded. */
export async function draw(spec: Record<string, unknown>): Promise<string> {
  const full = { $schema: 'https://vega.github.io/schema/vega-lite/v6.json', width: WIDTH, ...spec, config: CONFIG }
  const compiled = compile(full as unknown as TopLevelSpec).spec
  const loader = vega.loader()
  loader.load = async (uri: string) => {
    throw new Error(`a chart must not load ${uri}`)
  }
  const view = new vega.View(vega.parse(compiled), { renderer: 'none', loader, logLevel: vega.Error })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}

export interface LineOptions {
  x: string
  y: string
  /** Range of y; by default that of the data. */
  yDomain?: [number, number]
  /** Vertical mark: the epoch that was picked. */
  mark?: { x: number; label: string }
  log?: boolean
  height?: number
  /** Points drawn on the line. */
  points?: boolean
}

/** Lines of several series over a common axis. Points that are not finite leave a gap. */
export function lineChart(points: { x: number; y: number; series: string }[], options: LineOptions): Promise<string> {
  const names = [...new Set(points.map((p) => p.series))]
  const values = points.map((p) => ({ ...p, y: Number.isFinite(p.y) && (!options.log || p.y > 0) ? p.y : null }))
  const scale = options.log
    ? { type: 'log' }
    : { zero: false, nice: true, ...(options.yDomain && { domain: options.yDomain }) }
  const whole = points.every((p) => Number.isInteger(p.x)) && new Set(points.map((p) => p.x)).size <= 12
  const line = {
    data: { values },
    mark: { type: 'line', strokeWidth: 2, clip: true, ...(options.points && { point: { size: 36, filled: true } }) },
    encoding: {
      x: {
        field: 'x',
        type: 'quantitative',
        title: options.x,
        scale: { zero: false, nice: false },
        axis: { grid: false, ...(whole && { values: [...new Set(points.map((p) => p.x))], format: 'd' }) },
      },
      y: { field: 'y', type: 'quantitative', title: options.y, scale },
      color: {
        field: 'series',
        type: 'nominal',
        scale: { domain: names, range: names.map((_, i) => SERIES[i % SERIES.length]) },
        ...(names.length < 2 && { legend: null }),
      },
    },
  }
  const layer: Record<string, unknown>[] = [line]
  if (options.mark) {
    const data = { values: [{ x: options.mark.x, label: options.mark.label }] }
    const x = { field: 'x', type: 'quantitative' }
    layer.push({ data, mark: { type: 'rule', strokeDash: [4, 4], color: CHART_INK }, encoding: { x } })
    const text = { type: 'text', align: 'left', baseline: 'top', dx: 5, color: CHART_INK, fontSize: 11 }
    layer.push({ data, mark: text, encoding: { x, y: { value: 2 }, text: { field: 'label' } } })
  }
  return draw({ height: options.height ?? 220, layer })
}

/** Losses over the steps of a run; long runs are thinned to 400 points a series, each the mean of its stretch. */
export function lossChart(history: readonly HistoryPoint[]): Promise<string> {
  const names = [...new Set(history.flatMap((point) => Object.keys(point.values)))]
  const stretch = Math.max(1, Math.ceil(history.length / 400))
  const points = names.flatMap((series) => {
    const own = history.filter((point) => point.values[series] !== undefined)
    return Array.from({ length: Math.ceil(own.length / stretch) }, (_, k) => {
      const part = own.slice(k * stretch, (k + 1) * stretch)
      const mean = part.reduce((sum, point) => sum + point.values[series], 0) / part.length
      return { x: part[0].step, y: mean, series }
    })
  })
  return lineChart(points, { x: 'step', y: 'loss' })
}

/** The ROC curve with the diagonal of chance. */
export function rocChart(points: readonly RocPoint[], auc: Metric): Promise<string> {
  const values = points.map((p, i) => ({ x: p.falsePositiveRate, y: p.truePositiveRate, i }))
  const axis = (field: string, title: string) => ({
    field,
    type: 'quantitative',
    title,
    // An area is stacked unless told not to, which would add up the points of one rate.
    stack: null,
    scale: { domain: [0, 1], nice: false },
    axis: { tickCount: 5 },
  })
  const encoding = { x: axis('x', 'false positive rate'), y: axis('y', 'true positive rate') }
  const label = auc.value === undefined ? 'AUC undefined' : `AUC ${auc.value.toFixed(4)}`
  const corners = {
    values: [
      { x: 0, y: 0 },
      { x: 1, y: 1 },
    ],
  }
  return draw({
    width: 300,
    height: 300,
    layer: [
      { data: corners, mark: { type: 'line', strokeDash: [4, 4], strokeWidth: 1, color: CHART_INK }, encoding },
      {
        data: { values },
        mark: { type: 'area', orient: 'vertical', color: REAL_COLOUR, opacity: 0.12 },
        // No `order` here: on an area it makes one area of each point. Its own sort by x is stable.
        encoding: { ...encoding, y2: { datum: 0 } },
      },
      {
        data: { values },
        mark: { type: 'line', strokeWidth: 2.5, color: REAL_COLOUR },
        encoding: { ...encoding, order: { field: 'i', type: 'quantitative' } },
      },
      {
        data: { values: [{ x: 0.96, y: 0.06, label }] },
        mark: { type: 'text', align: 'right', fontSize: 15, fontWeight: 600, color: CHART_INK },
        encoding: { ...encoding, text: { field: 'label' } },
      },
    ],
  })
}

/** One dot per video, a row for each method, reals first; the threshold as a labelled line. */
export function scoreChart(
  videos: readonly VideoScore[],
  threshold = 0.5,
  thresholdLabel = 'threshold',
): Promise<string> {
  const methods = [
    ...new Set([...videos].sort((a, b) => a.label - b.label || (a.method < b.method ? -1 : 1)).map((v) => v.method)),
  ]
  const seen = new Map<string, number>()
  const values = videos.map((v) => {
    const k = seen.get(v.method) ?? 0
    seen.set(v.method, k + 1)
    // The golden ratio spreads successive dots evenly over the row, and the same way each time.
    return { method: v.method, score: v.score, kind: v.label ? 'fake' : 'real', offset: ((k + 1) * 0.618034) % 1 }
  })
  const score = { type: 'quantitative', title: 'fake probability', scale: { domain: [0, 1], nice: false } }
  const x = { ...score, field: 'score', axis: { tickCount: 5 } }
  const mark = { values: [{ score: threshold, label: `${thresholdLabel} ${threshold.toFixed(3)}` }] }
  return draw({
    height: { step: 46 },
    layer: [
      {
        data: { values },
        mark: { type: 'circle', size: 34, opacity: 0.6 },
        encoding: {
          x,
          y: {
            field: 'method',
            type: 'nominal',
            title: null,
            sort: methods,
            scale: { paddingInner: 0.35, paddingOuter: 0.3 },
            axis: { ticks: false, domain: false, grid: false, labelFontSize: 12 },
          },
          yOffset: { field: 'offset', type: 'quantitative', scale: { domain: [0, 1] } },
          color: {
            field: 'kind',
            type: 'nominal',
            scale: { domain: ['real', 'fake'], range: [REAL_COLOUR, FAKE_COLOUR] },
          },
        },
      },
      { data: mark, mark: { type: 'rule', strokeDash: [4, 4], color: CHART_INK }, encoding: { x } },
      {
        data: mark,
        mark: { type: 'text', baseline: 'bottom', dy: -3, fontSize: 11, color: CHART_INK },
        encoding: { x, y: { value: 0 }, text: { field: 'label' } },
      },
    ],
  })
}

/** The fake probability of each clip over the time of the video, a panel per face track. */
export function timelineChart(clips: readonly ClipResult[], threshold?: number): Promise<string> {
  const tracks = [...new Set(clips.map((clip) => clip.track ?? 0))].sort((a, b) => a - b)
  const values = clips.map((clip) => ({ ...clip, face: `face ${(clip.track ?? 0) + 1}` }))
  const x = {
    field: 'startSeconds',
    type: 'quantitative',
    title: 'seconds',
    axis: { grid: false },
    scale: { nice: false },
  }
  const y = {
    type: 'quantitative',
    title: 'fake probability',
    scale: { domain: [0, 1], nice: false },
    axis: { tickCount: 5 },
  }
  const colour = { type: 'linear', domain: [0, 0.5, 1], range: [REAL_COLOUR, '#9a9a9a', FAKE_COLOUR] }
  const layer: Record<string, unknown>[] = [
    {
      mark: { type: 'rect', opacity: 0.2 },
      encoding: {
        x,
        x2: { field: 'endSeconds' },
        y: { ...y, field: 'probability' },
        y2: { datum: 0 },
        color: { field: 'probability', type: 'quantitative', scale: colour, legend: null },
      },
    },
    {
      mark: { type: 'rule', strokeWidth: 4 },
      encoding: {
        x,
        x2: { field: 'endSeconds' },
        y: { ...y, field: 'probability' },
        color: { field: 'probability', type: 'quantitative', scale: colour, legend: null },
      },
    },
  ]
  if (threshold !== undefined)
    layer.push({
      mark: { type: 'rule', strokeDash: [4, 4], color: CHART_INK },
      encoding: { y: { ...y, datum: threshold } },
    })
  if (tracks.length < 2) return draw({ data: { values }, height: 170, layer })
  const facet = { row: { field: 'face', type: 'nominal', title: null, header: { labelColor: CHART_INK } } }
  return draw({ data: { values }, facet, width: undefined, spec: { width: WIDTH - 40, height: 110, layer } })
}

/** An SVG as PNG bytes, on white, `scale` pixels per SVG unit. */
export function svgToPng(svg: string, scale = 2): Uint8Array {
  const image = new Resvg(svg, {
    background: '#ffffff',
    fitTo: { mode: 'zoom', value: scale },
    font: { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans', sansSerifFamily: 'DejaVu Sans' },
  })
  return image.render().asPng()
}
