/** Shape rules of the ops on graphs of neighbours. */
import { diffusionLimit } from '../../kernels/diffusion/diffusion.ts'
import { isFloat } from '../dtype.ts'
import type { OutputSpec } from '../graph.ts'
import { formatShape, ShapeError, sameShape } from '../shape.ts'

type Specs = readonly OutputSpec[]

const show = (s: OutputSpec) => `${s.dtype}${formatShape(s.shape)}`
const fail = (message: string): never => {
  throw new ShapeError(message)
}

function affinities([features, logMu]: Specs): OutputSpec[] {
  const [b, n] = features!.shape as [number, number]
  if (features!.shape.length !== 3 || n % 2 || n < 2 || features!.shape[2] === 0 || !isFloat(features!.dtype))
    fail(`affinities: features must be floats [B, 2L, E], got ${show(features!)}`)
  if (logMu!.shape.length || logMu!.dtype !== 'f32') fail(`affinities: log μ must be f32[], got ${show(logMu!)}`)
  const square: OutputSpec = { shape: [b, n, n], dtype: 'f32' }
  return [square, square].map((s) => ({ ...s }))
}

function diffusion([w]: Specs): OutputSpec[] {
  const [, n, m] = w!.shape
  if (w!.shape.length !== 3 || n !== m || !n || n > diffusionLimit || w!.dtype !== 'f32')
    fail(`diffusion: needs f32 [B, n, n], n at most ${diffusionLimit}, got ${show(w!)}`)
  return [
    { shape: w!.shape, dtype: 'f32' },
    { shape: w!.shape, dtype: 'f32' },
  ]
}

function like(op: string, x: OutputSpec, ...others: Specs): OutputSpec[] {
  for (const other of others)
    if (!sameShape(x.shape, other.shape)) fail(`${op}: operands must agree, got ${show(x)} and ${show(other)}`)
  return [{ shape: x.shape, dtype: x.dtype }]
}

export const graphShapes = {
  affinities,
  // inputs: features, log μ, W, dW
  affinitiesGrad: ([features, , w, dw]: Specs): OutputSpec[] => {
    like('affinitiesGrad', w!, dw!)
    return like('affinitiesGrad', features!)
  },
  diffusion,
  // inputs: W, Tᵗ, dDist
  diffusionGrad: ([w, power, gradient]: Specs): OutputSpec[] => like('diffusionGrad', w!, power!, gradient!),
}
