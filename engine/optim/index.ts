/** Optimisers over flat parameter storage. */
export * from './adamw.ts'
