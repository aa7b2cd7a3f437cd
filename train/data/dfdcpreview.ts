/**
 * DFDC preview (`dfdc-p`). Source: ai.meta.com/datasets/dfdc, arXiv:1910.08854.
 *
 *   dataset.json   { "method_A/….mp4": { label: "real" | "fake", set: "train" | "test", … } }, keys relative to the root
 *   original_videos/…   method_A/…   method_B/…
 *
 * The owners name the actors, not the original video of a forgery: the identity here is the person shown (`target_id`, or the
 * actor number that begins the file name), which reals and forgeries of one person share.
 */
import { join, posix } from 'node:path'
import { UserError } from '../cli/errors.ts'
import { exists, isVideo, listFolder, parseJson, readText, requireFolder, stem } from './files.ts'
import type { DatasetReader, DatasetScan, Split } from './types.ts'

const LAYOUT = 'dataset.json, original_videos/…, method_A/…, method_B/…'

interface PreviewRecord {
  label?: unknown
  set?: unknown
  target_id?: unknown
  swapped_id?: unknown
}

export const dfdcPreview: DatasetReader = {
  name: 'dfdc-p',
  title: 'DFDC preview',
  layout: LAYOUT,
  async read(root, options) {
    await requireFolder(root, 'DFDC preview', LAYOUT)
    const path = join(root, 'dataset.json')
    const fix = 'dataset.json comes with the preview: each key is a video, each value has label and set'
    const listed = parseJson(await readText(path, 'the list of DFDC preview', fix), path) as Record<
      string,
      PreviewRecord
    >
    const scan: DatasetScan = { entries: [], unreadable: [], notes: ['no validation split is published'] }
    for (const [name, record] of Object.entries(listed)) {
      const label = ['real', 'fake'].indexOf(String(record?.label).toLowerCase())
      const split = String(record?.set)
        .toLowerCase()
        .replace(/^validation$/, 'val')
      if (label < 0 || !['train', 'val', 'test'].includes(split))
        throw new UserError(`${path}: ${name} has label ${record?.label} and set ${record?.set}`, { fix })
      const method = posix.normalize(name).split('/')[0]
      if (label && options.methods && !options.methods.includes(method)) continue
      if (!(await exists(join(root, name)))) {
        scan.unreadable.push({ path: join(root, name), reason: 'listed in dataset.json but missing' })
        continue
      }
      const id = stem(name)
      scan.entries.push({
        dataset: 'dfdc-p',
        id,
        path: join(root, name),
        label: label as 0 | 1,
        method,
        compression: null,
        identity: text(record.target_id) ?? id.split('_')[0],
        partner: label ? text(record.swapped_id) : null,
        split: split as Split,
      })
    }
    await reportUnlisted(root, '', new Set(Object.keys(listed).map((name) => posix.normalize(name))), scan)
    return scan
  },
}

const text = (value: unknown): string | null =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : null

async function reportUnlisted(root: string, under: string, listed: Set<string>, scan: DatasetScan): Promise<void> {
  const { folders, files } = await listFolder(join(root, under))
  for (const name of files)
    if (isVideo(name) && !listed.has(posix.join(under, name)))
      scan.unreadable.push({ path: join(root, under, name), reason: 'not in dataset.json: no label' })
  for (const name of folders) await reportUnlisted(root, posix.join(under, name), listed, scan)
}
