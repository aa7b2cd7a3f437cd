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
 * is not 0. W is symmetric with row sums above 0; dw is symmetric: each of two mirrored entries gets half of what moves both.
 *
 * One workgroup a graph, whose matrices stay in workgroup memory where they fit; thread i computes entries i, i + threads, …. The order of
 * every sum is fixed. Cost 2n³ a product, of which t takes log₂ t and one more for each further bit; memory is nothing, 12n² bytes a
 * graph. n and t are uniforms.
 *
 * RTX 3090 class (kernel.ts): 21 flops a byte at n = 28 (38 with gradients) would be bound by memory at 0.3 µs for 32 graphs; what bounds it
 * is one graph's own time. A product is 690 multiply-adds of a subgroup with two passes of workgroup memory each, 1400 clocks; the
 * five of t = 20, with the walk and the distances around them, some 6 µs, as long as a launch or two. Register tiles would halve that and
 * need a barrier more; separate launches would cost more than they save. 10 kB (20) and one sum (two) a thread limit nothing: a
 * multiprocessor takes 6 graphs of 256 threads at once, all of them 492.
 */
import type { Binding, Capabilities, Program, Variant } from '../kernel.ts'
import { alongBits, type DiffusionProblem, program, validate } from './common.ts'

export { type DiffusionProblem, diffusionLimit, diffusionWorkBytes } from './common.ts'

const read = (name: string): Binding => ({ name, type: 'f32', access: 'read' })
const written = (name: string): Binding => ({ name, type: 'f32', access: 'read_write' })

/** Bindings w, dist, power, [work]. @throws RangeError when a size is no positive integer or n beyond `diffusionLimit`. */
export function diffusionVariants(problem: DiffusionProblem, caps: Capabilities): Variant[] {
  validate(problem)
  return [{ name: 'graph', program: () => forward(problem, caps) }]
}

const forward = (problem: DiffusionProblem, caps: Capabilities): Program =>
  program(problem, 'forward', [read('w'), written('dist'), written('power')], caps, {
    load: 'MEMORY[T + cell] = w[base + cell];',
    body: /* wgsl */ `  for (var cell = thread; cell < size; cell += THREADS) { MEMORY[P + cell] = MEMORY[T + cell]; }
  BARRIER
  var p = P;
  var next = Q;
${alongBits(/* wgsl */ `    let right = select(p, T, multiply);
    for (var cell = thread; cell < size; cell += THREADS) {
      let i = cell / n;
      let j = cell % n;
      var sum = 0.0;
      for (var k = 0u; k < n; k++) { sum += MEMORY[p + k * n + i] * MEMORY[right + k * n + j]; }
      MEMORY[next + cell] = sum;
    }
    BARRIER
    let spare = p;
    p = next;
    next = spare;`)}

  for (var cell = thread; cell < size; cell += THREADS) {
    let i = cell / n;
    let j = cell % n;
    let scale_i = 1.0 / roots[i];
    let scale_j = 1.0 / roots[j];
    var squares = 0.0;
    for (var k = 0u; k < n; k++) {
      let d = scale_i * MEMORY[p + k * n + i] - scale_j * MEMORY[p + k * n + j];
      squares += d * d;
    }
    dist[base + cell] = squares;
    power[base + cell] = MEMORY[p + cell];
  }`,
  })

/** Bindings w, power, gradient, dw, [work]. @throws RangeError as `diffusionVariants` */
export function diffusionBackwardVariants(problem: DiffusionProblem, caps: Capabilities): Variant[] {
  validate(problem)
  return [{ name: 'graph', program: () => backward(problem, caps) }]
}

const backward = (problem: DiffusionProblem, caps: Capabilities): Program =>
  program(problem, 'backward', [read('w'), read('power'), read('gradient'), written('dw')], caps, {
    // H in F.
    load: /* wgsl */ `MEMORY[T + cell] = w[base + cell];
    MEMORY[P + cell] = power[base + cell];
    MEMORY[F + cell] = gradient[base + cell] + gradient[base + cell % n * n + cell / n];`,
    body: /* wgsl */ `  // dY/2, its rows scaled, in G; Y∘dY/2 in Q.
  for (var cell = thread; cell < size; cell += THREADS) {
    let i = cell / n;
    let j = cell % n;
    let y = MEMORY[P + cell] / roots[i];
    var dy = 0.0;
    for (var k = 0u; k < n; k++) { dy += MEMORY[F + k * n + i] * (y - MEMORY[P + k * n + j] / roots[k]); }
    MEMORY[G + cell] = dy / roots[i];
    MEMORY[Q + cell] = y * dy;
  }
  BARRIER
  for (var cell = thread; cell < size; cell += THREADS) {
    let arriving = MEMORY[G + cell] + MEMORY[G + cell % n * n + cell / n];
    MEMORY[A + cell] = arriving;
    MEMORY[F + cell] = arriving;
    MEMORY[P + cell] = MEMORY[T + cell];
  }
  for (var i = thread; i < n; i += THREADS) {
    var sum = 0.0;
    for (var k = 0u; k < n; k++) { sum += MEMORY[Q + i * n + k]; }
    along[i] = 2.0 * sum;
  }
  BARRIER
  var p = P;
  var next_p = Q;
  var f = F;
  var next_f = G;
${alongBits(/* wgsl */ `    let left = select(p, T, multiply);
    let slope = select(f, A, multiply);
    for (var cell = thread; cell < size; cell += THREADS) {
      let i = cell / n;
      let j = cell % n;
      var sum_p = 0.0;
      var sum_f = 0.0;
      for (var k = 0u; k < n; k++) {
        let l = MEMORY[left + k * n + i];
        let r = MEMORY[p + k * n + j];
        sum_f += l * MEMORY[f + k * n + j] + MEMORY[slope + k * n + i] * r;
        sum_p += l * r;
      }
      MEMORY[next_f + cell] = sum_f;
      MEMORY[next_p + cell] = sum_p;
    }
    BARRIER
    let spare = vec2u(p, f);
    p = next_p;
    f = next_f;
    next_p = spare.x;
    next_f = spare.y;`)}

  for (var i = thread; i < n; i += THREADS) {
    var stationary = 0.0;
    var walked = 0.0;
    for (var k = 0u; k < n; k++) {
      let slope = MEMORY[f + k * n + i];
      stationary += slope * roots[k];
      walked += slope * MEMORY[T + k * n + i];
    }
    stationary *= 2.0 * roots[i];
    slopes[i] = -(walked + stationary + 0.5 * along[i]) / degrees[i];
    along[i] += stationary;
  }
  BARRIER
  var spread = 0.0;
  for (var k = 0u; k < n; k++) { spread += along[k]; }
  spread *= 0.5 / total;
  for (var cell = thread; cell < size; cell += THREADS) {
    let i = cell / n;
    let j = cell % n;
    let slope = 0.5 * (MEMORY[f + cell] + MEMORY[f + j * n + i]) / (sqrt(degrees[i]) * sqrt(degrees[j]));
    dw[base + cell] = slope + 0.5 * (slopes[i] + slopes[j]) + spread;
  }`,
  })
