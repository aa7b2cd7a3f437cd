/**
 * Direct convolution in registers: a thread computes `channels` output channels × `rows` rows × 4 adjacent columns.
 *
 *   y[n, o, r, c] = act(bias[o] + Σ_i Σ_kh Σ_kw w[o, i, kh, kw] · x[n, i, r·sh + kh·dh − top, c·sw + kw·dw − left])
 *
 * Workgroups: x over tiles of pixels, y over blocks of output channels (a block stays within its group), z over images.
 * Weights are the same address for a whole workgroup; input values are loaded once per input channel and used for every tap
 * and output channel. Taps are unrolled; sizes are uniforms. Rows and columns outside are clamped and the value dropped.
 *
 * RTX 3090 class (kernel.ts): with 3×3 taps and 8 channels an input channel costs 18 values, a pass each, and 72 weights, which all threads
 * share, for 288 multiply-adds of a subgroup: 90 passes against 72 clocks of arithmetic, so that L1 is the bound, at four fifths of the
 * peak. 16 channels change little, 162 against 144. 32 sums and 18 values leave room for 1000 threads a multiprocessor. Depthwise does
 * 9 multiply-adds for 8 bytes, 2 flops a byte: memory.
 */
import {
  type Capabilities,
  type Cost,
  ceilDiv,
  declareBindings,
  declareUniforms,
  type Program,
  packUniforms,
} from '../kernel.ts'
import { enableHalf, floatArray, floatFunctions } from '../storage.ts'
import type { Conv2dShape, ConvArray } from './problem.ts'

export interface DirectConvolution {
  readonly label: string
  readonly arrays: { readonly input: ConvArray; readonly weight: ConvArray; readonly output: ConvArray }
  readonly types: Conv2dShape['types']
  readonly batch: number
  readonly groups: number
  readonly inPerGroup: number
  readonly outPerGroup: number
  readonly height: number
  readonly width: number
  readonly outHeight: number
  readonly outWidth: number
  readonly kernel: readonly [number, number]
  readonly stride: readonly [number, number]
  readonly dilation: readonly [number, number]
  /** Zeros above and left; may be negative (rows or columns skipped). */
  readonly top: number
  readonly left: number
  /** No tap of any output falls outside the input. */
  readonly inside: boolean
  readonly bias: boolean
  readonly relu: boolean
  /** Weights are read [in, out] with taps reversed: the gradient with respect to the input. */
  readonly transposed: boolean
  readonly cost: Cost
}

const uniforms = {
  groups: 'u32',
  in_channels: 'u32',
  out_channels: 'u32',
  in_h: 'i32',
  in_w: 'i32',
  out_h: 'u32',
  out_w: 'u32',
} as const

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const unique = (list: number[]): number[] => [...new Set(list)].sort((a, b) => a - b)

const threadsOf = ({ software }: Capabilities): number => (software ? 8 : 64)

/** Workgroups over tiles of pixels, blocks of output channels, and images. */
export const directGrid = (
  c: DirectConvolution,
  caps: Capabilities,
  channels: number,
  rows: number,
): [number, number, number] => [
  ceilDiv(ceilDiv(c.outWidth, 4) * ceilDiv(c.outHeight, rows), threadsOf(caps)),
  c.groups * ceilDiv(c.outPerGroup, channels),
  c.batch,
]

