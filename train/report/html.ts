/**
 * A report as one HTML file that needs nothing else: styles inside, charts as inline SVG, images as data URIs, no script, no
 * external resource. Follows light and dark pages, and prints.
 */
import { CHART_GRID, CHART_INK } from './charts.ts'
import { STYLE } from './style.ts'
import type { Block, Cell, Column, Report, Section } from './types.ts'

/** Text made safe for HTML content and quoted attributes. Control characters that HTML forbids become U+FFFD. */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replace(/[&<>"']/g, (c) => entities[c]).replace(/[^\t\n\r\x20-\x7e\u00a0-\uffff]/g, '\ufffd')
}

/** The whole document. */
export function renderReport(report: Report): string {
  const title = escapeHtml(report.title)
  let charts = 0
  const inline = (svg: string, description: string) => inlineSvg(svg, description, `chart${++charts}`)
  const sections = report.sections
    .filter((section) => section.blocks.length > 0)
    .map((section) => renderSection(section, inline))
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${title}</h1>${report.subtitle ? `\n<p class="subtitle">${escapeHtml(report.subtitle)}</p>` : ''}
</header>
${sections.join('\n')}
</main>
</body>
</html>
`
}

type Inline = (svg: string, description: string) => string

function renderSection(section: Section, inline: Inline): string {
  const heading = section.title ? `<h2>${escapeHtml(section.title)}</h2>\n` : ''
  return `<section>\n${heading}${section.blocks.map((block) => renderBlock(block, inline)).join('\n')}\n</section>`
}

function renderBlock(block: Block, inline: Inline): string {
  switch (block.kind) {
    case 'text':
      return `<p>${escapeHtml(block.text)}</p>`
    case 'verbatim':
      return `<pre>${escapeHtml(block.text)}</pre>`
    case 'notice':
      return `<p class="notice ${block.tone}">${escapeHtml(block.text)}</p>`
    case 'table':
      return renderTable(block.columns, block.rows, block.caption)
    case 'facts':
      return `<dl>${block.facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${cellText(value, 4)}</dd>`).join('')}</dl>`
    case 'tiles': {
      const tiles = block.tiles.map(
        ({ label, value, detail, tone = 'plain' }) =>
          `<div class="tile ${tone}"><div class="label">${escapeHtml(label)}</div><div class="value">${escapeHtml(value)}</div>${detail ? `<div class="detail">${escapeHtml(detail)}</div>` : ''}</div>`,
      )
      return `<div class="tiles">${tiles.join('')}</div>`
    }
    case 'chart':
      return `<figure class="chart">${inline(block.svg, block.description)}</figure>`
    case 'images': {
      const figures = block.images.map(({ uri, caption, width, height }) => {
        if (!/^data:image\/png;base64,[A-Za-z0-9+/=]*$/.test(uri))
          throw new Error('renderReport: an image must be a PNG data URI, so that the report needs no other file')
        const alt = escapeHtml(caption ?? '')
        const text = caption ? `<figcaption>${alt}</figcaption>` : ''
        return `<figure style="max-width:${width}px"><img src="${uri}" width="${width}" height="${height}" alt="${alt}">${text}</figure>`
      })
      return `<div class="images${block.pixelated ? ' pixelated' : ''}">${figures.join('')}</div>`
    }
  }
}

function renderTable(columns: (string | Column)[], rows: Cell[][], caption?: string): string {
  const settings = columns.map((column) => (typeof column === 'string' ? { title: column } : column))
  // A column of numbers is set to the right, so that digits stand below each other; text such as "98.2 [97, 99]" too.
  const numeric = settings.map((_, i) => rows.length > 0 && rows.every((row) => isNumeric(row[i])))
  const cls = (i: number) => (numeric[i] ? ' class="number"' : '')
  const head = settings.map((column, i) => `<th scope="col"${cls(i)}>${escapeHtml(column.title)}</th>`).join('')
  const body = rows.map(
    (row) =>
      `<tr>${settings.map((column, i) => `<td${cls(i)}>${cellText(row[i], column.digits ?? 3)}</td>`).join('')}</tr>`,
  )
  const title = caption ? `<caption>${escapeHtml(caption)}</caption>` : ''
  return `<div class="scroll"><table>${title}<thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div>`
}

const isNumeric = (cell: Cell) =>
  cell === null || cell === undefined || typeof cell === 'number' || /^[-+]?\d[\d.,\s[\]%+–-]*$|^–$/.test(cell)

function cellText(cell: Cell, digits: number): string {
  if (cell === null || cell === undefined) return '–'
  if (typeof cell === 'string') {
    const [first, ...rest] = cell.split('\n').map(escapeHtml)
    return rest.length > 0 ? `${first}<small>${rest.join(' ')}</small>` : first
  }
  if (!Number.isFinite(cell)) return '–'
  return Number.isInteger(cell) ? String(cell) : cell.toFixed(digits)
}

/**
 * Makes a chart part of the page: ids made unique, ink and grid following the page, and a description. The SVG comes from this
 * project's charts; one with a script, an event handler or a reference to the outside is refused all the same.
 */
export function inlineSvg(svg: string, description: string, id: string): string {
  if (!/^<svg[\s>]/.test(svg)) throw new Error('renderReport: a chart must begin with <svg')
  const outside = /<script|<foreignObject|\son\w+\s*=|javascript:|(?:href|src)\s*=\s*"(?!#|data:image\/png)/i.exec(
    svg.replace(/>[^<]*</g, '><'),
  )
  if (outside) throw new Error(`renderReport: a chart must not contain ${outside[0].trim()}`)
  return svg
    .replace(/\bid="([^"]+)"/g, `id="${id}-$1"`)
    .replace(/url\(#([^)]+)\)/g, `url(#${id}-$1)`)
    .replace(/href="#([^"]+)"/g, `href="#${id}-$1"`)
    .replaceAll(CHART_INK, 'var(--ink-soft)')
    .replaceAll(CHART_GRID, 'var(--grid)')
    .replace(/^<svg/, `<svg role="img" aria-label="${escapeHtml(description)}"`)
}
