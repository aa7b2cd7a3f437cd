/** Lowering of the ops that run along lines or gather by place: running sums, order, scatter, windows, affine warp. */
import { foldProgram } from '../../kernels/pooling/fold.ts'
import { argmaxProgram, cumsumProgram, type ScanType, scatterAddProgram, sortProgram } from '../../kernels/scan/scan.ts'
import {
  type AffineWarpProblem,
  affineWarpGradInputProgram,
  affineWarpGradPositionProgram,
  affineWarpProgram,
} from '../../kernels/warp/affine.ts'
import type { Node } from '../graph.ts'
import type { OpName } from '../ops/names.ts'
import type { Shape } from '../shape.ts'
import { ins, type Lowering, outs } from './calls.ts'

/** Element type of the kernels in kernels/scan; their shape rules let no bool through. */
const scanType = (node: Node): ScanType => node.dtype as ScanType

const warpProblem = (x: Shape, y: Shape): AffineWarpProblem => ({
  n: x[0]!,
  c: x[1]!,
  h: x[2]!,
  w: x[3]!,
  oh: y[2]!,
  ow: y[3]!,
})

export const lineLowerings = {
  cumsum: (node, _, c) => [
    { program: cumsumProgram(node.shape, node.attrs.axis, c.caps, scanType(node)), args: [...ins(0), ...outs(0)] },
  ],
  argmax: (node, [x], c) => [
    {
      program: argmaxProgram(x!.shape, node.attrs.axis, c.caps, scanType(node.inputs[0]!)),
      args: [...ins(0), ...outs(0)],
    },
  ],
  sort: (node, _, c) => [
    {
      program: sortProgram(node.shape, node.attrs.descending, c.caps, scanType(node)),
      args: [...ins(0), ...outs(0, 1)],
    },
  ],
  scatterAdd: (node, [x, index], c) => [
    {
      program: scatterAddProgram(
        {
          input: x!.shape,
          index: index!.shape,
          axis: node.attrs.axis,
          size: node.attrs.size,
          signed: node.inputs[1]!.dtype === 'i32',
          type: scanType(node),
        },
        c.caps,
      ),
      args: [...ins(0, 1), ...outs(0)],
    },
  ],
  fold: (node, [x], c) => [
    { program: foldProgram({ input: x!.shape, ...node.attrs }, c.caps), args: [...ins(0), ...outs(0)] },
  ],
  affineWarp: (node, [x], c) => [
    { program: affineWarpProgram(warpProblem(x!.shape, node.shape), c.caps), args: [...ins(0, 1), ...outs(0)] },
  ],
  affineWarpGradInput: (node, [dy], c) => [
    {
      program: affineWarpGradInputProgram(warpProblem(node.shape, dy!.shape), c.caps),
      args: [...ins(0, 1), ...outs(0)],
    },
  ],
  affineWarpGradPosition: (_, [x, , dy], c) => [
    {
      program: affineWarpGradPositionProgram(warpProblem(x!.shape, dy!.shape), c.caps),
      args: [...ins(0, 1, 2), ...outs(0)],
    },
  ],
} satisfies { [K in OpName]?: Lowering<K> }
