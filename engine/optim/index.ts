/** Optimisers over flat parameter storage. */
export * from './adamw.ts'
export * from './scaler.ts'
