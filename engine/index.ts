/** The tensor engine: lazy tensors with gradients, planned and run on WebGPU. */

export { autocast } from './autocast.ts'
export * from './autodiff.ts'
export { gradNodes } from './autograd.ts'
export { checkpoint } from './checkpoint.ts'
export { compile } from './compile.ts'
export * from './create.ts'
export {
  type ExplainedBuffer,
  type ExplainedDispatch,
  type ExplainedTotals,
  Explanation,
  explain,
} from './debug/explain.ts'
export {
  checkNumerics,
  type NumericsFault,
  type NumericsOptions,
  NumericsReport,
  type ValueSummary,
} from './debug/numerics.ts'
export { wgslOf } from './debug/wgsl.ts'
export { type DefinedOp, defineOp, type OpDefinition, type OpDefinitionOfMany } from './define.ts'
export { type AdapterDescription, type AdapterKind, describeAdapter, type OpenOptions } from './device/adapter.ts'
export * from './device/errors.ts'
export { neighbourAffinities, walkDistances } from './diffusion.ts'
export type { DType, HostArray } from './dtype.ts'
export * from './functional.ts'
export { GradcheckError, type GradcheckOptions, gradcheck, gradgradcheck } from './gradcheck.ts'
export { recordOrigins } from './graph.ts'
export * as nn from './nn/index.ts'
export * as optim from './optim/index.ts'
export type { Ceilings } from './profile/ceilings.ts'
export { ceilings } from './profile/ceilings.ts'
export { type ProfileOptions, profile } from './profile/profile.ts'
export { type Dispatch, Profile, type ProfileRow, type Submit } from './profile/report.ts'
export { Generator, HostRandom, philox } from './random.ts'
export { currentDevice, getDevice, openDevice, reopenDevice, useDevice } from './runtime/current.ts'
export { Device, type HostData } from './runtime/device.ts'
export { formatShape, numel, type Shape, ShapeError, sameShape } from './shape.ts'
export { matrixPower, type SpectralFunction, spectral, spectralPower } from './spectral.ts'
export * from './tensor.ts'
export { type Choice, TuningFormatError } from './tuner/choices.ts'
export type { Confirmation } from './tuner/confirm.ts'
export type { Clock } from './tuner/trial.ts'
export { type Tuned, type TuneOptions, type TuneReport, Tuner } from './tuner/tuner.ts'
export { fastestWay } from './tuner/way.ts'
