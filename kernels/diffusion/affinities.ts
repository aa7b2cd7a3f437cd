/**
 * Affinities of neighbouring nodes, and their gradient.
 *
 * Nodes 0 … l−1 and l … 2l−1 are two directions of l positions; nodes whose positions are at most `half` apart are neighbours:
 *
 *   d²(i, j) = Σ_c (f_i[c] − f_j[c])²      x(i, j) = μ·min(d², 1e30), at most 10⁴      W(i, j) = exp(−x(i, j)); 0, 0 elsewhere
 *   df_i = −2μ Σ_j (G(i, j) + G(j, i))·W(i, j)·(f_i − f_j)      with G = dW; the gradient of ln μ is −Σ G∘W∘x
 *
 * Layout: features and dfeatures [batch, 2l, e], f32 or f16; log_mu [1] = ln μ, taken between −80 and 80; w, exponent (= x) and dw
 * [batch, 2l, 2l], f32.
 *
 * The bounds keep every result finite: a square that overflows counts as far, where W is 0, and no 0·∞ arises.
 *
 * A tile is the 4 × 4 pairs of nodes at two positions and at two others. Its lanes share out the channels, each reading eight values a
 * channel for sixteen differences, and their sums are added in a fixed order. Tiles with first position ≤ second are computed and
 * written to both sides, so W is symmetric bit by bit; those outside the windows are only set to 0. Work is about
 * 2l·(2·half + 3)·e instead of 4l²·e. The gradient takes the same tiles of nodes with their windows of neighbours, a channel a thread at
 * a time.
 *
 * RTX 3090 class (kernel.ts), l = 14, e = 768: 9 flops a byte, bound by memory if by anything: 86 kB a graph are read once from there, and
 * five or six times from L2. 32 lanes a tile read neighbouring channels, eight loads in flight each; 32 graphs make 448 workgroups of two
 * tiles, and no more than two waves of them. 16 sums a thread and 4 kB a workgroup limit nothing. The gradient reads a window of
 * sixteen neighbours a tile and keeps four sums: 2688 workgroups of 64 channels.
 */
import {
  type Binding,
  type Capabilities,
  type Cost,
  ceilDiv,
  declareBindings,
  declareUniforms,
  foldGrid,
  type Program,
  packUniforms,
  type Variant,
} from '../kernel.ts'
import { enableHalf, type FloatType, floatArray, floatBytes, floatFunctions } from '../storage.ts'

export interface AffinityProblem {
  readonly batch: number
  /** Positions of a direction: half of the nodes. */
  readonly l: number
  /** Channels of a node. */
  readonly e: number
  /** Positions a window reaches to either side; 0: only nodes of one position are neighbours. */
  readonly half: number
  /** How features, and their gradient, are stored; default f32. */
  readonly features?: FloatType
}

function validate({ batch, l, e, half }: AffinityProblem): void {
  for (const [name, size] of Object.entries({ batch, l, e }))
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`affinities: ${name} must be a positive integer, got ${size}`)
  if (!Number.isInteger(half) || half < 0) throw new RangeError(`affinities: half must be an integer ≥ 0, got ${half}`)
}

/** Neighbours of all nodes together, themselves included. */
function pairs({ l, half }: AffinityProblem): number {
  const reach = Math.min(half, l - 1)
  return 4 * (l * (2 * reach + 1) - reach * (reach + 1))
}

const costOf = (problem: AffinityProblem, flopsPerPair: number, featureArrays: number): Cost => {
  const { batch, l, e } = problem
  const features = 2 * l * e * floatBytes(problem.features ?? 'f32')
  return {
    flops: batch * pairs(problem) * e * flopsPerPair,
    bytes: batch * (featureArrays * features + 2 * 4 * (2 * l) ** 2),
  }
}

/** WGSL; every size is a uniform, so that graphs of all sizes share a pipeline. */
const nodes = /* wgsl */ `/** Node \`slot\` of a tile: two positions in one direction, then in the other. Beyond the last position: the last. */
fn node(tile: u32, slot: u32) -> u32 { return (slot >> 1u) * u.side + min(2u * tile + (slot & 1u), u.side - 1u); }
fn exists(tile: u32, slot: u32) -> bool { return 2u * tile + (slot & 1u) < u.side; }`

const width = 'let mu = exp(clamp(log_mu[0], -80.0, 80.0));'

/** Threads of a workgroup, and how many of them share a tile. */
interface Layout {
  readonly threads: number
  readonly lanes: number
}

