/** Scoring videos with a detector. */
export { listVideos, type ScoredFolder, type ScoreFolderOptions, type ScoreRow, scoreFolder } from './folder.ts'
export { verdictReport } from './report.ts'
export type * from './types.ts'
export { MARGIN, SINGLE_CLIP_MARGIN, scoreVideo } from './video.ts'
