/** WGSL kernels as (problem, capabilities) → programs, each with its plain float64 reference. */
export * from './attention/attention.ts'
export { type AttentionBackward, attentionBackwardPrograms } from './attention/gradients.ts'
export { attentionBackwardReference, attentionReference } from './attention/reference.ts'
export * from './ceiling/ceiling.ts'
export * from './conv2d/conv2d.ts'
export { conv2dBackwardInputReference, conv2dBackwardWeightReference, conv2dReference } from './conv2d/reference.ts'
export * from './diffusion/affinities.ts'
export * from './diffusion/diffusion.ts'
export {
  affinityBackwardReference,
  affinityReference,
  diffusionBackwardReference,
  diffusionReference,
} from './diffusion/reference.ts'
export * from './jacobi/jacobi.ts'
export { jacobiReference } from './jacobi/reference.ts'
export * from './kernel.ts'
export * from './layernorm/backward.ts'
export * from './layernorm/layernorm.ts'
export * from './matmul/matmul.ts'
export * from './optimizer/adamw.ts'
export * from './pooling/directional.ts'
export * from './pooling/fold.ts'
export { directionalPoolBackwardReference, directionalPoolReference } from './pooling/reference.ts'
export * from './scan/scan.ts'
export * from './softmax/softmax.ts'
export * from './warp/affine.ts'
export { affineWarpGradientReference, affineWarpReference } from './warp/reference.ts'
