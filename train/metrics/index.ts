/** Metrics with intervals, thresholds and calibration. */
export * from './aggregate.ts'
export * from './bootstrap.ts'
export * from './calibration.ts'
export * from './evaluate.ts'
export * from './ranking.ts'
export * from './table.ts'
export * from './threshold.ts'
