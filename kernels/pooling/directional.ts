/**
 * Directional pooling: frames and columns pooled away, and frames and rows pooled away, in one pass over Z.
 *
 *   z    [B, T, L·L + 1, E]  class token first, then tokens row-major (i·L + j)
 *   zh   [B, L, E]           zh[i] = pool over t, j of token (i, j): one vector a row
 *   zv   [B, L, E]           zv[j] = pool over t, i of token (i, j): one vector a column
 *   zcls [B, 1, E]           mean over t of the class token, in either mode
 *   z and the results (dz and theirs) are f32 or f16 in memory, sums f32
 *   idxh, idxv [B, L, E] u32, max only: t·L² + i·L + j of the first maximum, which the gradient needs
 *
 * A thread owns one channel (four in mean mode when 4 divides E) of one sample, so neighbours read neighbouring addresses.
 * The loops run row → frame → column: zh[i] is then one register, and the L values of zv are L registers.
 *
 * RTX 3090 class (kernel.ts): half a flop a byte, bound by memory, which is read once. A step has L loads of 16 B that do not wait for one
 * another; at L = 14, E = 768 and 16 samples 3072 threads have 690 kB of them in flight, more than full bandwidth wants, with one
 * subgroup a multiprocessor and 60 values a thread. One sample alone has a sixteenth of that and takes as long as three. The
 * gradient writes what the forward pass reads; its threads keep nothing.
 */
import {
  type Binding,
  type Capabilities,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
  type Variant,
} from '../kernel.ts'
import { enableHalf, type FloatArray, type FloatType, floatArray, floatBytes, floatFunctions } from '../storage.ts'

export interface DirectionalPoolProblem {
  /** Samples. */
  readonly b: number
  /** Frames. */
  readonly t: number
  /** Tokens along a side; a frame has l·l + 1. */
  readonly l: number
  /** Channels. */
  readonly e: number
  readonly mode: 'mean' | 'max'
  /** Element types of z (dz of the gradient), and of zh, zv and zcls (their gradients); default f32. */
  readonly tokens?: FloatType
  readonly pooled?: FloatType
}

const uniforms = { samples: 'u32', frames: 'u32', channels: 'u32', scale: 'f32', frame_scale: 'f32' } as const

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const block = (indent: number, lines: string[]): string => lines.map((l) => ' '.repeat(indent) + l).join('\n')

function validate({ b, t, l, e }: DirectionalPoolProblem): void {
  for (const [name, size] of Object.entries({ b, t, l, e }))
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`directionalPool: ${name} must be positive, got ${size}`)
}

const uniformWords = ({ b, t, l, e }: DirectionalPoolProblem, width: number): Uint32Array =>
  packUniforms(uniforms, { samples: b, frames: t, channels: e / width, scale: 1 / (t * l), frame_scale: 1 / t })

/** Bindings z, zh, zv, zcls, and for max idxh, idxv. Best guess first. @throws RangeError when a size is not positive. */
export function directionalPoolVariants(problem: DirectionalPoolProblem, caps: Capabilities): Variant[] {
  validate(problem)
  const widths = problem.mode === 'mean' && problem.e % 4 === 0 ? [4, 1] : [1]
  return widths.map((width) => ({ name: `channels.${width}`, program: () => forward(problem, caps, width) }))
}

function forward(problem: DirectionalPoolProblem, caps: Capabilities, width: number): Program {
  const { b, t, l, e, mode } = problem
  const type = width === 4 ? 'vec4f' : 'f32'
  const threads = caps.software ? 8 : 32
  const max = mode === 'max'
  const vector = width === 4
  const z = floatArray('z', caps, { type: problem.tokens, vector })
  const [zh, zv, zcls] = ['zh', 'zv', 'zcls'].map((name) =>
    floatArray(name, caps, { type: problem.pooled, vector, access: 'read_write' }),
  ) as [FloatArray, FloatArray, FloatArray]
  const floats = [z, zh, zv, zcls]
  const bindings: Binding[] = [
    ...floats.map((a) => a.binding),
    ...(max ? ['idxh', 'idxv'].map((name): Binding => ({ name, type: 'u32', access: 'read_write' })) : []),
  ]
  const columns = range(l)
  // Within a row the token's index grows as the loops run; across rows it does not, so equal values compare indices.
  const step = columns.flatMap((j) => [
    `let value_${j} = ${z.load(`token + ${j}u * u.channels`)};`,
    ...(max
      ? [
          `let at_${j} = (frame * ${l}u + i) * ${l}u + ${j}u;`,
          `if (value_${j} > row${j === 0 ? ' || frame == 0u' : ''}) { row = value_${j}; row_at = at_${j}; }`,
          `if (value_${j} > v_${j} || (value_${j} == v_${j} && at_${j} < v_at_${j}) || (frame == 0u && i == 0u)) { v_${j} = value_${j}; v_at_${j} = at_${j}; }`,
        ]
      : [`row += value_${j};`, `v_${j} += value_${j};`]),
  ])
  const wgsl = /* wgsl */ `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions(floats)}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let slices = (u.channels + ${threads - 1}u) / ${threads}u;
  let job = wid.x + wid.y * groups.x;
  let sample = job / slices;
  let channel = job % slices * ${threads}u + thread;
  if (sample >= u.samples || channel >= u.channels) { return; }
  let frame_size = ${l * l + 1}u * u.channels;
  let base = sample * u.frames * frame_size + channel;
  let out = sample * ${l}u * u.channels + channel;

  var class_sum = ${type}(0.0);
  for (var frame = 0u; frame < u.frames; frame++) { class_sum += ${z.load('base + frame * frame_size')}; }
  ${zcls.store('sample * u.channels + channel', 'class_sum * u.frame_scale')}

${block(
  2,
  columns.map((j) => `var v_${j} = ${type}(0.0);${max ? ` var v_at_${j} = 0u;` : ''}`),
)}
  for (var i = 0u; i < ${l}u; i++) {
    var row = ${type}(0.0);
    ${max ? 'var row_at = 0u;' : ''}
    for (var frame = 0u; frame < u.frames; frame++) {
      let token = base + frame * frame_size + (1u + i * ${l}u) * u.channels;
${block(6, step)}
    }
    ${zh.store('out + i * u.channels', max ? 'row' : 'row * u.scale')}${max ? `\n    idxh[out + i * u.channels] = row_at;` : ''}
  }
${block(
  2,
  columns.map((j) =>
    max
      ? `${zv.store(`out + ${j}u * u.channels`, `v_${j}`)} idxv[out + ${j}u * u.channels] = v_at_${j};`
      : zv.store(`out + ${j}u * u.channels`, `v_${j} * u.scale`),
  ),
)}
}
`
  const pooledBytes = b * e * ((2 * l + 1) * floatBytes(problem.pooled ?? 'f32') + (max ? 8 * l : 0))
  return {
    label: `directionalPool.${mode}.${width}`,
    wgsl,
    bindings,
    uniforms: uniformWords(problem, width),
    grid: foldGrid(b * ceilDiv(e / width, threads), caps.maxGrid),
    cost: {
      flops: 2 * b * t * l * l * e,
      bytes: b * t * (l * l + 1) * e * floatBytes(problem.tokens ?? 'f32') + pooledBytes,
    },
    workgroupBytes: 0,
    // Of a row and of each column; their places too where it is the largest.
    accumulators: width * (l + 1) * (max ? 2 : 1),
  }
}

