/**
 * Every primitive op and its attributes. Adding a name here makes the compiler ask for its shape rule (`shapes.ts`), its
 * gradient (`vjps.ts`) and its lowering (`lowerings.ts`): none of the three tables may miss one.
 */
import type { DType } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { Shape } from '../shape.ts'
import type { CustomAttrs, CustomOp } from './custom.ts'

type None = Record<string, never>

export const unaryOps = [
  'neg',
  'abs',
  'sign',
  'floor',
  'ceil',
  'round',
  'exp',
  'log',
  'sqrt',
  'rsqrt',
  'reciprocal',
  'sin',
  'cos',
  'tanh',
  'erf',
  'sigmoid',
  'softplus',
  'logicalNot',
  'isNan',
  'isFinite',
] as const
export const binaryOps = [
  'add',
  'sub',
  'mul',
  'div',
  'pow',
  'mod',
  'maximum',
  'minimum',
  'less',
  'lessEqual',
  'greater',
  'greaterEqual',
  'equal',
  'notEqual',
  'logicalAnd',
  'logicalOr',
] as const
export const reduceOps = ['sum', 'max', 'min', 'prod'] as const

export type UnaryOp = (typeof unaryOps)[number]
export type BinaryOp = (typeof binaryOps)[number]
export type ReduceOp = (typeof reduceOps)[number]

/** Per axis: first index, step (negative to flip) and count. */
export interface SliceAttrs {
  readonly starts: readonly number[]
  readonly steps: readonly number[]
  readonly sizes: readonly number[]
}

export interface Conv2dAttrs {
  readonly stride: readonly [number, number]
  /** top, left, bottom, right */
  readonly padding: readonly [number, number, number, number]
  readonly dilation: readonly [number, number]
  readonly groups: number
}

export interface AttentionAttrs {
  readonly scale: number
  readonly causal: boolean
  readonly hasBias: boolean
  readonly hasMask: boolean
}

/** Windows along `axes`: `sizes` elements `dilations` apart, a new one every `strides`. */
export interface WindowsAttrs {
  readonly axes: readonly number[]
  readonly sizes: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
}

interface OtherAttrs {
  /** A value that already exists, on the device or in host memory. */
  leaf: None
  constant: { value: number }
  /** Index along the last axis of a rank-1 shape: 0, 1, 2, … */
  iota: None
  /** 32 random bits per element from Philox 4×32-10; input: u32[4] = (key 0, key 1, stream, 0). */
  randomBits: None
  cast: { to: DType }
  bitcast: { to: DType }
  where: None
  /** Same value; no gradient flows. */
  detach: None
  /** Value of input 0; its gradient goes through `vjp` to the further inputs, which the value does not read. */
  withGradient: { vjp: (dy: Node, all: readonly (Node | undefined)[]) => readonly (Node | undefined)[] }
  /** Value of input 0. What is computed from it is computed after input 1, and apart from what is computed from input 0 itself. */
  after: None
  /** Same value, held in a buffer of its own: cuts fusion. */
  contiguous: None

  reshape: { shape: Shape }
  permute: { axes: readonly number[] }
  expand: { shape: Shape }
  slice: SliceAttrs
  pad: { before: readonly number[]; after: readonly number[]; value: number }
  /** View: [… d …] → [… count …, size…]; the windows' own axes stand last, in the order of `axes`. */
  windows: WindowsAttrs
  /** Transpose of windows: adds every window back to where it was cut from, in axes of `lengths`. */
  fold: {
    axes: readonly number[]
    lengths: readonly number[]
    strides: readonly number[]
    dilations: readonly number[]
  }
  concat: { axis: number }
  /** out[…i…] = x[…index[…i…]…]: picks along `axis`; index is broadcast against the other axes of the output. */
  gather: { axis: number }
  /** Inverse of gather: adds x's entries into zeros of `size` along `axis`. */
  scatterAdd: { axis: number; size: number }

  cumsum: { axis: number }
  argmax: { axis: number }
  /** Stable ascending (or descending) order along the last axis: outputs values and i32 indices. */
  sort: { descending: boolean }

  matmul: None
  softmax: { log: boolean }
  softmaxGrad: { log: boolean }
  layerNorm: { epsilon: number }
  layerNormGradInput: { epsilon: number }
  layerNormGradParams: { epsilon: number }
  attention: AttentionAttrs
  attentionDelta: None
  attentionGradQuery: AttentionAttrs
  attentionGradKeyValue: AttentionAttrs
  attentionGradBias: AttentionAttrs
  conv2d: Conv2dAttrs
  conv2dGradInput: Conv2dAttrs & { inputShape: Shape }
  conv2dGradWeight: Conv2dAttrs & { weightShape: Shape }
  /** x [N, C, H, W] sampled bilinearly where matrices [N, 2, 3] send the pixels of [N, C, height, width]. */
  affineWarp: { height: number; width: number }
  affineWarpGradInput: { height: number; width: number }
  /** Gradient of the source points in pixels, [N, OH, OW, 2]. */
  affineWarpGradPosition: None
  directionalPool: { mode: 'mean' | 'max'; side: number }
  directionalPoolGrad: { mode: 'mean' | 'max'; side: number; frames: number }
  /** W and exponents of neighbouring nodes from features [B, 2L, E] and ln μ; neighbours are at most `half` positions apart. */
  affinities: { half: number }
  affinitiesGrad: { half: number }
  /** Squared diffusion distances after `steps` of the walk on symmetric W [B, n, n], and the walk's transient part at that power. */
  diffusion: { steps: number }
  diffusionGrad: { steps: number }
  /** Symmetric eigendecomposition: values ascending, vectors in columns, info (sweeps, residual). */
  eigh: None

  custom: { op: CustomOp; attrs: CustomAttrs }
  /** Output `index` of a kernel with several. */
  pick: { index: number }
  /** Several tensors laid into one flat buffer at element offsets. */
  pack: { offsets: readonly number[]; total: number }
  /** Writes input 1 into the storage of input 0, after everything that reads its old value. */
  assign: None
  /** AdamW over flat storage, in place: see kernels/optimizer. */
  adamw: None
}

export type OpAttrs = { [K in UnaryOp | BinaryOp]: None } & {
  [K in ReduceOp]: { axes: readonly number[] }
} & OtherAttrs
export type OpName = keyof OpAttrs
