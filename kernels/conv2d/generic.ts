/**
 * Convolution and its gradients with one output a thread (one per workgroup for the weights), taps in loops: any kernel size.
 * Sizes are compiled in. No atomics: every output is one sum in a fixed order.
 *
 * RTX 3090 class (kernel.ts): a tap is two loads, a pass each, for one multiply-add of a subgroup, so that L1 is the bound at an eighth of
 * the peak: for strides and kernels that `direct.ts` does not take. The weights' gradient keeps taps · channels sums a thread, 36 for 3×3
 * and four channels, and loads taps + channels values for them: 13 passes against 9 clocks of arithmetic.
 */
import { type Capabilities, declareBindings, foldGrid, type Program } from '../kernel.ts'
import { enableHalf, type FloatArray, floatArray, floatFunctions } from '../storage.ts'
import { type Conv2dShape, type ConvArray, conv2dCost } from './problem.ts'

/** The arrays of a kernel, scalar; the last is written. */
const scalars = (s: Conv2dShape, caps: Capabilities, ...names: ConvArray[]): FloatArray[] =>
  names.map((name, i) =>
    floatArray(name, caps, { type: s.types[name], access: i === names.length - 1 ? 'read_write' : 'read' }),
  )

function declarations(arrays: readonly FloatArray[]): string {
  const bindings = arrays.map((a) => a.binding)
  return `${enableHalf(bindings)}${declareBindings(bindings)}\n${floatFunctions(arrays)}`
}

function constants(s: Conv2dShape): string {
  return /* wgsl */ `const BATCH = ${s.batch}u; const GROUPS = ${s.groups}u;
const IN = ${s.inPerGroup}u; const OUT = ${s.outPerGroup}u; // channels of one group
const H = ${s.height}; const W = ${s.width}; const OH = ${s.outHeight}; const OW = ${s.outWidth};
const KH = ${s.kernel[0]}; const KW = ${s.kernel[1]}; const SH = ${s.stride[0]}; const SW = ${s.stride[1]};
const DH = ${s.dilation[0]}; const DW = ${s.dilation[1]}; const TOP = ${s.padding[0]}; const LEFT = ${s.padding[1]};`
}

function perOutput(
  s: Conv2dShape,
  caps: Capabilities,
  label: string,
  arrays: readonly FloatArray[],
  count: number,
  body: string,
  cost = conv2dCost(s),
): Program {
  const wgsl = /* wgsl */ `${declarations(arrays)}
${constants(s)}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = (wid.x + wid.y * groups.x) * 64u + thread;
  if (index >= ${count}u) { return; }
${body}
}
`
  const grid = foldGrid(Math.ceil(count / 64), caps.maxGrid)
  const bindings = arrays.map((a) => a.binding)
  return { label, wgsl, bindings, uniforms: new Uint32Array(0), grid, cost, workgroupBytes: 0, accumulators: 1 }
}

/** y[n, o, r, c] = act(bias[o] + Σ w · x). */
export function genericForward(s: Conv2dShape, caps: Capabilities): Program {
  const [x, w, bias] = scalars(s, caps, 'x', 'w', 'bias', 'y') as [FloatArray, FloatArray, FloatArray]
  const arrays = scalars(s, caps, 'x', 'w', ...(s.bias ? (['bias'] as const) : []), 'y')
  const y = arrays.at(-1)!
  const body = /* wgsl */ `  let c = i32(index % u32(OW));
  let r = i32(index / u32(OW) % u32(OH));
  let channel = index / u32(OW * OH) % (GROUPS * OUT);
  let image = index / u32(OW * OH) / (GROUPS * OUT);
  var sum = ${s.bias ? bias.load('channel') : '0.0'};
  for (var i = 0u; i < IN; i++) {
    let plane = ((image * GROUPS + channel / OUT) * IN + i) * u32(H * W);
    let taps = (channel * IN + i) * u32(KH * KW);
    for (var kh = 0; kh < KH; kh++) {
      let y_in = r * SH + kh * DH - TOP;
      if (y_in < 0 || y_in >= H) { continue; }
      for (var kw = 0; kw < KW; kw++) {
        let x_in = c * SW + kw * DW - LEFT;
        if (x_in < 0 || x_in >= W) { continue; }
        sum += ${w.load('taps + u32(kh * KW + kw)')} * ${x.load('plane + u32(y_in * W + x_in)')};
      }
    }
  }
  ${y.store('index', s.activation === 'relu' ? 'max(sum, 0.0)' : 'sum')}`
  return perOutput(s, caps, 'conv2d.generic', arrays, s.batch * s.outChannels * s.outHeight * s.outWidth, body)
}

