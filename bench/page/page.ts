/**
 * The benchmark in a browser: the same groups on whatever GPU the page gets, the table growing as rows are done. `serve.ts`
 * bundles it with the list of groups.
 */
import { openDevice } from '../../engine/index.ts'
import type { Group, RowContext } from '../contract.ts'
import { DiptychLibrary } from '../libraries/diptych.ts'
import { ceilingLine, cells, columns, environmentFacts, problemLine, programTables } from '../output/describe.ts'
import type { Environment, Report, RowResult } from '../results.ts'
import { passedAll, runGroups } from '../run.ts'
import { Session } from '../session.ts'

/** Put in by the bundler. */
declare const DIPTYCH_VERSION: string

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T

function make(tag: string, text = '', ...classes: string[]): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = text
  made.classList.add(...classes.filter(Boolean))
  return made
}

/** One table row a contestant, under a line on the problem; a bar shows the share of the ceiling. */
function show(row: RowResult, body: HTMLElement): void {
  const title = make('td', `${row.name} `, 'row')
  title.setAttribute('colspan', String(columns.length))
  title.append(make('small', problemLine(row)))
  const titleRow = make('tr')
  titleRow.append(title)
  body.append(titleRow)
  for (const result of row.contestants) {
    const line = make('tr', '', result.status)
    const texts = cells(result, row)
    texts.forEach((text, i) => {
      const cell = make('td', text, i === 0 ? 'name' : '')
      if (texts.length < columns.length && i > 0) cell.setAttribute('colspan', String(columns.length - 1))
      if (columns[i] === 'of ceiling' && result.share !== undefined)
        cell.style.setProperty('--share', `${Math.min(100, result.share * 100)}%`)
      line.append(cell)
    })
    body.append(line)
  }
  const cell = make('td', '', 'programs')
  cell.setAttribute('colspan', String(columns.length))
  cell.append(...programTables(row).map(table))
  const line = make('tr')
  line.append(cell)
  body.append(line)
}

/** The first row is its heads. */
function table(rows: readonly (readonly string[])[]): HTMLElement {
  const made = make('table')
  rows.forEach((texts, i) => {
    const line = make('tr')
    line.append(...texts.map((text) => make(i ? 'td' : 'th', text)))
    made.append(line)
  })
  return made
}

function tableFor(group: Group): HTMLElement {
  const section = make('section')
  section.append(make('h2', group.name), make('p', group.about))
  const table = make('table')
  const head = make('tr')
  for (const column of columns) head.append(make('th', column))
  const body = make('tbody')
  table.append(head, body)
  section.append(table)
  element('results').append(section)
  return body
}

function offer(report: Report): void {
  const link = element<HTMLAnchorElement>('download')
  link.href = URL.createObjectURL(new Blob([JSON.stringify(report, null, 1)], { type: 'application/json' }))
  link.hidden = false
}

async function asset(path: string): Promise<Uint8Array> {
  const answer = await fetch(`/${path}`)
  if (!answer.ok) throw new Error(`${path} is not served (${answer.status})`)
  return new Uint8Array(await answer.arrayBuffer())
}

async function run(groups: readonly Group[], quick: boolean, filter: string): Promise<Report> {
  const tell = (what: string) => {
    element('status').textContent = what
  }
  tell('opening the device')
  const engine = await openDevice()
  const library = new DiptychLibrary(engine, DIPTYCH_VERSION, asset)
  const { adapter, driver, software, maxBinding } = library.device
  const context: RowContext = { software, maxBinding, quick }
  const session = new Session(library, groups)
  const environment: Environment = {
    date: new Date().toISOString(),
    adapter,
    driver,
    software,
    platform: navigator.userAgent,
    versions: { diptych: DIPTYCH_VERSION },
  }
  const facts = element('facts')
  facts.replaceChildren()
  for (const [name, value] of environmentFacts(environment)) facts.append(make('dt', name), make('dd', value))
  tell('measuring the ceilings')
  const ceilings = await session.ceilings()
  facts.append(make('dt', 'ceilings'), make('dd', ceilingLine(ceilings)))
  element('results').replaceChildren()
  let body: HTMLElement
  const results = await runGroups(groups, new Map([['diptych', session]]), {
    context,
    filters: filter ? [filter] : [],
    ceilings,
    tell,
    onGroup: (group) => {
      body = tableFor(group)
    },
    onRow: (row) => show(row, body),
  })
  await session.close()
  engine.destroy()
  const report: Report = { format: 1, quick, environment, ceilings, groups: results, ok: passedAll(results) }
  offer(report)
  tell(report.ok ? 'done: every check passed' : 'done: a check failed, see the rows in red')
  return report
}

/** Builds the form; a run's report is left in `globalThis.report` for programs that drive the page. */
export function start(groups: readonly Group[]): void {
  const choices = element('groups')
  const asked = new URLSearchParams(location.search)
  for (const { name, about } of groups) {
    const label = make('label', ` ${name}`)
    label.title = about
    const box = document.createElement('input')
    box.type = 'checkbox'
    box.value = name
    box.checked = !asked.has('group') || asked.getAll('group').includes(name)
    label.prepend(box)
    choices.append(label)
  }
  element<HTMLInputElement>('quick').checked = asked.has('quick')
  const button = element<HTMLButtonElement>('run')
  button.addEventListener('click', async () => {
    button.disabled = true
    const boxes = [...choices.querySelectorAll<HTMLInputElement>('input:checked')].map((box) => box.value)
    const chosen = groups.filter(({ name }) => boxes.includes(name))
    try {
      const quick = element<HTMLInputElement>('quick').checked
      Object.assign(globalThis, { report: await run(chosen, quick, element<HTMLInputElement>('filter').value) })
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      element('status').textContent = message
      Object.assign(globalThis, { report: { error: message } })
    }
    button.disabled = false
  })
  if (asked.has('run')) button.click()
}
