/**
 * Affine warp: x [N, C, H, W] sampled bilinearly at the points to which a matrix [N, 2, 3] sends the pixels of y [N, C, OH, OW].
 *
 *   (u, v) = ((2j + 1)/OW − 1, (2i + 1)/OH − 1)                 centre of output pixel (i, j), edges at ±1
 *   (s, t) = M (u, v, 1);  sx = ((s + 1) W − 1)/2,  sy = ((t + 1) H − 1)/2      source point in pixels
 *   y = Σ x[row, column] · max(0, 1 − |sx − column|) · max(0, 1 − |sy − row|)   outside is 0
 *
 * (Jaderberg et al. 2015; PyTorch's affine_grid and grid_sample with align_corners off.) The gradient for x gathers: an
 * invocation owns one input pixel and visits the output pixels whose source lies within one pixel of it, the box found
 * through the inverse map. No atomics, the same bits on every run.
 *
 * RTX 3090 class (kernel.ts): 3 flops a byte (7 in the gradient for x), bound by memory. The four taps of neighbouring pixels are neighbours
 * for any map near a scaled rotation, so that L1 gives three of them. Nothing is kept over steps but the gradients' sums.
 */
import { type Binding, type Capabilities, ceilDiv, declareBindings, foldGrid, type Program } from '../kernel.ts'

export interface AffineWarpProblem {
  readonly n: number
  readonly c: number
  /** Of x. */
  readonly h: number
  readonly w: number
  /** Of y. */
  readonly oh: number
  readonly ow: number
}

const read = (name: string): Binding => ({ name, type: 'f32', access: 'read' })
const write = (name: string): Binding => ({ name, type: 'f32', access: 'read_write' })

/** Source point of output pixel (i, j) as a linear map of (j, i, 1), so that forward and backward round alike. */
const source = ({ h, w, oh, ow }: AffineWarpProblem): string => `
struct Map { a: f32, b: f32, c: f32, d: f32, e: f32, f: f32 }
fn mapOf(n: u32) -> Map {
  let m = n * 6u;
  let u0 = f32(${1 / ow - 1});
  let v0 = f32(${1 / oh - 1});
  return Map(
    matrix[m] * f32(${w / ow}), matrix[m + 1u] * f32(${w / oh}), ((matrix[m] * u0 + matrix[m + 1u] * v0 + matrix[m + 2u] + 1.0) * ${w}.0 - 1.0) * 0.5,
    matrix[m + 3u] * f32(${h / ow}), matrix[m + 4u] * f32(${h / oh}), ((matrix[m + 3u] * u0 + matrix[m + 4u] * v0 + matrix[m + 5u] + 1.0) * ${h}.0 - 1.0) * 0.5);
}
fn sourceOf(map: Map, i: u32, j: u32) -> vec2f {
  return vec2f(map.a * f32(j) + map.b * f32(i) + map.c, map.d * f32(j) + map.e * f32(i) + map.f);
}`

/** Pixel (row, column) of the plane that starts at `base`, 0 outside. Far-off points are clamped before they become integers. */
const pixel = ({ h, w }: AffineWarpProblem): string => `
fn pixel(base: u32, row: i32, column: i32) -> f32 {
  if (row < 0 || row >= ${h} || column < 0 || column >= ${w}) { return 0.0; }
  return x[base + u32(row) * ${w}u + u32(column)];
}
fn corner(p: vec2f) -> vec2i { return vec2i(clamp(floor(p), vec2f(-2.0), vec2f(${w}.0, ${h}.0))); }`

function program(
  label: string,
  bindings: Binding[],
  count: number,
  functions: string,
  body: string,
  flops: number,
  bytes: number,
  accumulators: number,
  caps: Capabilities,
): Program {
  return {
    label,
    wgsl: `${declareBindings(bindings)}
${functions}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) lid: u32) {
  let t = (wid.y * nwg.x + wid.x) * 64u + lid;
  if (t >= ${count}u) { return; }
${body}
}
`,
    bindings,
    uniforms: new Uint32Array(0),
    grid: foldGrid(ceilDiv(count, 64), caps.maxGrid),
    cost: { flops, bytes },
    workgroupBytes: 0,
    accumulators,
  }
}

const bytesOf = ({ n, c, h, w, oh, ow }: AffineWarpProblem): number => 4 * n * (c * (h * w + oh * ow) + 6)

