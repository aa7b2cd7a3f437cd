/** The DIP detector: configuration, model, losses. */

export * from './augment.ts'
export * from './classifier.ts'
export * from './config.ts'
export * from './dica.ts'
export * from './diffuse.ts'
export * from './encoder.ts'
export * from './idm.ts'
export * from './losses.ts'
export * from './model.ts'
export { nearestName } from './nearest.ts'
export * from './pooling.ts'
export * from './saliency.ts'
