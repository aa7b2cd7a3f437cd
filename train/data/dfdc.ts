/**
 * DFDC, the full challenge set (`dfdc`). Source: kaggle.com/c/deepfake-detection-challenge and ai.meta.com/datasets/dfdc.
 *
 *   dfdc_train_part_N/metadata.json   { "x.mp4": { label: "REAL" | "FAKE", original: "y.mp4", split: "train" } }
 *   test/metadata.json                { "x.mp4": { is_fake: 0 | 1 } }      or      labels.csv   filename,label
 *
 * Videos lie beside the file that lists them, or in a sub-folder `videos`, `test` or `test_videos`. Numbers published as "DFDC" are on various
 * subsets: which one was used is always a note of the scan.
 */
import { join } from 'node:path'
import { UserError } from '../cli/errors.ts'
import { parseCsv } from './csv.ts'
import { byName, exists, isVideo, listFolder, parseJson, readText, requireFolder, stem } from './files.ts'
import type { DatasetReader, DatasetScan, Label, Split, VideoEntry } from './types.ts'

const LAYOUT =
  'dfdc_train_part_0/metadata.json with its videos, test/labels.csv or test/metadata.json with the test videos'

interface Listed {
  label: Label
  original: string | null
  split: Split
}

export const dfdc: DatasetReader = {
  name: 'dfdc',
  title: 'DFDC',
  layout: LAYOUT,
  async read(root, options) {
    await requireFolder(root, 'DFDC', LAYOUT)
    const scan: DatasetScan = { entries: [], unreadable: [], notes: [] }
    // The root itself may be one part or the test set; parts may lie one folder deeper.
    const folders = [root, ...(await listFolder(root)).folders.map((name) => join(root, name))]
    let lists = 0
    for (const folder of folders) lists += await readPart(folder, scan)
    if (lists === 0)
      throw new UserError(`${root}: no metadata.json and no labels.csv here or one folder below`, {
        fix: `expected layout: ${LAYOUT}`,
      })
    const total = scan.entries.length
    if (options.subset) {
      const keep = new Set(options.subset.files.map((name) => stem(name.trim())))
      const known = new Set(scan.entries.map((e) => e.id))
      for (const id of [...keep].filter((id) => !known.has(id)).sort(byName))
        scan.unreadable.push({ path: id, reason: `in the subset "${options.subset.name}" but in no list of ${root}` })
      scan.entries = scan.entries.filter((e) => keep.has(e.id))
      scan.notes.push(`subset "${options.subset.name}": ${scan.entries.length} of ${total} videos`)
    } else scan.notes.push(`subset: none, all ${total} videos found (published numbers often use 3,215 test videos)`)
    return scan
  },
}

async function readPart(folder: string, scan: DatasetScan): Promise<number> {
  const files = (await listFolder(folder)).files
  const listed = new Map<string, Listed>()
  let lists = 0
  if (files.includes('metadata.json')) {
    readMetadata(join(folder, 'metadata.json'), await readJson(join(folder, 'metadata.json')), folder, listed)
    lists++
  }
  if (files.includes('labels.csv')) {
    await readLabels(join(folder, 'labels.csv'), listed)
    lists++
  }
  if (lists === 0) return 0
  const places = [folder, ...['videos', 'test', 'test_videos'].map((name) => join(folder, name))]
  for (const [name, { label, original, split }] of listed) {
    const path = await firstExisting(places.map((place) => join(place, name)))
    if (!path) {
      scan.unreadable.push({ path: join(folder, name), reason: 'listed but missing' })
      continue
    }
    const id = stem(name)
    const entry: VideoEntry = {
      dataset: 'dfdc',
      id,
      path,
      label,
      // The owners do not publish which of their eight methods made a video.
      method: label ? 'fake' : 'real',
      compression: null,
      identity: original ? stem(original) : id,
      partner: null,
      split,
    }
    scan.entries.push(entry)
  }
  for (const name of files)
    if (isVideo(name) && !listed.has(name))
      scan.unreadable.push({ path: join(folder, name), reason: 'not in metadata.json or labels.csv: no label' })
  return lists
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  const fix = 'fetch metadata.json again from the owners of DFDC'
  const value = parseJson(await readText(path, 'the metadata of DFDC', fix), path)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UserError(`${path}: not an object of file names`, { fix })
  return value as Record<string, unknown>
}

function readMetadata(
  path: string,
  metadata: Record<string, unknown>,
  folder: string,
  listed: Map<string, Listed>,
): void {
  for (const [name, value] of Object.entries(metadata)) {
    const record = (value ?? {}) as { label?: unknown; is_fake?: unknown; original?: unknown; split?: unknown }
    const isTest = record.is_fake !== undefined
    const label = isTest ? Number(record.is_fake) : ['REAL', 'FAKE'].indexOf(String(record.label).toUpperCase())
    if (label !== 0 && label !== 1)
      throw new UserError(`${path}: ${name} has neither label REAL or FAKE nor is_fake 0 or 1`, {
        fix: 'fetch metadata.json again from the owners of DFDC',
      })
    const original = typeof record.original === 'string' && record.original !== '' ? record.original : null
    const stated = String(record.split ?? '')
    const split: Split =
      /val/i.test(stated) || /validation/i.test(folder.split(/[\\/]/).at(-1)!)
        ? 'val'
        : isTest || stated === 'test'
          ? 'test'
          : 'train'
    listed.set(name, { label, original: label ? original : null, split })
  }
}

async function readLabels(path: string, listed: Map<string, Listed>): Promise<void> {
  const fix = 'labels.csv has the columns filename and label (0 real, 1 fake)'
  for (const { line, cells } of parseCsv(await readText(path, 'the labels of DFDC', fix))) {
    if (line === 1 && cells[0] === 'filename') continue
    const label = Number(cells[1])
    if (cells.length < 2 || (cells[1] !== '0' && cells[1] !== '1'))
      throw new UserError(`${path}:${line}: not "filename,0" or "filename,1": ${cells.join(',')}`, { fix })
    const before = listed.get(cells[0])
    if (before && before.label !== label)
      throw new UserError(`${path}:${line}: ${cells[0]} has another label in metadata.json`, { fix })
    listed.set(cells[0], before ?? { label: label as Label, original: null, split: 'test' })
  }
}

async function firstExisting(paths: string[]): Promise<string | undefined> {
  for (const path of paths) if (await exists(path)) return path
  return undefined
}
