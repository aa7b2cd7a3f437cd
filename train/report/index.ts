/** Self-contained HTML reports, charts and images. */
export * from './charts.ts'
export { escapeHtml, renderReport } from './html.ts'
export * from './images.ts'
export { REHEARSAL, trainingReport } from './training.ts'
export * from './types.ts'
export { videoReport } from './video.ts'
