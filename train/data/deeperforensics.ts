/**
 * DeeperForensics-1.0 (`dfr`). Source: dataset/README.md of github.com/EndlessSora/DeeperForensics-1.0.
 *
 *   manipulated_videos/<type>/<target>_<actor>.mp4, type `end_to_end` or one of its perturbed variants
 *   lists/splits/{train,val,test}.txt (or splits/): one forged video a line, 703/96/201
 *
 * `source_videos` are recordings of the actors and NOT the reals: the reals are the targets, FaceForensics++ youtube videos
 * at c23, which must be fetched there. A target takes the split of its forgery.
 */
import { basename, join } from 'node:path'
import { UserError } from '../cli/errors.ts'
import { exists, isFolder, isVideo, listFolder, numberedLines, readText, requireFolder, stem } from './files.ts'
import type { DatasetReader, DatasetScan, ScanOptions, Split } from './types.ts'

const LAYOUT = 'manipulated_videos/end_to_end/000_M027.mp4, lists/splits/train.txt; the reals in ff++ at c23'

export const deeperForensics: DatasetReader = {
  name: 'dfr',
  title: 'DeeperForensics-1.0',
  layout: LAYOUT,
  async read(root, options) {
    const manipulated = join(root, 'manipulated_videos')
    await requireFolder(manipulated, 'the forged videos of DeeperForensics-1.0', LAYOUT)
    const reals = await realFolder(root, options)
    const splitOf = await readSplits(root, options)
    const scan: DatasetScan = { entries: [], unreadable: [], notes: [`reals: the ff++ c23 targets in ${reals}`] }
    if (await isFolder(join(root, 'source_videos')))
      scan.notes.push('source_videos left alone: recordings of the actors are not the reals of this data set')

    const targets = new Map<string, Split | null>()
    for (const method of (await listFolder(manipulated)).folders) {
      if (options.methods && !options.methods.includes(method)) continue
      const found = new Set<string>()
      for (const name of (await listFolder(join(manipulated, method))).files) {
        const path = join(manipulated, method, name)
        const match = isVideo(name) ? /^(\d{3})_([MW]\d+)$/.exec(stem(name)) : null
        if (!match) {
          scan.unreadable.push({ path, reason: 'not named <target>_<actor>' })
          continue
        }
        const [id, target, actor] = match
        const split = splitOf.get(id) ?? null
        found.add(id)
        targets.set(target, targets.get(target) ?? split)
        const made = { dataset: 'dfr', id, path, label: 1 as const, method, compression: null }
        scan.entries.push({ ...made, identity: target, partner: actor, split })
      }
      for (const [id, split] of splitOf) {
        if (found.has(id)) continue
        const path = join(manipulated, method, `${id}.mp4`)
        scan.unreadable.push({ path, reason: `listed in splits/${split}.txt but missing` })
      }
    }
    for (const [id, split] of [...targets].sort()) {
      const path = join(reals, `${id}.mp4`)
      if (!(await exists(path))) {
        scan.unreadable.push({ path, reason: 'the real target of a forged video, missing' })
        continue
      }
      const real = { dataset: 'dfr', id, path, label: 0 as const, method: 'ff++ target', compression: null }
      scan.entries.push({ ...real, identity: id, partner: null, split })
    }
    const outside = scan.entries.filter((e) => e.split === null).length
    if (outside > 0) scan.notes.push(`${outside} videos are in none of the owners' splits`)
    return scan
  },
}

async function realFolder(root: string, options: ScanOptions): Promise<string> {
  const under = join('original_sequences', 'youtube', 'c23', 'videos')
  const candidates = options.realRoot
    ? [join(options.realRoot, under), options.realRoot]
    : [join(root, 'target_videos'), join(root, under)]
  for (const folder of candidates) if (await isFolder(folder)) return folder
  throw new UserError(`${candidates[0]}: DeeperForensics-1.0 has no real videos of its own, and none were found here`, {
    fix: 'give the root of FaceForensics++ (its youtube videos at c23 are the reals); source_videos would be wrong',
  })
}

async function readSplits(root: string, options: ScanOptions): Promise<Map<string, Split>> {
  const candidates = options.splitsFolder
    ? [options.splitsFolder]
    : [join(root, 'lists', 'splits'), join(root, 'splits')]
  const fix = 'the lists come with the data set, in lists/splits: train.txt, val.txt, test.txt'
  for (const folder of candidates) {
    if (!(await exists(join(folder, 'test.txt')))) continue
    const splitOf = new Map<string, Split>()
    for (const split of ['train', 'val', 'test'] as const) {
      const path = join(folder, `${split}.txt`)
      for (const { line, text } of numberedLines(await readText(path, 'the split of DeeperForensics-1.0', fix))) {
        const id = stem(basename(text))
        const other = splitOf.get(id)
        if (other && other !== split) throw new UserError(`${path}:${line}: ${id} is also in ${other}.txt`, { fix })
        splitOf.set(id, split)
      }
    }
    return splitOf
  }
  throw new UserError(`${join(candidates[0], 'test.txt')}: the split lists of DeeperForensics-1.0 are missing`, { fix })
}
