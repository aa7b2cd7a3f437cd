/**
 * How a row names its contestants: `diptych(fn)`, `tfjs(fn)`, `jax(fn)`, `onnx(build)`, each given the inputs as that library's
 * own values. `custom` leaves everything to the caller. Peers are not installed when types are checked: their objects are `any`.
 */
import type { Contestant, Inputs, LibraryName, Prepared } from './contract.ts'
import type { DiptychLibrary, Tensors } from './libraries/diptych.ts'
import type { OnnxGraph } from './peers/onnx.ts'

type Named = Readonly<Record<string, any>>

export const custom = (
  library: LibraryName,
  prepare: (library: any, inputs: Inputs) => Promise<Prepared>,
  variant?: string,
): Contestant => ({ library, prepare, ...(variant && { variant }) })

/** `view` arranges results as the reference has them, for the check alone: it is not timed. */
export const diptych = (
  fn: (x: Tensors) => Tensors,
  { variant, view }: { variant?: string; view?: (y: Tensors) => Tensors } = {},
): Contestant => custom('diptych', (library: DiptychLibrary, inputs) => library.op(inputs, fn, view), variant)

/** fn(tf, x): eager. */
export const tfjs = (fn: (tf: any, x: Named) => Named, view?: (tf: any, y: Named) => Named): Contestant =>
  custom('tfjs', (library, inputs) => library.op(inputs, fn, view))

/** fn(jax, x), compiled by jax.jit; values are moved unless `.ref` is taken. `jit: false` where a function cannot be. */
export const jax = (
  fn: (jax: any, x: Named) => Named,
  { jit = true, view }: { jit?: boolean; view?: (jax: any, y: Named) => Named } = {},
): Contestant => custom('jax-js', (library, inputs) => library.op(inputs, fn, jit, view))

/** The model that `build` makes of the declared inputs, in onnxruntime-web and in onnxruntime-node. */
export const onnx = (build: (graph: OnnxGraph, inputs: Inputs) => void, variant?: string): readonly Contestant[] =>
  (['ort-web', 'ort-node'] as const).map((library) =>
    custom(library, (opened, inputs) => opened.model(inputs, build), variant),
  )