/** `in_channels` and `out_channels` of the uniforms count per group. Bindings: input, weights, [bias], output. */
export function directConvolution(c: DirectConvolution, caps: Capabilities, channels: number, rows: number): Program {
  const threads = threadsOf(caps)
  const [kernelHeight, kernelWidth] = c.kernel
  const taps = kernelHeight * kernelWidth
  const vectorOut = c.outWidth % 4 === 0
  const vectorIn = c.inside && kernelWidth === 1 && c.stride[1] === 1 && c.width % 4 === 0 && c.width === c.outWidth
  const array = (name: ConvArray, vector: boolean, access: 'read' | 'read_write' = 'read') =>
    floatArray(name, caps, { type: c.types[name], vector, access })
  const input = array(c.arrays.input, vectorIn)
  const weight = array(c.arrays.weight, false)
  const bias = array('bias', false)
  const output = array(c.arrays.output, vectorOut, 'read_write')
  const arrays = [input, weight, ...(c.bias ? [bias] : []), output]
  const bindings = arrays.map((a) => a.binding)
  const outs = range(channels)
  const rowOffsets = unique(
    range(rows).flatMap((r) => range(kernelHeight).map((k) => r * c.stride[0] + k * c.dilation[0])),
  )
  const columnOffsets = unique(
    range(4).flatMap((j) => range(kernelWidth).map((k) => j * c.stride[1] + k * c.dilation[1])),
  )
  const block = (indent: number, lines: string[]): string => lines.map((l) => ' '.repeat(indent) + l).join('\n')

  const setup = [
    ...rowOffsets.flatMap((y) => [
      `let y_${y} = i32(row) * ${c.stride[0]} + ${y - c.top};`,
      `let line_${y} = u32(clamp(y_${y}, 0, u.in_h - 1) * u.in_w);`,
    ]),
    ...columnOffsets.flatMap((x) => [
      `let x_${x} = i32(column) * ${c.stride[1]} + ${x - c.left};`,
      `let column_${x} = u32(clamp(x_${x}, 0, u.in_w - 1));`,
    ]),
    ...(c.inside
      ? []
      : rowOffsets.flatMap((y) =>
          columnOffsets.map(
            (x) => `let in_${y}_${x} = y_${y} >= 0 && y_${y} < u.in_h && x_${x} >= 0 && x_${x} < u.in_w;`,
          ),
        )),
    ...outs.flatMap((o) => [
      `let out_${o} = min(first_out + ${o}u, u.out_channels - 1u);`,
      `let start_${o} = ${c.bias ? bias.load(`group * u.out_channels + out_${o}`) : '0.0'};`,
      ...range(rows).map((r) => `var sum_${o}_${r} = vec4f(start_${o});`),
    ]),
  ]
  const values = rowOffsets.flatMap((y) => {
    if (vectorIn) return [`let v_${y} = ${input.load(`(plane + line_${y} + column) / 4u`)};`]
    return columnOffsets.map((x) => {
      const load = input.load(`plane + line_${y} + column_${x}`)
      return `let v_${y}_${x} = ${c.inside ? load : `select(0.0, ${load}, in_${y}_${x})`};`
    })
  })
  const columnsOf = (y: number, k: number): string =>
    vectorIn
      ? `v_${y}`
      : `vec4f(${range(4)
          .map((j) => `v_${y}_${j * c.stride[1] + k * c.dilation[1]}`)
          .join(', ')})`
  const products = outs.flatMap((o) => [
    c.transposed
      ? `let at_${o} = ((group * u.in_channels + i) * u.out_channels + out_${o}) * ${taps}u;`
      : `let at_${o} = ((group * u.out_channels + out_${o}) * u.in_channels + i) * ${taps}u;`,
    ...range(taps).flatMap((t) => [
      `let w_${o}_${t} = ${weight.load(`at_${o} + ${c.transposed ? taps - 1 - t : t}u`)};`,
      ...range(rows).map((r) => {
        const y = r * c.stride[0] + Math.floor(t / kernelWidth) * c.dilation[0]
        return `sum_${o}_${r} += w_${o}_${t} * ${columnsOf(y, t % kernelWidth)};`
      }),
    ]),
  ])
  const stores = outs.flatMap((o) =>
    range(rows).flatMap((r) => {
      const value = c.relu ? `max(sum_${o}_${r}, vec4f(0.0))` : `sum_${o}_${r}`
      const at = `((out_plane + first_out + ${o}u) * u.out_h + row + ${r}u) * u.out_w + column`
      const body = vectorOut
        ? [`  ${output.store(`(${at}) / 4u`, value)}`]
        : [
            `  let value = ${value};`,
            `  let at = ${at};`,
            ...range(4).map((j) => `  if (column + ${j}u < u.out_w) { ${output.store(`at + ${j}u`, `value[${j}]`)} }`),
          ]
      return [`if (first_out + ${o}u < u.out_channels && row + ${r}u < u.out_h) {`, ...body, '}']
    }),
  )
  const wgsl = /* wgsl */ `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions(arrays)}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let columns = (u.out_w + 3u) / 4u;
  let tile = wid.x * ${threads}u + thread;
  let row = tile / columns * ${rows}u;
  let column = tile % columns * 4u;
  if (row >= u.out_h) { return; }
  let blocks = (u.out_channels + ${channels - 1}u) / ${channels}u;
  let group = wid.y / blocks;
  let first_out = wid.y % blocks * ${channels}u;
${block(2, setup)}
  for (var i = 0u; i < u.in_channels; i++) {
    let plane = ((wid.z * u.groups + group) * u.in_channels + i) * u32(u.in_h * u.in_w);
${block(4, values)}
${block(4, products)}
  }
  let out_plane = (wid.z * u.groups + group) * u.out_channels;
${block(2, stores)}
}
`
  return {
    label: `${c.label}.${channels}x${rows}x4`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, {
      groups: c.groups,
      in_channels: c.inPerGroup,
      out_channels: c.outPerGroup,
      in_h: c.height,
      in_w: c.width,
      out_h: c.outHeight,
      out_w: c.outWidth,
    }),
    grid: directGrid(c, caps, channels, rows),
    cost: c.cost,
    workgroupBytes: 0,
    accumulators: 4 * channels * rows,
  }
}
