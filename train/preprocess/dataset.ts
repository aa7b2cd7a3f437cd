/**
 * Many videos: what is cached is read, the rest is prepared, and ffmpeg decodes the next video while the detector and the
 * crops of the present one run. What fails is listed with its reason.
 */
import type { VideoEntry } from '../data/types.ts'
import type { FaceNetwork } from '../faces/index.ts'
import { VideoError } from '../video/index.ts'
import { cacheFile, readCache, writeCache } from './cache.ts'
import { type Loaded, loadVideo } from './load.ts'
import { analyse } from './prepare.ts'
import { type PrepareSettings, settingsKey, settingsOf } from './settings.ts'
import { hashVideo, openSource } from './source.ts'
import type { PreparedVideo } from './types.ts'

export interface PrepareFailure {
  path: string
  /** A VideoFault or an Inconclusive reason. */
  reason: string
  message: string
  /** The video can be read, but not judged. */
  inconclusive: boolean
}

export interface PrepareProgress {
  done: number
  total: number
  path: string
  /** Read from the cache. */
  cached: boolean
  failure?: PrepareFailure
}

export interface PrepareEachOptions {
  /** Without one nothing is kept on disk. */
  cacheDir?: string
  /** Opened when the first video needs it: a run that finds everything cached needs no device. */
  network: () => Promise<FaceNetwork>
  signal?: AbortSignal
}

export interface PrepareDatasetOptions extends PrepareEachOptions {
  cacheDir: string
  onProgress?: (progress: PrepareProgress) => void
}

/** A video whose crops lie in the cache; `load` reads them. */
export interface PreparedEntry<E> {
  entry: E
  sha256: string
  /** The file in the cache. */
  file: string
  clips: number
  /** @throws Error where the file is gone since */
  load(): Promise<PreparedVideo>
}

export interface PreparedDataset<E> {
  /** In the order of the entries. */
  videos: PreparedEntry<E>[]
  failures: PrepareFailure[]
  /** Videos that had been prepared before. */
  cached: number
}

export type PrepareEntry = Pick<VideoEntry, 'path'> & Partial<Pick<VideoEntry, 'dataset' | 'sha256'>>

export type PrepareResult<E> = { entry: E; cached: boolean } & (
  | { video: PreparedVideo; error?: undefined }
  | { video?: undefined; error: VideoError }
)

/** Prepares every entry; an interrupted run goes on where it was. Rejects when the signal aborts, or a disk is full. */
export async function prepareDataset<E extends PrepareEntry>(
  entries: readonly E[],
  settings: Partial<PrepareSettings>,
  options: PrepareDatasetOptions,
): Promise<PreparedDataset<E>> {
  const { cacheDir, onProgress } = options
  const result: PreparedDataset<E> = { videos: [], failures: [], cached: 0 }
  let done = 0
  for await (const { entry, video, error, cached } of prepareEach(entries, settings, options)) {
    if (cached) result.cached++
    const failure = error
      ? failed(entry.path, error)
      : video.inconclusive && inconclusive(entry.path, video.inconclusive)
    if (failure) result.failures.push(failure)
    else result.videos.push(prepared(entry, video!, cacheDir))
    onProgress?.({ done: ++done, total: entries.length, path: entry.path, cached, ...(failure && { failure }) })
  }
  return result
}

/** The videos one after another, in order; one ahead is decoded. A video that fails is yielded with its error. */
export async function* prepareEach<E extends PrepareEntry>(
  entries: readonly E[],
  given: Partial<PrepareSettings>,
  { cacheDir, network, signal }: PrepareEachOptions,
): AsyncGenerator<PrepareResult<E>> {
  let faces: Promise<FaceNetwork> | undefined
  let ahead: Promise<Begun> | undefined
  try {
    for (const [i, entry] of entries.entries()) {
      signal?.throwIfAborted()
      const begun = await (ahead ?? begin(entry))
      ahead = i + 1 < entries.length ? begin(entries[i + 1]) : undefined
      // A later failure of what runs ahead is met when its turn comes.
      ahead?.catch(() => {})
      if (begun.error) yield { entry, error: begun.error, cached: false }
      else if (begun.video) yield { entry, video: begun.video, cached: true }
      else yield { entry, cached: false, ...(await finish(begun)) }
    }
  } finally {
    const begun = await ahead?.catch(() => undefined)
    if (begun?.loaded) await begun.loaded.source.close()
  }

  /** The first half of a video: cache or decoder. Faults of the video are returned. */
  async function begin(entry: E): Promise<Begun> {
    const settings = settingsOf({ ...given, cropped: given.cropped ?? entry.dataset === 'wdf' })
    try {
      const sha256 = entry.sha256 ?? (await hashed(entry.path, signal))
      const video = cacheDir && (await readCache(cacheDir, entry.path, sha256, settingsKey(settings)))
      if (video) return { settings, video }
      return { settings, loaded: await loadVideo(entry.path, settings, { signal, sha256 }) }
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof VideoError) return { settings, error }
      throw error
    }
  }

  /** The second half: faces, crops, and the file in the cache. */
  async function finish({ loaded, settings }: Begun): Promise<{ video: PreparedVideo } | { error: VideoError }> {
    try {
      faces ??= network()
      const video = await analyse(loaded!, settings, await faces, signal)
      if (cacheDir) await writeCache(cacheDir, video)
      return { video }
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof VideoError) return { error }
      throw error
    } finally {
      await loaded!.source.close()
    }
  }
}

interface Begun {
  settings: PrepareSettings
  video?: PreparedVideo
  loaded?: Loaded
  error?: VideoError
}

async function hashed(path: string, signal?: AbortSignal): Promise<string> {
  const source = await openSource(path)
  try {
    return await hashVideo(source.local, signal)
  } finally {
    await source.close()
  }
}

function prepared<E>(entry: E, video: PreparedVideo, cacheDir: string): PreparedEntry<E> {
  const { path, sha256, settingsKey: key, clips } = video
  const load = async () => {
    const found = await readCache(cacheDir, path, sha256, key)
    if (!found) throw new Error(`${path}: its crops are gone from ${cacheDir}; prepare the data set again`)
    return found
  }
  return { entry, sha256, file: cacheFile(cacheDir, sha256, key), clips: clips.length, load }
}

const failed = (path: string, { reason, message }: VideoError): PrepareFailure => ({
  path,
  reason,
  message,
  inconclusive: false,
})

const inconclusive = (
  path: string,
  { reason, detail }: NonNullable<PreparedVideo['inconclusive']>,
): PrepareFailure => ({
  path,
  reason,
  message: detail,
  inconclusive: true,
})
