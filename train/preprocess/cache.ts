/**
 * Prepared videos on disk, one safetensors file each: the tensor `clips` (uint8 [clips, length, size, size, 3]) and the record
 * as JSON in the metadata. Named by the sha256 of the video and the key of the settings, so that a video that moves is
 * found again and one that changes is not. Written under another name and renamed: a killed run leaves no half file.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseSafetensors, writeSafetensors } from '../../engine/safetensors.ts'
import { writeAtomically } from '../training/files.ts'
import type { PreparedRecord, PreparedVideo } from './types.ts'

export const cacheFile = (cacheDir: string, sha256: string, settingsKey: string): string =>
  join(cacheDir, sha256.slice(0, 2), `${sha256}-${settingsKey}.safetensors`)

/** The cached crops of a video; undefined where there are none, or where their file is damaged (it is removed then). */
export async function readCache(
  cacheDir: string,
  path: string,
  sha256: string,
  settingsKey: string,
): Promise<PreparedVideo | undefined> {
  const file = cacheFile(cacheDir, sha256, settingsKey)
  let bytes: Uint8Array
  try {
    bytes = await readFile(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const { metadata, tensors } = parseSafetensors(bytes, { file })
    const record = JSON.parse(metadata.record) as PreparedRecord
    const clips = tensors.get('clips')
    const shape = [record.clips.length, record.length, record.size, record.size, 3]
    if (record.sha256 !== sha256 || record.settingsKey !== settingsKey || clips?.shape.join() !== shape.join())
      throw new Error('it holds something else than its name says')
    return { ...record, path, data: clips.data as Uint8Array }
  } catch {
    await rm(file, { force: true })
    return undefined
  }
}

export async function writeCache(cacheDir: string, video: PreparedVideo): Promise<void> {
  const { path: _, data, ...record } = video
  const file = cacheFile(cacheDir, video.sha256, video.settingsKey)
  const shape = [record.clips.length, record.length, record.size, record.size, 3]
  const bytes = writeSafetensors({ clips: { dtype: 'U8', shape, data } }, { record: JSON.stringify(record) })
  await writeAtomically(file, bytes)
}
