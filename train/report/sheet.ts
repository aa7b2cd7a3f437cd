/** A contact sheet: rows of labelled pictures as one PNG. */
import { CHART_INK, svgToPng } from './charts.ts'
import { pngDataUri } from './images.ts'
import type { RgbImage } from './types.ts'

export interface SheetRow {
  readonly title: string
  readonly pictures: readonly { readonly label: string; readonly picture: RgbImage }[]
}

const margin = 12
const gap = 8
const line = 16
const titleWidth = 150

const escaped = (text: string) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]!)

/** Each row its title and its pictures, every picture `tile` units wide with its label below. PNG bytes. */
export function contactSheet(heading: string, rows: readonly SheetRow[], tile = 132): Uint8Array {
  const parts: string[] = []
  const text = (x: number, y: number, words: string, size = 12, weight = 400) =>
    parts.push(
      `<text x="${x}" y="${y}" font-family="sans-serif" font-size="${size}" font-weight="${weight}" fill="${CHART_INK}">${escaped(words)}</text>`,
    )
  const columns = Math.max(...rows.map(({ pictures }) => pictures.length))
  text(margin, margin + 16, heading, 16, 700)
  let y = margin + 16 + 2 * gap
  for (const { title, pictures } of rows) {
    const height = Math.max(...pictures.map(({ picture }) => Math.round((tile * picture.height) / picture.width)))
    // Words of a title below one another.
    title.split('\n').forEach((words, i) => void text(margin, y + 14 + i * line, words, 12, i ? 400 : 600))
    pictures.forEach(({ label, picture: { width, height: h, rgb } }, i) => {
      const x = margin + titleWidth + i * (tile + gap)
      parts.push(
        `<image x="${x}" y="${y}" width="${tile}" height="${Math.round((tile * h) / width)}" href="${pngDataUri(width, h, rgb)}"/>`,
      )
      text(x, y + height + 13, label, 11)
    })
    y += height + line + gap
  }
  const width = 2 * margin + titleWidth + columns * (tile + gap) - gap
  return svgToPng(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y + margin}">${parts.join('')}</svg>`,
    1.5,
  )
}
