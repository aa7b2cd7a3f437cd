/** Layers, parameters and checkpoints of modules. */
export * from './layers.ts'
export * from './parameter.ts'
export * from './transformer.ts'
