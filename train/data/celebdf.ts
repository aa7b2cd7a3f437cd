/**
 * Celeb-DF-v2 (`cdf`). Source: github.com/yuezunli/celeb-deepfakeforensics.
 *
 *   Celeb-real/id0_0000.mp4   YouTube-real/00000.mp4   Celeb-synthesis/id0_id16_0000.mp4
 *   List_of_testing_videos.txt: lines "<label> folder/name.mp4", where 1 means REAL and 0 fake; no header line
 *
 * What the list does not name is for training; there is no validation split. The forgery id0_id16_0000 shows the frames of
 * id0_0000 with the face of id16.
 */
import { basename, join } from 'node:path'
import { UserError } from '../cli/errors.ts'
import { isVideo, listFolder, numberedLines, readText, requireFolder, stem } from './files.ts'
import type { DatasetReader, DatasetScan, Label } from './types.ts'

const LAYOUT = 'Celeb-real/*.mp4, YouTube-real/*.mp4, Celeb-synthesis/*.mp4, List_of_testing_videos.txt'
const FOLDERS: [string, Label][] = [
  ['Celeb-real', 0],
  ['YouTube-real', 0],
  ['Celeb-synthesis', 1],
]

export const celebDf: DatasetReader = {
  name: 'cdf',
  title: 'Celeb-DF-v2',
  layout: LAYOUT,
  async read(root, options) {
    await requireFolder(join(root, 'Celeb-synthesis'), 'the forged videos of Celeb-DF-v2', LAYOUT)
    const testing = await readTestingList(join(root, 'List_of_testing_videos.txt'))
    const scan: DatasetScan = { entries: [], unreadable: [], notes: ['no validation split is published'] }
    const found = new Set<string>()
    for (const [folder, label] of FOLDERS) {
      if (label && options.methods && !options.methods.includes(folder)) continue
      for (const name of (await listFolder(join(root, folder))).files) {
        const path = join(root, folder, name)
        const parsed = isVideo(name) ? parseId(stem(name), label) : undefined
        if (!parsed) {
          scan.unreadable.push({ path, reason: `not named like a video of ${folder}` })
          continue
        }
        const split = testing.has(`${folder}/${name}`) ? 'test' : 'train'
        found.add(`${folder}/${name}`)
        const id = stem(name)
        scan.entries.push({ dataset: 'cdf', id, path, label, method: folder, compression: null, ...parsed, split })
      }
    }
    for (const [name, line] of testing)
      if (!found.has(name) && !(options.methods && name.startsWith('Celeb-synthesis/')))
        scan.unreadable.push({
          path: join(root, name),
          reason: `listed in List_of_testing_videos.txt line ${line} but missing`,
        })
    return scan
  },
}

function parseId(id: string, label: Label): { identity: string; partner: string | null } | undefined {
  if (!label) return { identity: id, partner: null }
  const match = /^(id\d+)_(id\d+)_(\d+)$/.exec(id)
  return match ? { identity: `${match[1]}_${match[3]}`, partner: match[2] } : undefined
}

/** Video → line number. The labels are not needed, but a list whose labels contradict the folders is not the owners'. */
async function readTestingList(path: string): Promise<Map<string, number>> {
  const fix = 'take List_of_testing_videos.txt from the download of Celeb-DF-v2; there 1 means real and 0 fake'
  const videos = new Map<string, number>()
  for (const { line, text } of numberedLines(await readText(path, 'the list of test videos of Celeb-DF-v2', fix))) {
    const match = /^([01])\s+(\S.*)$/.exec(text)
    if (!match) throw new UserError(`${path}:${line}: not "<label> folder/name.mp4": ${text}`, { fix })
    const folder = FOLDERS.find(([name]) => match[2] === `${name}/${basename(match[2])}`)
    if (!folder) throw new UserError(`${path}:${line}: ${match[2]} is in none of the three folders`, { fix })
    if ((match[1] === '1') !== (folder[1] === 0))
      throw new UserError(`${path}:${line}: label ${match[1]} contradicts the folder of ${match[2]}`, { fix })
    videos.set(match[2], line)
  }
  return videos
}
