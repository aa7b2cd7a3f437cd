/** Preprocessing: from video files to face clips, cached. */
export { cacheFile, readCache, writeCache } from './cache.ts'
export { clipFrames, frameIndices, motionOf } from './clip.ts'
export {
  type PrepareDatasetOptions,
  type PreparedDataset,
  type PreparedEntry,
  type PrepareEachOptions,
  type PrepareEntry,
  type PrepareFailure,
  type PrepareProgress,
  type PrepareResult,
  prepareDataset,
  prepareEach,
} from './dataset.ts'
export { type LoadOptions, loadVideo } from './load.ts'
export { analyse, prepareVideo } from './prepare.ts'
export { DEFAULTS, type PrepareSettings, settingsKey, settingsOf } from './settings.ts'
export { hashFile, hashVideo } from './source.ts'
export type * from './types.ts'
