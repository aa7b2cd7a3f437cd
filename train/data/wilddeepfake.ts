/**
 * WildDeepfake (`wdf`). Source: github.com/OpenTAI/wild-deepfake, arXiv:2101.01456.
 *
 *   {real,fake}_{train,test}/N.tar.gz, each with folders of face images named by frame number (or the same unpacked)
 *
 * The images are face crops already: they must not be detected and cropped again. Each folder is one sequence. There is no
 * validation split and no pairing of fakes with reals.
 */
import { dirname, join } from 'node:path'
import { isImage, listFolder, requireFolder } from './files.ts'
import { readTar } from './tar.ts'
import type { DatasetReader, DatasetScan, Label, Split } from './types.ts'

const LAYOUT = 'real_train/1.tar.gz, fake_train/…, real_test/…, fake_test/…'
const FOLDERS: [string, Label, Split][] = [
  ['real_train', 0, 'train'],
  ['fake_train', 1, 'train'],
  ['real_test', 0, 'test'],
  ['fake_test', 1, 'test'],
]

export const wildDeepfake: DatasetReader = {
  name: 'wdf',
  title: 'WildDeepfake',
  layout: LAYOUT,
  async read(root) {
    await requireFolder(root, 'WildDeepfake', LAYOUT)
    const notes = [
      'images are face crops already',
      'no validation split is published',
      'fakes are not paired with reals',
    ]
    const scan: DatasetScan = { entries: [], unreadable: [], notes }
    for (const [name, label, split] of FOLDERS) {
      await requireFolder(join(root, name), 'WildDeepfake', LAYOUT)
      for (const found of await readSet(join(root, name), scan)) {
        const method = label ? 'fake' : 'real'
        // Archive numbers begin again in each of the four folders.
        const id = `${split}/${found.id}`
        const common = { dataset: 'wdf', id, path: found.path, label, method, compression: null }
        scan.entries.push({ ...common, identity: `${method}/${id}`, partner: null, split, frames: found.frames })
      }
    }
    return scan
  },
}

interface Sequence {
  id: string
  path: string
  frames: number
}

async function readSet(folder: string, scan: DatasetScan): Promise<Sequence[]> {
  const sequences: Sequence[] = []
  const { folders, files } = await listFolder(folder)
  for (const name of files) {
    const path = join(folder, name)
    const number = /^(.+)\.(tar\.gz|tgz|tar)$/.exec(name)?.[1]
    if (!number) {
      scan.unreadable.push({ path, reason: 'not an archive of face images' })
      continue
    }
    if (folders.includes(number)) continue // unpacked beside its archive
    try {
      const counts = new Map<string, number>()
      for await (const file of readTar(path))
        if (isImage(file.name)) counts.set(dirname(file.name), (counts.get(dirname(file.name)) ?? 0) + 1)
      if (counts.size === 0) throw new Error('no image in it')
      for (const [inner, frames] of counts)
        sequences.push({ id: sequenceId(number, inner), path: `${path}#${inner}`, frames })
    } catch (error) {
      scan.unreadable.push({ path, reason: (error as Error).message })
    }
  }
  for (const name of folders) await readUnpacked(join(folder, name), name, name, sequences, scan)
  return sequences
}

async function readUnpacked(
  folder: string,
  archive: string,
  inner: string,
  sequences: Sequence[],
  scan: DatasetScan,
): Promise<void> {
  const { folders, files } = await listFolder(folder)
  const frames = files.filter(isImage).length
  if (frames > 0) sequences.push({ id: sequenceId(archive, inner), path: folder, frames })
  else if (folders.length === 0) scan.unreadable.push({ path: folder, reason: 'no image in it' })
  for (const name of folders) await readUnpacked(join(folder, name), archive, `${inner}/${name}`, sequences, scan)
}

/** `1.tar.gz` holding `1/real/17/…` and `1/real/17` unpacked are the same sequence, `1/17`. */
function sequenceId(archive: string, inner: string): string {
  const parts = inner.split('/').filter((part) => part !== '.' && part !== 'real' && part !== 'fake')
  if (parts[0] === archive) parts.shift()
  return [archive, ...parts].join('/')
}

/** The archive and the folder in it of a path written `archive#folder`; undefined for any other path. */
export function splitArchivePath(path: string): { archive: string; folder: string } | undefined {
  const match = /^(.+\.(?:tar\.gz|tgz|tar))#(.*)$/.exec(path)
  return match ? { archive: match[1], folder: match[2] } : undefined
}
