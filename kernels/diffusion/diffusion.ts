/**
 * Squared diffusion distances of the nodes of graphs, and their gradient, one launch each.
 *
 *   D(i) = Σ_j W(i, j)   π = D/ΣD   T = D^(−1/2) W D^(−1/2) − √π √πᵀ   P = Tᵗ   Y = π^(−1/2) P (rows scaled)   Dist(i, j) = ‖Y_i − Y_j‖²
 *
 * T is the walk without its stationary part, which adds the same to every row of Y: distances are unchanged, and small ones are no
 * differences of large numbers. With G = dDist, H = G + Gᵀ, sym(X) = (X + Xᵀ)/2:
 *
 *   dY_i = 2 Σ_j H(i, j)(Y_i − Y_j)      A = sym(π^(−1/2) dY)      dT = F_t,   F_k = Σ_{a<k} Tᵃ A T^{k−1−a}
 *   F_{2k} = 2 sym(Tᵏ F_k)      F_{k+1} = sym(T F_k + A Tᵏ)       which goes along with T^{2k} = (Tᵏ)² and T^{k+1} = TᵏT
 *   dW(i, j) = F(i, j)/√(D_i D_j) + (dD_i + dD_j)/2
 *   dD_i = −(Σ_j F(i, j)(T + 2√π√πᵀ)(i, j) + ½ Y_i·dY_i)/D_i + Σ_k (2 Σ_j F(k, j)√(π_k π_j) + Y_k·dY_k)/(2 ΣD)
 *
 * Layout, f32: w, dist, power (= P), gradient (= dDist), dw [batch, n, n]; `work` scratch, only bound when `diffusionWorkBytes(n, …)`
 * is not 0. W is symmetric (its upper triangle is read) with row sums above 0, and so are dist, power and dw, bit by bit.
 *
 * One workgroup a graph. The matrices live in workgroup memory as far as they fit, a thread owns a 4 × 4 tile of the upper triangle, and
 * a product is two barriers: read, then write in place. The order of every sum is fixed. Cost 2n³ a product, of which t takes log₂ t and
 * one more for each further bit; memory is nothing, 12n² bytes a graph.
 */
import { type Binding, type Capabilities, foldGrid, type Program, packUniforms, type Variant } from '../kernel.ts'
import {
  begin,
  type DiffusionProblem,
  type Direction,
  diffusionCost,
  kernel,
  signature,
  validate,
  writeTile,
} from './common.ts'

export { type DiffusionProblem, diffusionLimit, diffusionWorkBytes } from './common.ts'

const read = (name: string): Binding => ({ name, type: 'f32', access: 'read' })
const written = (name: string): Binding => ({ name, type: 'f32', access: 'read_write' })

function program(
  problem: DiffusionProblem,
  direction: Direction,
  arrays: readonly Binding[],
  caps: Capabilities,
  body: (barrier: string) => string,
): Program {
  const { batch, n, t } = problem
  const { head, bindings, workgroupBytes, barrier } = kernel(n, direction, arrays, caps)
  return {
    label: `diffusion${direction === 'backward' ? '.grad' : ''}.n${n}`,
    wgsl: `${head}\n${signature} {\n  ${begin(barrier)}\n${body(barrier)}\n}\n`,
    bindings,
    uniforms: packUniforms({ batch: 'u32', steps: 'u32' }, { batch, steps: t }),
    grid: foldGrid(batch, caps.maxGrid),
    cost: diffusionCost(problem, direction),
    workgroupBytes,
    accumulators: direction === 'forward' ? 16 : 32,
  }
}

/** The bits of t below its highest, from the top: square, and multiply where the bit is set. */
const alongBits = (square: string, multiply: string): string => /* wgsl */ `
  for (var bit = firstLeadingBit(u.steps); bit > 0u; bit--) {
${square}
    if (((u.steps >> (bit - 1u)) & 1u) == 1u) {
${multiply}
    }
  }`

/** Bindings w, dist, power, [work]. @throws RangeError when a size is no positive integer or n beyond `diffusionLimit`. */
export function diffusionVariants(problem: DiffusionProblem, caps: Capabilities): Variant[] {
  validate(problem)
  return [{ name: 'graph', program: () => forward(problem, caps) }]
}

const forward = (problem: DiffusionProblem, caps: Capabilities): Program =>
  program(problem, 'forward', [read('w'), written('dist'), written('power')], caps, (barrier) => {
    const product = (right: string) => /* wgsl */ `    {
      var next = mat4x4f();
      for (var k = 0u; k < NODES; k++) { next += outer(p(k, ti), ${right}(k, tj)); }
      ${barrier}
      put_p(next);
      ${barrier}
    }`
    return /* wgsl */ `  put_p(own);
  ${barrier}
${alongBits(product('p'), product('t'))}

  let roots_i = inverse_density_root(ti, total);
  let roots_j = inverse_density_root(tj, total);
  var squares = mat4x4f();
  var last = mat4x4f();
  for (var k = 0u; k < NODES; k++) {
    let y = roots_i * p(k, ti);
    let z = roots_j * p(k, tj);
    let d = mat4x4f(y.x - z, y.y - z, y.z - z, y.w - z);
    squares += mat4x4f(d[0] * d[0], d[1] * d[1], d[2] * d[2], d[3] * d[3]);
  }
  for (var r = 0u; r < 4u; r++) { last[r] = p(4u * ti + r, tj); }
  ${writeTile('dist', 'squares')}
  ${writeTile('power', 'last')}`
  })

