/** Lowering of the ops that are kernels of their own: from operands in memory to launches. */
import { attentionVariants } from '../../kernels/attention/attention.ts'
import { attentionBackwardPrograms } from '../../kernels/attention/gradients.ts'
import {
  type Conv2dProblem,
  conv2dBackwardInputVariants,
  conv2dBackwardWeightVariants,
  conv2dVariants,
} from '../../kernels/conv2d/conv2d.ts'
import { jacobiNeedsWork, jacobiVariants } from '../../kernels/jacobi/jacobi.ts'
import type { Capabilities, Epilogue, Program, Variant } from '../../kernels/kernel.ts'
import { layerNormBackwardInputVariants, layerNormBackwardParamsVariants } from '../../kernels/layernorm/backward.ts'
import { layerNormVariants } from '../../kernels/layernorm/layernorm.ts'
import { type MatmulOperand, type MatmulProblem, matmulVariants } from '../../kernels/matmul/matmul.ts'
import { adamwVariants } from '../../kernels/optimizer/adamw.ts'
import { directionalPoolBackwardVariants, directionalPoolVariants } from '../../kernels/pooling/directional.ts'
import { softmaxBackwardVariants, softmaxVariants } from '../../kernels/softmax/softmax.ts'
import type { DType } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { AttentionAttrs, Conv2dAttrs, OpName } from '../ops/names.ts'
import { numel, type Shape } from '../shape.ts'
import { attentionProblem, backwardArgs, deltaProblem, extras } from './attention.ts'
import { batchStrides, mergeBatch, strideOf } from './batch.ts'
import { type Arg, floatOf, floatType, ins, type Lowering, type LoweringContext, outs } from './calls.ts'
import { graphLowerings } from './graphs.ts'
import { lineLowerings } from './lines.ts'
import type { Operand } from './views.ts'

export type { Call, LoweringContext, Written } from './calls.ts'

/** Ops whose outputs may be written through strides, the last axis dense. */
export const writesStrided = (node: Node): boolean =>
  node.op === 'attentionGradQuery' || node.op === 'attentionGradKeyValue'

/** The program for a problem: `problem` holds all that can decide which variant is fastest, dtypes included. */
const pick = <P extends object>(
  context: LoweringContext,
  kernel: string,
  variants: (problem: P, caps: Capabilities) => Variant[],
  problem: P,
): Program => context.choose(kernel, variants(problem, context.caps), problem)

const rowsOf = (shape: Shape) => ({ rows: numel(shape.slice(0, -1)), width: shape[shape.length - 1]! })

/** What a kernel's results pass through before they are stored. */
interface TailOptions {
  readonly epilogue: Epilogue
  readonly swapped: boolean
  /** Of what is stored. */
  readonly dtype: DType
}

/** The product of a and b, or its transpose bᵀ·aᵀ when `swapped`. */
export function lowerMatmul(
  node: Node,
  operands: readonly Operand[],
  context: LoweringContext,
  { epilogue, swapped = false, dtype = node.dtype }: Partial<TailOptions> = {},
): Program {
  const rank = node.shape.length
  const transposed = (o: Operand): Operand => ({
    ...o,
    shape: [...o.shape.slice(0, -2), o.shape[rank - 1]!, o.shape[rank - 2]!],
    strides: [...o.strides.slice(0, -2), o.strides[rank - 1]!, o.strides[rank - 2]!],
  })
  const [a, b] = swapped ? [transposed(operands[1]!), transposed(operands[0]!)] : operands
  const merged = mergeBatch(node.shape.slice(0, -2), [batchStrides(a!, rank - 2), batchStrides(b!, rank - 2)])
  const operand = (o: Operand, strides: number[]): MatmulOperand => {
    const [rowCount, colCount] = [o.shape[rank - 2]!, o.shape[rank - 1]!]
    // An axis of one element takes the stride that makes its matrix look contiguous.
    const colStride = colCount === 1 ? (rowCount > 1 && o.strides[rank - 2] === 1 ? rowCount : 1) : o.strides[rank - 1]!
    return {
      batchStrides: strides,
      rowStride: strideOf(o, rank - 2, colStride === 1 ? colCount : 1),
      colStride,
      offset: o.offset,
      type: floatOf(o),
    }
  }
  const problem: MatmulProblem = {
    batch: merged.batch,
    m: node.shape[rank - (swapped ? 1 : 2)]!,
    n: node.shape[rank - (swapped ? 2 : 1)]!,
    k: a!.shape[rank - 1]!,
    a: operand(a!, merged.strides[0]!),
    b: operand(b!, merged.strides[1]!),
    output: floatType(dtype),
    ...(epilogue ? { epilogue } : {}),
  }
  return pick(context, 'matmul', matmulVariants, problem)
}