/**
 * Gradient of Z [B, T, L·L + 1, E]. Bindings dzh, dzv, dzcls, for max idxh, idxv (u32), and dz.
 *
 *   mean: dz[t, (i, j)] = (dzh[i] + dzv[j]) / (T·L)
 *   max:  dz[t, (i, j)] = dzh[i] where idxh[i] names (t, i, j), plus dzv[j] where idxv[j] does
 *   both: dz[t, class] = dzcls / T
 *
 * Each output gathers what it gets: nothing is scattered, so nothing depends on order.
 */
export function directionalPoolBackwardVariants(problem: DirectionalPoolProblem, caps: Capabilities): Variant[] {
  validate(problem)
  const widths = problem.mode === 'mean' && problem.e % 4 === 0 ? [4, 1] : [1]
  return widths.map((width) => ({ name: `gather.${width}`, program: () => backward(problem, caps, width) }))
}

function backward(problem: DirectionalPoolProblem, caps: Capabilities, width: number): Program {
  const { b, t, l, e, mode } = problem
  const max = mode === 'max'
  const vector = width === 4
  const [dzh, dzv, dzcls] = ['dzh', 'dzv', 'dzcls'].map((name) =>
    floatArray(name, caps, { type: problem.pooled, vector }),
  ) as [FloatArray, FloatArray, FloatArray]
  const dz = floatArray('dz', caps, { type: problem.tokens, vector, access: 'read_write' })
  const floats = [dzh, dzv, dzcls, dz]
  const bindings: Binding[] = [
    ...floats.slice(0, 3).map((a) => a.binding),
    ...(max ? ['idxh', 'idxv'].map((name): Binding => ({ name, type: 'u32', access: 'read' })) : []),
    dz.binding,
  ]
  const wgsl = /* wgsl */ `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions(floats)}
const L = ${l}u;
const TOKENS = ${l * l + 1}u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = (wid.x + wid.y * groups.x) * 64u + thread;
  if (index >= u.samples * u.frames * TOKENS * u.channels) { return; }
  let channel = index % u.channels;
  let token = index / u.channels % TOKENS;
  let frame = index / u.channels / TOKENS % u.frames;
  let sample = index / u.channels / TOKENS / u.frames;
  if (token == 0u) {
    ${dz.store('index', `${dzcls.load('sample * u.channels + channel')} * u.frame_scale`)}
    return;
  }
  let row = (sample * L + (token - 1u) / L) * u.channels + channel;
  let column = (sample * L + (token - 1u) % L) * u.channels + channel;
  ${
    max
      ? `let at = frame * L * L + token - 1u;
  ${dz.store('index', `select(0.0, ${dzh.load('row')}, idxh[row] == at) + select(0.0, ${dzv.load('column')}, idxv[column] == at)`)}`
      : dz.store('index', `(${dzh.load('row')} + ${dzv.load('column')}) * u.scale`)
  }
}
`
  const count = (b * t * (l * l + 1) * e) / width
  const pooledBytes = b * e * ((2 * l + 1) * floatBytes(problem.pooled ?? 'f32') + (max ? 8 * l : 0))
  return {
    label: `directionalPool.grad.${mode}.${width}`,
    wgsl,
    bindings,
    uniforms: uniformWords(problem, width),
    grid: foldGrid(ceilDiv(count, 64), caps.maxGrid),
    cost: { flops: 2 * count * width, bytes: count * width * floatBytes(problem.tokens ?? 'f32') + pooledBytes },
    workgroupBytes: 0,
    accumulators: 0,
  }
}