/** Bindings w, power, gradient, dw, [work]. @throws RangeError as `diffusionVariants` */
export function diffusionBackwardVariants(problem: DiffusionProblem, caps: Capabilities): Variant[] {
  validate(problem)
  return [{ name: 'graph', program: () => backward(problem, caps) }]
}

const backward = (problem: DiffusionProblem, caps: Capabilities): Program => {
  const arrays = [read('w'), read('power'), read('gradient'), written('dw')]
  const made = program(problem, 'backward', arrays, caps, (barrier) => {
    const put = /* wgsl */ `      ${barrier}
      put_f(next_f);
      put_p(next_p);
      ${barrier}`
    const square = /* wgsl */ `    {
      var next_f = mat4x4f();
      var next_p = mat4x4f();
      for (var k = 0u; k < NODES; k++) {
        let p_i = p(k, ti);
        let p_j = p(k, tj);
        next_f += outer(p_i, f(k, tj)) + outer(f(k, ti), p_j);
        next_p += outer(p_i, p_j);
      }
${put}
    }`
    const multiply = /* wgsl */ `      var next_f = mat4x4f();
      var next_p = mat4x4f();
      for (var k = 0u; k < NODES; k++) {
        let p_i = p(k, ti);
        let t_j = t(k, tj);
        next_f += outer(t(k, ti), f(k, tj)) + outer(f(k, ti), t_j) + outer(a(k, ti), p(k, tj)) + outer(p_i, a(k, tj));
        next_p += outer(p_i, t_j);
      }
      next_f = 0.5 * next_f;
${put}`
    return /* wgsl */ `  ${barrier}
  // P and H of the tile.
  var powers = array<vec4f, 4>();
  var sums = array<vec4f, 4>();
  for (var r = 0u; r < 4u; r++) {
    for (var c = 0u; c < 4u; c++) {
      let i = 4u * ti + r;
      let j = 4u * tj + c;
      if (i < NODES && j < NODES) {
        let at = (graph * NODES + i) * NODES + j;
        powers[r][c] = power[at];
        sums[r][c] = gradient[at] + gradient[(graph * NODES + j) * NODES + i];
      }
    }
  }
  put_p(mat4x4f(powers[0], powers[1], powers[2], powers[3]));
  put_f(mat4x4f(sums[0], sums[1], sums[2], sums[3]));
  ${barrier}

  // dY of rows ti and columns tj, and of rows tj and columns ti.
  let roots_i = inverse_density_root(ti, total);
  let roots_j = inverse_density_root(tj, total);
  var y_upper = mat4x4f();
  var y_lower = mat4x4f();
  for (var r = 0u; r < 4u; r++) {
    y_upper[r] = roots_i[r] * p(4u * ti + r, tj);
    y_lower[r] = roots_j[r] * p(4u * tj + r, ti);
  }
  var upper = mat4x4f();
  var lower = mat4x4f();
  for (var k = 0u; k < NODES; k++) {
    let root = inverse_density_root(k / 4u, total)[k % 4u];
    let y_i = root * p(k, ti);
    let y_j = root * p(k, tj);
    upper += rows_times(f(k, ti), mat4x4f(y_upper[0] - y_j, y_upper[1] - y_j, y_upper[2] - y_j, y_upper[3] - y_j));
    lower += rows_times(f(k, tj), mat4x4f(y_lower[0] - y_i, y_lower[1] - y_i, y_lower[2] - y_i, y_lower[3] - y_i));
  }
  // Y·dY of the four rows, as far as these columns go.
  let along_i = 2.0 * vec4f(dot(upper[0], y_upper[0]), dot(upper[1], y_upper[1]), dot(upper[2], y_upper[2]), dot(upper[3], y_upper[3]));
  let along_j = 2.0 * vec4f(dot(lower[0], y_lower[0]), dot(lower[1], y_lower[1]), dot(lower[2], y_lower[2]), dot(lower[3], y_lower[3]));
  let arriving = rows_times(roots_i, upper) + transpose(rows_times(roots_j, lower));
  ${barrier}
  put_a(arriving);
  put_f(arriving);
  put_row_p(tj, ti, along_i);
  if (ti != tj) { put_row_p(ti, tj, along_j); }
  ${barrier}
  for (var q = thread; q < SIDE; q += THREADS) {
    var sum = vec4f();
    for (var k = 0u; k < SIDE; k++) { sum += p(k, q); }
    along[q] = sum;
  }
  ${barrier}
  put_p(own);
  ${barrier}
${alongBits(square, multiply)}

  for (var q = thread; q < SIDE; q += THREADS) {
    let root = sqrt(degrees[q] / total);
    var stationary = vec4f();
    var walked = vec4f();
    for (var k = 0u; k < NODES; k++) {
      let slope = f(k, q);
      stationary += slope * root * sqrt(degrees[k / 4u][k % 4u] / total);
      walked += slope * t(k, q);
    }
    let both = 2.0 * stationary + along[q];
    slopes[q] = select(vec4f(), -(walked + stationary * 2.0 + 0.5 * along[q]) / degrees[q], degrees[q] > vec4f());
    along[q] = both;
  }
  workgroupBarrier();
  var spread = 0.0;
  for (var q = 0u; q < SIDE; q++) { spread += dot(along[q], vec4f(1.0)); }
  spread = 0.5 * spread / total;
  let scaled = outer(inverse_root(degrees[ti]), inverse_root(degrees[tj]));
  var result = mat4x4f();
  for (var r = 0u; r < 4u; r++) {
    result[r] = f(4u * ti + r, tj) * scaled[r] + 0.5 * (slopes[ti][r] + slopes[tj]) + spread;
  }
  ${writeTile('dw', 'result')}`
  })
  return made
}