function convProblem(
  x: Shape,
  w: Shape,
  attrs: Conv2dAttrs,
  types: NonNullable<Conv2dProblem['types']>,
): Conv2dProblem {
  return {
    n: x[0]!,
    c: x[1]!,
    h: x[2]!,
    w: x[3]!,
    o: w[0]!,
    kh: w[2]!,
    kw: w[3]!,
    stride: attrs.stride,
    padding: attrs.padding,
    dilation: attrs.dilation,
    groups: attrs.groups,
    bias: types.bias !== undefined,
    activation: 'none',
    types,
  }
}

const lowerLayerNormGradInput = (
  node: Node,
  [x, , dy]: readonly Operand[],
  context: LoweringContext,
  { epilogue, dtype = node.dtype }: Partial<TailOptions> = {},
): Program =>
  pick(context, 'layerNormGradInput', layerNormBackwardInputVariants, {
    ...rowsOf(node.shape),
    input: floatOf(x!),
    gradient: floatOf(dy!),
    output: floatType(dtype),
    epilogue,
  })

/** A kernel's one launch with a tail; its arguments are the operands (those of a transpose in reverse), the tail's, and the output. */
export const lowerWithTail = (
  node: Node,
  operands: readonly Operand[],
  context: LoweringContext,
  tail: TailOptions,
): Program =>
  node.op === 'matmul'
    ? lowerMatmul(node, operands, context, tail)
    : lowerLayerNormGradInput(node, operands, context, tail)

