/**
 * 2-D convolution and its gradients; every array f32 or f16 in memory, sums f32.
 *
 *   x [N, C, H, W], w [O, C/groups, KH, KW], bias [O], y [N, O, OH, OW]
 *   y = act(bias + Σ w · x), cross-correlation as in every deep-learning library
 *
 * A 1×1 convolution with stride 1 is the same on [N, C, 1, H·W], which makes full tiles of columns.
 */
import type { Capabilities, Variant } from '../kernel.ts'
import { type DirectConvolution, directConvolution, directGrid } from './direct.ts'
import { backwardWeight, genericBackwardInput, genericForward } from './generic.ts'
import { type Conv2dProblem, type Conv2dShape, conv2dCost, conv2dShape } from './problem.ts'

export { type Conv2dProblem, type Conv2dShape, conv2dShape } from './problem.ts'

/**
 * Unrolled multiply-adds and loads a thread may have per input channel. Software adapters compile them to machine code at some 30 to
 * 60 ms each, GPUs' drivers in far less.
 */
const unrollLimit = ({ software }: Capabilities): number => (software ? 80 : 160)
const loadLimit = 64

/** Input values a thread of `rows` rows × 4 columns keeps: every row and column that some tap of it reads. */
function loadsOf({ kernel, stride, dilation }: DirectConvolution, rows: number): number {
  const span = (outputs: number, axis: number): number => {
    const at = Array.from(
      { length: outputs * kernel[axis]! },
      (_, i) => (i % outputs) * stride[axis]! + Math.floor(i / outputs) * dilation[axis]!,
    )
    return new Set(at).size
  }
  return span(rows, 0) * span(4, 1)
}

/** Tiles of the direct kernel, best guess first: [output channels, rows]. */
function directVariants(c: DirectConvolution, caps: Capabilities): Variant[] {
  const taps = c.kernel[0] * c.kernel[1]
  const sharesRows = c.kernel[0] > 1 && c.outHeight > 1
  const tiles: [number, number][] = c.outPerGroup === 1 && sharesRows ? [[1, 2], [1, 4], [1, 1]] : [[8, 1], [4, 1], [16, 1], [1, 1]] // biome-ignore format: a table
  const fitting = tiles.map(([channels, rows]): [number, number] => [Math.min(channels, c.outPerGroup), rows])
  const distinct = fitting.filter(([a, b], i) => fitting.findIndex(([x, y]) => x === a && y === b) === i)
  return distinct
    .filter(([channels, rows]) => channels * rows * taps <= unrollLimit(caps) && loadsOf(c, rows) <= loadLimit)
    .filter(([channels, rows]) => directGrid(c, caps, channels, rows).every((count) => count <= caps.maxGrid))
    .map(([channels, rows]) => ({
      name: `direct.${channels}x${rows}`,
      program: () => directConvolution(c, caps, channels, rows),
    }))
}

/** A pointwise convolution seen as one row of H·W columns. */
function flattened(c: DirectConvolution): DirectConvolution {
  const pointwise = c.kernel[0] * c.kernel[1] === 1 && c.stride[0] * c.stride[1] === 1 && c.inside
  if (!pointwise) return c
  const width = c.height * c.width
  return { ...c, label: `${c.label}.pointwise`, height: 1, width, outHeight: 1, outWidth: width }
}

function forwardDirect(s: Conv2dShape): DirectConvolution {
  const depthwise = s.inPerGroup === 1 && s.groups > 1
  return flattened({
    label: depthwise ? 'conv2d.depthwise' : 'conv2d.direct',
    arrays: { input: 'x', weight: 'w', output: 'y' },
    types: s.types,
    batch: s.batch,
    groups: s.groups,
    inPerGroup: s.inPerGroup,
    outPerGroup: s.outPerGroup,
    height: s.height,
    width: s.width,
    outHeight: s.outHeight,
    outWidth: s.outWidth,
    kernel: s.kernel,
    stride: s.stride,
    dilation: s.dilation,
    top: s.padding[0],
    left: s.padding[1],
    inside: s.padding.every((p) => p === 0),
    bias: s.bias,
    relu: s.activation === 'relu',
    transposed: false,
    cost: conv2dCost(s),
  })
}

/** With stride 1 the gradient is a convolution of dy with the weights transposed and their taps reversed. */
function backwardDirect(s: Conv2dShape): DirectConvolution {
  const pad = [0, 1].map((axis) => s.dilation[axis]! * (s.kernel[axis]! - 1) - s.padding[axis]!)
  return flattened({
    ...forwardDirect(s),
    label: 'conv2d.dx',
    arrays: { input: 'dy', weight: 'w', output: 'dx' },
    inPerGroup: s.outPerGroup,
    outPerGroup: s.inPerGroup,
    height: s.outHeight,
    width: s.outWidth,
    outHeight: s.height,
    outWidth: s.width,
    top: pad[0]!,
    left: pad[1]!,
    inside: s.kernel[0] * s.kernel[1] === 1 && s.padding.every((p) => p === 0),
    bias: false,
    relu: false,
    transposed: true,
    cost: conv2dCost(s, 'dx'),
  })
}

/** Bindings x, w, [bias], y. Best guess first. @throws RangeError for impossible sizes. */
export function conv2dVariants(problem: Conv2dProblem, caps: Capabilities): Variant[] {
  const s = conv2dShape(problem)
  return [...directVariants(forwardDirect(s), caps), { name: 'generic', program: () => genericForward(s, caps) }]
}

/** Gradient with respect to x. Bindings dy [N, O, OH, OW], w, dx [N, C, H, W]. `bias` and `activation` do not matter. */
export function conv2dBackwardInputVariants(problem: Conv2dProblem, caps: Capabilities): Variant[] {
  const s = conv2dShape(problem)
  const direct = s.stride[0] === 1 && s.stride[1] === 1 ? directVariants(backwardDirect(s), caps) : []
  return [...direct, { name: 'generic', program: () => genericBackwardInput(s, caps) }]
}

/** Gradient with respect to w. Bindings x, dy, dw [O, C/groups, KH, KW]. Sums in a fixed order: same input, same bits. */
export function conv2dBackwardWeightVariants(problem: Conv2dProblem, caps: Capabilities): Variant[] {
  const s = conv2dShape(problem)
  const tiles = [...new Set([4, 1].map((channels) => Math.min(channels, s.outPerGroup)))]
  return tiles.map((channels) => ({
    name: `pixels.${channels}`,
    program: () => backwardWeight(s, caps, channels),
  }))
}
