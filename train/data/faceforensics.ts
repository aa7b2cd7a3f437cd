/**
 * FaceForensics++ (`ff++`). Source: the README and dataset/splits of github.com/ondyari/FaceForensics.
 *
 *   original_sequences/{youtube,actors}/{raw,c23,c40}/videos/NNN.mp4
 *   manipulated_sequences/<method>/{raw,c23,c40}/videos/<target>_<source>.mp4
 *   splits/{train,val,test}.json      lists of pairs; a pair [a, b] stands for reals a and b and fakes a_b and b_a
 *
 * Ids keep their leading zeros. A fake's identity is its target, the video whose frames it shows. The methods share file
 * names: the key of a video includes the method. DeepFakeDetection (actors) lies outside the splits.
 */
import { join } from 'node:path'
import { UserError } from '../cli/errors.ts'
import { exists, isVideo, listFolder, parseJson, readText, requireFolder, stem } from './files.ts'
import type { DatasetReader, DatasetScan, ScanOptions, Split, VideoEntry } from './types.ts'

const LAYOUT =
  'original_sequences/youtube/c23/videos/000.mp4, manipulated_sequences/Deepfakes/c23/videos/000_003.mp4, splits/train.json'

const COMPRESSIONS: Record<string, string> = { raw: 'raw', c0: 'raw', c23: 'c23', c40: 'c40' }

interface Splits {
  ofReal: Map<string, Split>
  ofFake: Map<string, Split>
}

export const faceForensics: DatasetReader = {
  name: 'ff++',
  title: 'FaceForensics++',
  layout: LAYOUT,
  async read(root, options) {
    await requireFolder(join(root, 'original_sequences'), 'the real videos of FaceForensics++', LAYOUT)
    const splits = await readSplits(await splitsFolder(root, options))
    const scan: DatasetScan = { entries: [], unreadable: [], notes: [] }
    const collections = await listFolder(join(root, 'original_sequences'))
    for (const name of collections.folders)
      await readCollection(join(root, 'original_sequences', name), name, 0, splits, options, scan)
    const methods = await listFolder(join(root, 'manipulated_sequences'))
    for (const name of methods.folders) {
      if (options.methods && !options.methods.includes(name)) continue
      await readCollection(join(root, 'manipulated_sequences', name), name, 1, splits, options, scan)
    }
    const outside = scan.entries.filter((e) => e.split === null).length
    if (outside > 0) scan.notes.push(`${outside} videos are in none of the owners' splits`)
    return scan
  },
}

async function readCollection(
  folder: string,
  method: string,
  label: 0 | 1,
  splits: Splits,
  options: ScanOptions,
  scan: DatasetScan,
): Promise<void> {
  const wanted = options.compressions?.map((c) => COMPRESSIONS[c] ?? c)
  for (const level of (await listFolder(folder)).folders) {
    // `masks` and `models` lie beside the compressions and hold no videos to score.
    const compression = COMPRESSIONS[level]
    if (!compression || (wanted && !wanted.includes(compression))) continue
    const videos = join(folder, level, 'videos')
    const found = new Set<string>()
    for (const name of (await listFolder(videos)).files) {
      const path = join(videos, name)
      const id = stem(name)
      const parsed = isVideo(name) ? parseId(id, label) : undefined
      if (!parsed) {
        scan.unreadable.push({ path, reason: `not named like a ${label ? 'forged' : 'real'} video of ff++` })
        continue
      }
      found.add(id)
      const split = (label ? splits.ofFake.get(id) : method === 'youtube' && splits.ofReal.get(id)) || null
      const entry: VideoEntry = { dataset: 'ff++', id, path, label, method, compression, ...parsed, split }
      // Forgeries that pair two videos otherwise than the owners did (a made-up set in this layout) follow their videos.
      if (label && !split && parsed.partner) {
        const target = splits.ofReal.get(parsed.identity)
        if (target && target === splits.ofReal.get(parsed.partner)) entry.split = target
      }
      scan.entries.push(entry)
    }
    const announced = label ? splits.ofFake : method === 'youtube' ? splits.ofReal : new Map<string, Split>()
    // The actors' recordings and DeepFakeDetection are not in the splits: nothing of theirs can be missing.
    if (found.size > 0 && ![...found].some((id) => announced.has(id))) continue
    for (const [id, split] of announced) {
      if (found.has(id)) continue
      scan.unreadable.push({ path: join(videos, `${id}.mp4`), reason: `listed in splits/${split}.json but missing` })
    }
  }
}

/** `003`, `000_003`; of DeepFakeDetection `01__scene` and `01_02__scene__CODE`. */
function parseId(id: string, label: 0 | 1): { identity: string; partner: string | null } | undefined {
  if (!label) return { identity: id, partner: null }
  const pair = /^(\d+)_(\d+)$/.exec(id)
  if (pair) return { identity: pair[1], partner: pair[2] }
  const actors = /^(\d+)_(\d+)__(.+?)__[A-Z0-9]+$/.exec(id)
  return actors ? { identity: `${actors[1]}__${actors[3]}`, partner: actors[2] } : undefined
}

/** The split files come with the owners' repository, not with the videos: several places are tried. */
async function splitsFolder(root: string, options: ScanOptions): Promise<string> {
  const candidates = options.splitsFolder
    ? [options.splitsFolder]
    : [join(root, 'splits'), join(root, 'dataset', 'splits'), root]
  for (const folder of candidates) if (await exists(join(folder, 'train.json'))) return folder
  throw new UserError(`${join(candidates[0], 'train.json')}: the split files of ff++ are missing`, {
    fix: 'copy dataset/splits/{train,val,test}.json of github.com/ondyari/FaceForensics into splits/ beside the videos',
  })
}

async function readSplits(folder: string): Promise<Splits> {
  const splits: Splits = { ofReal: new Map(), ofFake: new Map() }
  for (const split of ['train', 'val', 'test'] as const) {
    const path = join(folder, `${split}.json`)
    const fix =
      'each split file is a JSON list of pairs of strings, as in dataset/splits of the FaceForensics repository'
    const pairs = parseJson(await readText(path, 'the split file of ff++', fix), path)
    if (!Array.isArray(pairs)) throw new UserError(`${path}: not a list of pairs`, { fix })
    pairs.forEach((pair, i) => {
      // Numbers would have lost their leading zeros: 3 is not the video 003.
      if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((id) => typeof id === 'string'))
        throw new UserError(`${path}: item ${i} is ${JSON.stringify(pair)}, not a pair of strings`, { fix })
      const [a, b] = pair as [string, string]
      for (const id of [a, b]) {
        const other = splits.ofReal.get(id)
        if (other && other !== split) throw new UserError(`${path}: video ${id} is also in ${other}.json`, { fix })
        splits.ofReal.set(id, split)
      }
      splits.ofFake.set(`${a}_${b}`, split)
      splits.ofFake.set(`${b}_${a}`, split)
    })
  }
  return splits
}
