/** Layers, parameters and checkpoints of modules. */
export * from './layers.ts'
export * from './parameter.ts'