/** Bindings features, log_mu, w, exponent. Best guess first. @throws RangeError when a size is not a positive integer. */
export function affinityVariants(problem: AffinityProblem, caps: Capabilities): Variant[] {
  validate(problem)
  const side = ceilDiv(problem.l, 2)
  // On a CPU one lane a tile is the least work, as soon as there are tiles enough for its cores.
  const lanes = caps.software
    ? (problem.batch * side * (side + 1)) / 2 >= 128
      ? [1, 8]
      : [8, 1]
    : problem.e >= 256
      ? [32, 8]
      : [8, 32]
  const threads = caps.software ? 8 : 64
  return lanes.map((count) => ({
    name: `tiles.lanes${count}`,
    program: () => forward(problem, caps, { threads, lanes: count }),
  }))
}

function forward(problem: AffinityProblem, caps: Capabilities, { threads, lanes }: Layout): Program {
  const { batch, l, e, half } = problem
  const side = ceilDiv(l, 2)
  const tiles = (side * (side + 1)) / 2
  const features = floatArray('features', caps, { type: problem.features })
  const bindings: Binding[] = [
    features.binding,
    { name: 'log_mu', type: 'f32', access: 'read' },
    { name: 'w', type: 'f32', access: 'read_write' },
    { name: 'exponent', type: 'f32', access: 'read_write' },
  ]
  const uniforms = { tiles: 'u32', channels: 'u32', side: 'u32', half: 'u32' } as const
  const four = (name: string) =>
    `vec4f(${[0, 1, 2, 3].map((k) => features.load(`${name}.${'xyzw'[k]} + c`)).join(', ')})`
  const shared = lanes > 1
  const wgsl = /* wgsl */ `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions([features])}
${nodes}
const THREADS = ${threads}u;
const LANES = ${lanes}u;
${shared ? 'var<workgroup> partial: array<array<f32, THREADS>, 16>;' : ''}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = (wid.x + wid.y * groups.x) * (THREADS / LANES) + thread / LANES;
  let lane = thread % LANES;
  let live = index < u.tiles;
  ${shared ? '' : 'if (!live) { return; }'}
  let pairs = (u.side + 1u) / 2u;
  let per_graph = pairs * (pairs + 1u) / 2u;
  let graph = index / per_graph;
  let n = 2u * u.side;
  // Tiles on the diagonal first, then one aside, …: those with neighbours stand together.
  var apart = 0u;
  var first = index % per_graph;
  while (first >= pairs - apart) { first -= pairs - apart; apart++; }
  let second = first + apart;

  let base = graph * n * u.channels;
  let rows = base + u.channels * vec4u(node(first, 0u), node(first, 1u), node(first, 2u), node(first, 3u));
  let columns = base + u.channels * vec4u(node(second, 0u), node(second, 1u), node(second, 2u), node(second, 3u));
  var row0 = vec4f(); var row1 = vec4f(); var row2 = vec4f(); var row3 = vec4f();
  if (live && (apart == 0u || 2u * apart <= u.half + 1u)) {
    for (var c = lane; c < u.channels; c += LANES) {
      let a = ${four('rows')};
      let b = ${four('columns')};
      let d0 = a.x - b; let d1 = a.y - b; let d2 = a.z - b; let d3 = a.w - b;
      row0 += d0 * d0; row1 += d1 * d1; row2 += d2 * d2; row3 += d3 * d3;
    }
  }
  var sums = array<vec4f, 4>(row0, row1, row2, row3);
  ${
    shared
      ? `for (var cell = 0u; cell < 16u; cell++) { partial[cell][thread] = sums[cell >> 2u][cell & 3u]; }
  workgroupBarrier();
  if (!live) { return; }`
      : ''
  }
  ${width}
  for (var cell = lane; cell < 16u; cell += LANES) {
    let r = cell >> 2u;
    let c = cell & 3u;
    if (!exists(first, r) || !exists(second, c) || (apart == 0u && r > c)) { continue; }
    ${
      shared
        ? `var squares = 0.0;
    for (var k = thread - lane; k < thread - lane + LANES; k++) { squares += partial[cell][k]; }`
        : 'let squares = sums[r][c];'
    }
    let i = node(first, r);
    let j = node(second, c);
    let near = max(i % u.side, j % u.side) - min(i % u.side, j % u.side) <= u.half;
    let x = select(0.0, min(mu * min(squares, 1e30), 1e4), near);
    let weight = select(0.0, exp(-x), near);
    let at = (graph * n + i) * n + j;
    let mirrored = (graph * n + j) * n + i;
    w[at] = weight;
    w[mirrored] = weight;
    exponent[at] = x;
    exponent[mirrored] = x;
  }
}
`
  return {
    label: `affinities.lanes${lanes}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { tiles: batch * tiles, channels: e, side: l, half }),
    grid: foldGrid(ceilDiv(batch * tiles, threads / lanes), caps.maxGrid),
    cost: costOf(problem, 3, 1),
    workgroupBytes: shared ? 64 * threads : 0,
    accumulators: 16,
  }
}

/** Neighbours that a tile of nodes may have. */
const windowOf = (l: number, half: number): number => 2 * Math.min(l, 2 * half + 2)
/** Room for their factors in workgroup memory, one of few sizes. */
const roomOf = ({ l, half }: AffinityProblem): number => Math.max(32, 2 ** Math.ceil(Math.log2(windowOf(l, half))))

/** Whether the factors of a tile's window fit the workgroup memory that WebGPU guarantees. */
export const affinitiesFit = (l: number, half: number): boolean => 16 * windowOf(l, half) <= 16384

/** Bindings features, log_mu, w, dw, dfeatures. Best guess first. @throws RangeError when a size is not a positive integer. */
export function affinityBackwardVariants(problem: AffinityProblem, caps: Capabilities): Variant[] {
  validate(problem)
  const threads = caps.software ? 8 : 64
  return [{ name: `gather.${threads}`, program: () => backward(problem, caps, threads) }]
}

function backward(problem: AffinityProblem, caps: Capabilities, threads: number): Program {
  const { batch, l, e, half } = problem
  const side = ceilDiv(l, 2)
  const span = 64
  const chunks = ceilDiv(e, span)
  const room = roomOf(problem)
  const [features, gradient] = [
    floatArray('features', caps, { type: problem.features }),
    floatArray('dfeatures', caps, { type: problem.features, access: 'read_write' }),
  ]
  const bindings: Binding[] = [
    features.binding,
    ...['log_mu', 'w', 'dw'].map((name): Binding => ({ name, type: 'f32', access: 'read' })),
    gradient.binding,
  ]
  const uniforms = { jobs: 'u32', channels: 'u32', chunks: 'u32', side: 'u32', half: 'u32' } as const
  const wgsl = /* wgsl */ `${enableHalf(bindings)}${declareBindings(bindings)}
${declareUniforms(uniforms, bindings.length)}
${floatFunctions([features, gradient])}
${nodes}
const THREADS = ${threads}u;
/** Channels that a workgroup takes. */
const SPAN = ${span}u;
/** −2 (G + Gᵀ)∘W of the tile's four nodes with each neighbour in reach. */
var<workgroup> factors: array<vec4f, ${room}>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let job = wid.x + wid.y * groups.x;
  if (job >= u.jobs) { return; }
  let end = min((job % u.chunks + 1u) * SPAN, u.channels);
  let pairs = (u.side + 1u) / 2u;
  let tile = job / u.chunks % pairs;
  let graph = job / u.chunks / pairs;
  let n = 2u * u.side;

  let start = 2u * tile - min(2u * tile, u.half);
  let count = min(2u * tile + 1u + u.half, u.side - 1u) + 1u - start;
  for (var k = thread; k < 2u * count; k += THREADS) {
    let j = k / count * u.side + start + k % count;
    var factor = vec4f();
    for (var slot = 0u; slot < 4u; slot++) {
      let i = node(tile, slot);
      let at = (graph * n + i) * n + j;
      let weight = w[at];
      if (exists(tile, slot) && weight != 0.0) {
        factor[slot] = -2.0 * (dw[at] + dw[(graph * n + j) * n + i]) * weight;
      }
    }
    factors[k] = factor;
  }
  workgroupBarrier();
  ${width}
  for (var channel = job % u.chunks * SPAN + thread; channel < end; channel += THREADS) {
    let base = graph * n * u.channels + channel;
    let own = base + u.channels * vec4u(node(tile, 0u), node(tile, 1u), node(tile, 2u), node(tile, 3u));
    let f = vec4f(${[0, 1, 2, 3].map((k) => features.load(`own.${'xyzw'[k]}`)).join(', ')});
    var sum = vec4f();
    for (var k = 0u; k < 2u * count; k++) {
      let other = ${features.load('base + (k / count * u.side + start + k % count) * u.channels')};
      let factor = factors[k];
      // Where W is 0 the difference may be too large for μ times it.
      sum += select(factor * (mu * (f - other)), vec4f(), factor == vec4f());
    }
    ${[0, 1, 2, 3].map((k) => `if (exists(tile, ${k}u)) { ${gradient.store(`own.${'xyzw'[k]}`, `sum.${'xyzw'[k]}`)} }`).join('\n    ')}
  }
}
`
  const jobs = batch * side * chunks
  return {
    label: `affinities.grad.${threads}`,
    wgsl,
    bindings,
    uniforms: packUniforms(uniforms, { jobs, channels: e, chunks, side: l, half }),
    grid: foldGrid(jobs, caps.maxGrid),
    cost: costOf(problem, 4, 2),
    workgroupBytes: 16 * room,
    accumulators: 4,
  }
}
