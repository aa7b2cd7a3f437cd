/** Optimisers over flat parameter storage. */
export * from './adamw.ts'
export type { Gradients } from './gradients.ts'
export * from './scaler.ts'
export * from './sgd.ts'