export const kernelLowerings = {
  softmax: (node, [x], c) => [
    {
      program: pick(c, 'softmax', softmaxVariants, {
        ...rowsOf(node.shape),
        log: node.attrs.log,
        input: floatOf(x!),
        output: floatType(node.dtype),
      }),
      args: [...ins(0), ...outs(0)],
    },
  ],
  softmaxGrad: (node, [y], c) => [
    {
      program: pick(c, 'softmaxGrad', softmaxBackwardVariants, {
        ...rowsOf(node.shape),
        log: node.attrs.log,
        input: floatOf(y!),
        output: floatType(node.dtype),
      }),
      args: [...ins(0, 1), ...outs(0)],
    },
  ],
  layerNorm: (node, [x], c) => [
    {
      program: pick(c, 'layerNorm', layerNormVariants, {
        ...rowsOf(node.shape),
        epsilon: node.attrs.epsilon,
        input: floatOf(x!),
        output: floatType(node.dtype),
      }),
      args: [...ins(0, 1, 2), ...outs(0, 1, 2)],
    },
  ],
  layerNormGradInput: (node, operands, c) => [
    {
      program: lowerLayerNormGradInput(node, operands, c),
      args: [...ins(0, 1, 2, 3, 4), ...outs(0)],
    },
  ],
  layerNormGradParams: (_, [x, dy], c) => [
    {
      program: pick(c, 'layerNormGradParams', layerNormBackwardParamsVariants, {
        ...rowsOf(x!.shape),
        input: floatOf(x!),
        gradient: floatOf(dy!),
      }),
      args: [...ins(0, 1, 2, 3), ...outs(0, 1)],
    },
  ],
  attention: (node, operands, c) => [
    {
      program: pick(c, 'attention', attentionVariants, attentionProblem(node, operands)),
      args: [...ins(0, 1, 2, ...extras(node.attrs)), ...outs(0, 1)],
    },
  ],
  attentionDelta: (_, [o, dout], c) => [
    {
      program: pick(
        c,
        'attentionDelta',
        (p, caps) => attentionBackwardPrograms(p, caps).delta,
        deltaProblem(o!, dout!),
      ),
      args: [...ins(0, 1), ...outs(0)],
    },
  ],
  attentionGradQuery: (node, operands, c) => [
    {
      program: pick(
        c,
        'attentionGradQuery',
        (p, caps) => attentionBackwardPrograms(p, caps).dq,
        attentionProblem(node, operands, { dq: c.places?.[0] }),
      ),
      args: [...backwardArgs(node.attrs), ...outs(0)],
    },
  ],
  attentionGradKeyValue: (node, operands, c) => {
    const [dk, dv] = c.places ?? []
    // A contiguous output beside a placed one keeps a buffer of its own.
    const problem = attentionProblem(node, operands, { dk, dv })
    return [
      {
        program: pick(c, 'attentionGradKeyValue', (p, caps) => attentionBackwardPrograms(p, caps).dkv, problem),
        args: [...backwardArgs(node.attrs), ...(problem.dkdvTogether ? outs(0) : outs(0, 1))],
      },
    ]
  },
  attentionGradBias: (node, operands, c) => [
    {
      program: pick(
        c,
        'attentionGradBias',
        (p, caps) => attentionBackwardPrograms(p, caps).dbias,
        attentionProblem(node, operands),
      ),
      args: [...backwardArgs(node.attrs), ...outs(0)],
    },
  ],
  conv2d: (node, [x, w, bias], c) => [
    {
      program: pick(
        c,
        'conv2d',
        conv2dVariants,
        convProblem(x!.shape, w!.shape, node.attrs, {
          x: floatOf(x!),
          w: floatOf(w!),
          y: floatType(node.dtype),
          ...(bias ? { bias: floatOf(bias) } : {}),
        }),
      ),
      args: [...(bias ? ins(0, 1, 2) : ins(0, 1)), ...outs(0)],
    },
  ],
  conv2dGradInput: (node, [dy, w], c) => [
    {
      program: pick(
        c,
        'conv2dGradInput',
        conv2dBackwardInputVariants,
        convProblem(node.attrs.inputShape, w!.shape, node.attrs, {
          dy: floatOf(dy!),
          w: floatOf(w!),
          dx: floatType(node.dtype),
        }),
      ),
      args: [...ins(0, 1), ...outs(0)],
    },
  ],
  conv2dGradWeight: (node, [x, dy], c) => [
    {
      program: pick(
        c,
        'conv2dGradWeight',
        conv2dBackwardWeightVariants,
        convProblem(x!.shape, node.attrs.weightShape, node.attrs, {
          x: floatOf(x!),
          dy: floatOf(dy!),
          dw: floatType(node.dtype),
        }),
      ),
      args: [...ins(0, 1), ...outs(0)],
    },
  ],
  directionalPool: (node, [z], c) => {
    const [b, t, , e] = z!.shape as [number, number, number, number]
    const types = { tokens: floatOf(z!), pooled: floatType(node.dtype) }
    const problem = { b, t, l: node.attrs.side, e, mode: node.attrs.mode, ...types }
    const args = node.attrs.mode === 'max' ? outs(0, 1, 2, 3, 4) : outs(0, 1, 2)
    return [{ program: pick(c, 'directionalPool', directionalPoolVariants, problem), args: [...ins(0), ...args] }]
  },
  directionalPoolGrad: (node, [dzh], c) => {
    const [b, t, , e] = node.shape as [number, number, number, number]
    const types = { tokens: floatType(node.dtype), pooled: floatOf(dzh!) }
    const problem = { b, t, l: node.attrs.side, e, mode: node.attrs.mode, ...types }
    const args = node.attrs.mode === 'max' ? ins(0, 1, 2, 3, 4) : ins(0, 1, 2)
    return [
      {
        program: pick(c, 'directionalPoolGrad', directionalPoolBackwardVariants, problem),
        args: [...args, ...outs(0)],
      },
    ]
  },
  eigh: (_, [s], c) => {
    const n = s!.shape.at(-1)!
    const batch = numel(s!.shape.slice(0, -2))
    const temp: Arg[] = jacobiNeedsWork(n) ? [{ temp: 0, bytes: batch * n * n * 4 }] : []
    return [{ program: pick(c, 'eigh', jacobiVariants, { batch, n }), args: [...ins(0), ...outs(0, 1, 2), ...temp] }]
  },
  adamw: (node, _, c) => [
    {
      program: pick(c, 'adamw', adamwVariants, { count: numel(node.shape) }),
      args: [...outs(0, 1, 2), ...ins(3, 4, 5, 6)],
    },
  ],
  ...graphLowerings,
  ...lineLowerings,
} satisfies { [K in OpName]?: Lowering<K> }

/** Whether a kernel reads input `index` through these strides; what it does not is made contiguous first. */
export function acceptsStrides(kernel: Node, index: number, strides: readonly number[]): boolean {
  if (kernel.op === 'matmul') return true
  if (!kernel.op.startsWith('attention') || kernel.op === 'attentionDelta') return false
  const { hasBias, hasMask } = kernel.attrs as AttentionAttrs
  if (index >= 3 + Number(hasBias) + Number(hasMask)) return false
  // The last axis of q, k, v and of the bias must be dense.
  const isMask = index >= 3 + Number(hasBias)
  const { shape } = kernel.inputs[index]!
  // The gradient of the bias is laid out by its strides: one that repeats along an axis has a gradient that does not.
  if (kernel.op === 'attentionGradBias' && index === 3 && shape.some((d, i) => d > 1 && strides[i] === 0)) return false
  return isMask || shape.at(-1) === 1 || strides.at(-1) === 1
}
