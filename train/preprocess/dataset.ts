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

export interface PrepareDatasetOptions {
  cacheDir: string
  /** Opened when the first video needs it: a run that finds everything cached needs no device. */
  network: () => Promise<FaceNetwork>
  onProgress?: (progress: PrepareProgress) => void
  signal?: AbortSignal
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

type Entry = Pick<VideoEntry, 'path'> & Partial<Pick<VideoEntry, 'dataset' | 'sha256'>>

/** Prepares every entry; an interrupted run goes on where it was. Rejects when the signal aborts, or a disk is full. */
export async function prepareDataset<E extends Entry>(
  entries: readonly E[],
  given: Partial<PrepareSettings>,
  { cacheDir, network, onProgress, signal }: PrepareDatasetOptions,
): Promise<PreparedDataset<E>> {
  const result: PreparedDataset<E> = { videos: [], failures: [], cached: 0 }
  let faces: Promise<FaceNetwork> | undefined
  let next = entries.length > 0 ? begin(entries[0]) : undefined
  for (const [i, entry] of entries.entries()) {
    const begun = await next!
    next = undefined
    // Aborted: what was begun is closed before the run ends.
    if (signal?.aborted) {
      if (begun.loaded) await begun.loaded.source.close()
      throw signal.reason
    }
    if (i + 1 < entries.length) next = begin(entries[i + 1])
    let failure = begun.failure
    let video = begun.video
    try {
      if (begun.loaded) {
        faces ??= network()
        video = await analyse(begun.loaded, begun.settings, await faces, signal)
        await writeCache(cacheDir, video)
      }
      if (video?.inconclusive) failure = inconclusive(entry.path, video.inconclusive)
    } catch (error) {
      if (signal?.aborted || !(error instanceof VideoError)) {
        await next?.then((other) => other.loaded?.source.close())
        throw signal?.aborted ? signal.reason : error
      }
      failure = failed(entry.path, error)
    }
    if (begun.video) result.cached++
    if (failure) result.failures.push(failure)
    else result.videos.push(prepared(entry, video!))
    onProgress?.({
      done: i + 1,
      total: entries.length,
      path: entry.path,
      cached: !!begun.video,
      ...(failure && { failure }),
    })
  }
  return result

  /** The first half of a video: cache or decoder. Never rejects for a fault of the video. */
  async function begin(entry: E): Promise<Begun> {
    const cropped = given.cropped ?? entry.dataset === 'wdf'
    const settings = settingsOf({ ...given, cropped })
    try {
      const sha256 = await hashed(entry, signal)
      const video = await readCache(cacheDir, entry.path, sha256, settingsKey(settings))
      if (video) return { settings, video }
      return { settings, loaded: await loadVideo(entry.path, settings, { signal, sha256 }) }
    } catch (error) {
      if (error instanceof VideoError) return { settings, failure: failed(entry.path, error) }
      if (signal?.aborted) return { settings }
      throw error
    }
  }

  function prepared(entry: E, { sha256, settingsKey: key, clips }: PreparedVideo): PreparedEntry<E> {
    const load = async () => {
      const video = await readCache(cacheDir, entry.path, sha256, key)
      if (!video) throw new Error(`${entry.path}: its crops are gone from ${cacheDir}; prepare the data set again`)
      return video
    }
    return { entry, sha256, file: cacheFile(cacheDir, sha256, key), clips: clips.length, load }
  }
}

interface Begun {
  settings: PrepareSettings
  video?: PreparedVideo
  loaded?: Loaded
  failure?: PrepareFailure
}

async function hashed(entry: Entry, signal?: AbortSignal): Promise<string> {
  if (entry.sha256) return entry.sha256
  const source = await openSource(entry.path)
  try {
    return await hashVideo(source.local, signal)
  } finally {
    await source.close()
  }
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