/** Bindings x, matrix, y. */
export function affineWarpProgram(p: AffineWarpProblem, caps: Capabilities): Program {
  const count = p.n * p.c * p.oh * p.ow
  const body = `  let j = t % ${p.ow}u;
  let i = t / ${p.ow}u % ${p.oh}u;
  let plane = t / ${p.oh * p.ow}u;
  let at = sourceOf(mapOf(plane / ${p.c}u), i, j);
  let k = corner(at);
  let f = at - vec2f(k);
  let base = plane * ${p.h * p.w}u;
  let upper = pixel(base, k.y, k.x) * (1.0 - f.x) + pixel(base, k.y, k.x + 1) * f.x;
  let lower = pixel(base, k.y + 1, k.x) * (1.0 - f.x) + pixel(base, k.y + 1, k.x + 1) * f.x;
  y[t] = select(0.0, upper * (1.0 - f.y) + lower * f.y, all(f >= vec2f(0.0)) && all(f <= vec2f(1.0)));`
  const bindings = [read('x'), read('matrix'), write('y')]
  return program('affineWarp', bindings, count, source(p) + pixel(p), body, 24 * count, bytesOf(p), 0, caps)
}

/** Gradient for x. Bindings dy, matrix, dx. */
export function affineWarpGradInputProgram(p: AffineWarpProblem, caps: Capabilities): Program {
  const count = p.n * p.c * p.h * p.w
  const body = `  let column = f32(t % ${p.w}u);
  let row = f32(t / ${p.w}u % ${p.h}u);
  let plane = t / ${p.h * p.w}u;
  let map = mapOf(plane / ${p.c}u);
  let det = map.a * map.e - map.b * map.d;
  // Output pixels whose source may lie within a pixel of this one; all of them where the map folds the plane onto a line.
  var first = vec2f(0.0);
  var last = vec2f(${p.ow}.0, ${p.oh}.0);
  if (abs(det) > 1e-5 * (abs(map.a) + abs(map.b)) * (abs(map.d) + abs(map.e))) {
    let q = vec2f(column - map.c, row - map.f);
    let centre = vec2f(map.e * q.x - map.b * q.y, map.a * q.y - map.d * q.x) / det;
    let reach = vec2f(abs(map.e) + abs(map.b), abs(map.a) + abs(map.d)) / abs(det) + 0.05;
    first = clamp(floor(centre - reach), vec2f(0.0), last);
    last = clamp(ceil(centre + reach) + 1.0, vec2f(0.0), last);
  }
  let base = plane * ${p.oh * p.ow}u;
  var total = 0.0;
  for (var i = u32(first.y); i < u32(last.y); i++) {
    for (var j = u32(first.x); j < u32(last.x); j++) {
      let weight = max(vec2f(0.0), 1.0 - abs(sourceOf(map, i, j) - vec2f(column, row)));
      total += dy[base + i * ${p.ow}u + j] * weight.x * weight.y;
    }
  }
  dx[t] = total;`
  const bindings = [read('dy'), read('matrix'), write('dx')]
  return program('affineWarp.input', bindings, count, source(p), body, 60 * count, bytesOf(p), 1, caps)
}

/** Gradient for the source points, summed over channels: [N, OH, OW, 2], (sx, sy). Bindings x, matrix, dy, dp. */
export function affineWarpGradPositionProgram(p: AffineWarpProblem, caps: Capabilities): Program {
  const count = p.n * p.oh * p.ow
  const body = `  let j = t % ${p.ow}u;
  let i = t / ${p.ow}u % ${p.oh}u;
  let n = t / ${p.oh * p.ow}u;
  let at = sourceOf(mapOf(n), i, j);
  let k = corner(at);
  let f = at - vec2f(k);
  var total = vec2f(0.0);
  if (all(f >= vec2f(0.0)) && all(f <= vec2f(1.0))) {
    for (var c = 0u; c < ${p.c}u; c++) {
      let plane = n * ${p.c}u + c;
      let base = plane * ${p.h * p.w}u;
      let v00 = pixel(base, k.y, k.x);
      let v01 = pixel(base, k.y, k.x + 1);
      let v10 = pixel(base, k.y + 1, k.x);
      let v11 = pixel(base, k.y + 1, k.x + 1);
      let slope = vec2f((v01 - v00) * (1.0 - f.y) + (v11 - v10) * f.y, (v10 - v00) * (1.0 - f.x) + (v11 - v01) * f.x);
      total += dy[plane * ${p.oh * p.ow}u + i * ${p.ow}u + j] * slope;
    }
  }
  dp[2u * t] = total.x;
  dp[2u * t + 1u] = total.y;`
  const bindings = [read('x'), read('matrix'), read('dy'), write('dp')]
  return program(
    'affineWarp.position',
    bindings,
    count,
    source(p) + pixel(p),
    body,
    24 * count * p.c,
    bytesOf(p),
    2,
    caps,
  )
}
