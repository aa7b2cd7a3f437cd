/**
 * Any folder (`folder`): videos, or folders of images, under `real/` and `fake/`, at any depth.
 *
 *   real/**  fake/**     below fake/, a folder of videos names the method
 *   pairs.csv            fake,real     the real video that each forgery was made from
 *   split.csv            video,split   train, val or test
 *
 * Both files are optional; names in them are paths below the root or below real/ and fake/, with or without extension. Without
 * split.csv whole identities are split at random (seeded), never single clips; without pairs.csv a triplet's negative is any fake.
 */
import { join, posix } from 'node:path'
import { UserError } from '../cli/errors.ts'
import { parseCsv } from './csv.ts'
import { exists, isImage, isVideo, listFolder, readText, requireFolder } from './files.ts'
import { splitByIdentity } from './split.ts'
import type { DatasetReader, DatasetScan, Label, Split, VideoEntry } from './types.ts'

const LAYOUT =
  'real/** and fake/** of video files or folders of images, optional pairs.csv (fake,real) and split.csv (video,split)'
const withoutExtension = (path: string) => path.replace(/\.[^./]+$/, '')

export const anyFolder: DatasetReader = {
  name: 'folder',
  title: 'folder',
  layout: LAYOUT,
  async read(root, options) {
    const scan: DatasetScan = { entries: [], unreadable: [], notes: [] }
    for (const [name, label] of [
      ['real', 0],
      ['fake', 1],
    ] as const) {
      await requireFolder(join(root, name), 'a data set of real and fake videos', LAYOUT)
      await collect(root, name, '', label, scan)
    }
    if (options.methods) scan.entries = scan.entries.filter((e) => !e.label || options.methods!.includes(e.method))
    await applyPairs(join(root, 'pairs.csv'), root, scan)
    const splitFile = join(root, 'split.csv')
    if (await exists(splitFile)) await applySplit(splitFile, root, scan)
    else {
      scan.entries = splitByIdentity(scan.entries, options.seed ?? 0, options.shares)
      scan.notes.push(`no split.csv: identities split at random, seed ${options.seed ?? 0}`)
    }
    return scan
  },
}

async function collect(root: string, top: string, under: string, label: Label, scan: DatasetScan): Promise<void> {
  const folder = join(root, top, under)
  const { folders, files } = await listFolder(folder)
  const images = files.filter(isImage).length
  const add = (inner: string, path: string, frames?: number) => {
    const id = withoutExtension(inner)
    const parent = posix.dirname(id)
    const method = label && parent !== '.' ? parent : top
    const entry: VideoEntry = {
      dataset: 'folder',
      id,
      path,
      label,
      method,
      compression: null,
      identity: `${top}/${id}`,
      partner: null,
      split: null,
    }
    scan.entries.push(frames === undefined ? entry : { ...entry, frames })
  }
  if (images > 0 && under !== '') add(under, folder, images)
  for (const name of files) {
    if (isVideo(name)) add(posix.join(under, name), join(folder, name))
    else if (!isImage(name)) scan.unreadable.push({ path: join(folder, name), reason: 'neither a video nor an image' })
    else if (under === '') scan.unreadable.push({ path: join(folder, name), reason: 'a single image is no video' })
  }
  if (under !== '' && folders.length === 0 && files.length === 0)
    scan.unreadable.push({ path: folder, reason: 'an empty folder' })
  for (const name of folders) await collect(root, top, posix.join(under, name), label, scan)
}

/** Finds videos by any of the names that the two tables may use. */
function lookup(entries: VideoEntry[], label?: Label): (name: string) => VideoEntry | undefined {
  const byName = new Map<string, VideoEntry | null>()
  for (const entry of entries) {
    if (label !== undefined && entry.label !== label) continue
    const top = entry.label ? 'fake' : 'real'
    // A short name that two videos answer to is no name.
    for (const name of [entry.id, posix.join(top, entry.id)])
      byName.set(name, byName.has(name) && byName.get(name) !== entry ? null : entry)
  }
  return (name) => {
    const path = posix.normalize(name.replaceAll('\\', '/'))
    return byName.get(path) ?? byName.get(withoutExtension(path)) ?? undefined
  }
}

async function applyPairs(path: string, root: string, scan: DatasetScan): Promise<void> {
  if (!(await exists(path))) {
    scan.notes.push('no pairs.csv: a negative is any fake')
    return
  }
  const fix = 'each line of pairs.csv is "fake,real", paths below fake/ and real/'
  const fakes = lookup(scan.entries, 1)
  const reals = lookup(scan.entries, 0)
  for (const { line, cells } of parseCsv(await readText(path, 'the table of pairs', fix))) {
    if (line === 1 && cells[0] === 'fake') continue
    const [fake, real] = [fakes(cells[0] ?? ''), reals(cells[1] ?? '')]
    if (cells.length < 2) throw new UserError(`${path}:${line}: not a pair: ${cells.join(',')}`, { fix })
    if (fake && real) fake.identity = real.identity
    else
      scan.unreadable.push({
        path: join(root, fake ? `real/${cells[1]}` : `fake/${cells[0]}`),
        reason: `named in pairs.csv line ${line} but missing or not unique`,
      })
  }
}

async function applySplit(path: string, root: string, scan: DatasetScan): Promise<void> {
  const fix = 'each line of split.csv is "video,split" with split train, val or test'
  const find = lookup(scan.entries)
  for (const { line, cells } of parseCsv(await readText(path, 'the table of splits', fix))) {
    if (line === 1 && cells[1] === 'split') continue
    if (!['train', 'val', 'test'].includes(cells[1] ?? ''))
      throw new UserError(`${path}:${line}: not "video,split": ${cells.join(',')}`, { fix })
    const entry = find(cells[0])
    if (entry) entry.split = cells[1] as Split
    else
      scan.unreadable.push({
        path: join(root, cells[0]),
        reason: `named in split.csv line ${line} but missing or not unique`,
      })
  }
  const outside = scan.entries.filter((e) => e.split === null).length
  if (outside > 0) scan.notes.push(`${outside} videos are not in split.csv`)
}