/** dx[n, i, y, x] = Σ_o Σ_taps w[o, i, kh, kw] · dy[n, o, (y + top − kh·dh)/sh, (x + left − kw·dw)/sw] where these are whole. */
export function genericBackwardInput(s: Conv2dShape, caps: Capabilities): Program {
  const arrays = scalars(s, caps, 'dy', 'w', 'dx')
  const [dy, w, dx] = arrays as [FloatArray, FloatArray, FloatArray]
  const body = /* wgsl */ `  let column = i32(index % u32(W));
  let row = i32(index / u32(W) % u32(H));
  let channel = index / u32(W * H) % (GROUPS * IN);
  let image = index / u32(W * H) / (GROUPS * IN);
  let group = channel / IN;
  var sum = 0.0;
  for (var kh = 0; kh < KH; kh++) {
    let down = row + TOP - kh * DH;
    if (down < 0 || down % SH != 0 || down / SH >= OH) { continue; }
    for (var kw = 0; kw < KW; kw++) {
      let across = column + LEFT - kw * DW;
      if (across < 0 || across % SW != 0 || across / SW >= OW) { continue; }
      for (var o = 0u; o < OUT; o++) {
        let tap = ((group * OUT + o) * IN + channel % IN) * u32(KH * KW) + u32(kh * KW + kw);
        let at = ((image * GROUPS + group) * OUT + o) * u32(OH * OW) + u32(down / SH * OW + across / SW);
        sum += ${w.load('tap')} * ${dy.load('at')};
      }
    }
  }
  ${dx.store('index', 'sum')}`
  const count = s.batch * s.inChannels * s.height * s.width
  return perOutput(s, caps, 'conv2d.dx.generic', arrays, count, body, conv2dCost(s, 'dx'))
}

/**
 * dw[o, i, kh, kw] = Σ_n Σ_r Σ_c dy[n, o, r, c] · x[n, i, r·sh + kh·dh − top, c·sw + kw·dw − left].
 *
 * One workgroup per input channel, block of `channels` output channels and block of up to 9 taps; its threads share out
 * the pixels, and their partial sums are added in order.
 */
export function backwardWeight(s: Conv2dShape, caps: Capabilities, channels: number): Program {
  const arrays = scalars(s, caps, 'x', 'dy', 'dw')
  const [x, dy, dw] = arrays as [FloatArray, FloatArray, FloatArray]
  const threads = caps.software ? 8 : 64
  const allTaps = s.kernel[0] * s.kernel[1]
  const taps = Math.min(allTaps, 9)
  const tapBlocks = Math.ceil(allTaps / taps)
  const outBlocks = Math.ceil(s.outPerGroup / channels)
  const count = s.groups * s.inPerGroup * outBlocks * tapBlocks
  const outs = Array.from({ length: channels }, (_, o) => o)
  const wgsl = /* wgsl */ `${declarations(arrays)}
${constants(s)}
const TAPS = ${taps}; // of one workgroup
const TAP_BLOCKS = ${tapBlocks}u;
const OUT_BLOCKS = ${outBlocks}u;
const THREADS = ${threads}u;

var<workgroup> partial: array<f32, ${threads * taps * channels}>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let job = wid.x + wid.y * groups.x;
  if (job >= ${count}u) { return; }
  let first_tap = i32(job % TAP_BLOCKS) * TAPS;
  let first_out = job / TAP_BLOCKS % OUT_BLOCKS * ${channels}u;
  let channel = job / TAP_BLOCKS / OUT_BLOCKS; // input channel over all groups
  let group = channel / IN;
${outs.map((o) => `  let out_${o} = group * OUT + min(first_out + ${o}u, OUT - 1u);\n  var sum_${o}: array<f32, TAPS>;`).join('\n')}
  for (var pixel = thread; pixel < BATCH * u32(OH * OW); pixel += THREADS) {
    let image = pixel / u32(OH * OW);
    let within = pixel % u32(OH * OW);
    let y_in = i32(within) / OW * SH - TOP;
    let x_in = i32(within) % OW * SW - LEFT;
    let plane = (image * GROUPS * IN + channel) * u32(H * W);
${outs.map((o) => `    let dy_${o} = ${dy.load(`(image * GROUPS * OUT + out_${o}) * u32(OH * OW) + within`)};`).join('\n')}
    for (var t = 0; t < TAPS; t++) {
      let row = y_in + (first_tap + t) / KW * DH;
      let column = x_in + (first_tap + t) % KW * DW;
      let inside = row >= 0 && row < H && column >= 0 && column < W;
      let value = select(0.0, ${x.load('plane + u32(clamp(row, 0, H - 1) * W + clamp(column, 0, W - 1))')}, inside);
${outs.map((o) => `      sum_${o}[t] += dy_${o} * value;`).join('\n')}
    }
  }
  for (var t = 0; t < TAPS; t++) {
${outs.map((o) => `    partial[(${o}u * u32(TAPS) + u32(t)) * THREADS + thread] = sum_${o}[t];`).join('\n')}
  }
  workgroupBarrier();
  for (var k = thread; k < ${taps * channels}u; k += THREADS) {
    let o = first_out + k / u32(TAPS);
    let tap = first_tap + i32(k % u32(TAPS));
    if (o >= OUT || tap >= KH * KW) { continue; }
    var sum = 0.0;
    for (var i = 0u; i < THREADS; i++) { sum += partial[k * THREADS + i]; }
    ${dw.store('((group * OUT + o) * IN + channel % IN) * u32(KH * KW) + u32(tap)', 'sum')}
  }
}
`
  return {
    label: `conv2d.dw.${channels}x${taps}`,
    wgsl,
    bindings: arrays.map((a) => a.binding),
    uniforms: new Uint32Array(0),
    grid: foldGrid(count, caps.maxGrid),
    cost: conv2dCost(s, 'dw'),
    workgroupBytes: 4 * threads * taps * channels,
    accumulators: taps * channels,
  }
}
