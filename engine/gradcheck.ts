/**
 * Checks recorded gradients against central differences along random directions: one inner product a direction, so cheap at
 * any size. The output is projected on fixed random weights, L = Σ w·f(x), and along a direction v
 *
 *   Σ ∂L/∂x · v  ≈  (8 (L(x + hv) − L(x − hv)) − (L(x + 2hv) − L(x − 2hv))) / 12h,
 *
 * whose error is O(h⁴), so that h can be large enough for float32. The differences are summed in float64.
 */
import { gradNodes } from './autograd.ts'
import { concat, tensor } from './create.ts'
import { isFloat } from './dtype.ts'
import { HostRandom } from './random.ts'
import { numel, ShapeError } from './shape.ts'
import { Tensor } from './tensor.ts'

export interface GradcheckOptions {
  /** Largest error, relative to max(1, the root of Σ (∂L/∂x · v)² over elements). Default 2e-3. */
  tolerance?: number
  /** Step h; inputs should stay 2h away from kinks. Default 1/64. */
  epsilon?: number
  /** Random directions per input. Default 2. */
  directions?: number
}

/** A function, or an op of `defineOp`, of one or more outputs; integer and bool outputs are left out. */
export type Differentiable = (...inputs: Tensor[]) => Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>>
type Fn = (...inputs: Tensor[]) => Tensor

/** All float outputs as one vector. */
function oneOutput(fn: Differentiable): Fn {
  return (...inputs) => {
    const result = fn(...inputs)
    if (result instanceof Tensor) return result
    const floats = Object.values(result).filter((t) => isFloat(t.dtype))
    if (!floats.length) throw new ShapeError('gradcheck: no output is a float tensor')
    return flat(floats)
  }
}

/** The recorded gradient disagrees with central differences. */
export class GradcheckError extends Error {
  override name = 'GradcheckError'
  constructor(
    readonly input: number,
    readonly got: number,
    readonly expected: number,
    tolerance: number,
  ) {
    super(
      `gradcheck: input ${input}: derivative along a random direction: got ${got}, expected ${expected} (within ${tolerance})`,
    )
  }
}

/** Numbers with |v| in [½, 1) and random signs. */
const direction = (random: HostRandom, count: number): Float32Array =>
  Float32Array.from({ length: count }, () => (random.uniform() < 0.5 ? -1 : 1) * (0.5 + random.uniform() / 2))

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/**
 * Compares the gradient of `fn` for every float input with central differences. Integer and bool inputs are held fixed.
 * @throws GradcheckError naming the input's index, the derivative got and the one expected
 */
export async function gradcheck(
  f: Differentiable,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): Promise<void> {
  const fn = oneOutput(f)
  const { tolerance = 2e-3, epsilon = 1 / 64, directions = 2 } = options
  const random = new HostRandom(20240607)
  const values = await Promise.all(inputs.map((t) => t.data()))
  const leaf = (i: number, data: ArrayLike<number>): Tensor =>
    tensor(Float64Array.from(data), inputs[i]!.shape, inputs[i]!.dtype)
  const floats = inputs.flatMap((t, i) => (isFloat(t.dtype) ? [i] : []))
  if (!floats.length) throw new ShapeError('gradcheck: no input is a float tensor')

  const leaves = values.map((data, i) => leaf(i, data))
  const output = fn(...leaves)
  if (!isFloat(output.dtype)) throw new ShapeError(`gradcheck: the output must be a float tensor, got ${output.dtype}`)
  const weights = direction(random, numel(output.shape))
  const seed = tensor(weights, output.shape, output.dtype)
  const wrt = floats.map((i) => leaves[i]!.node)
  const grads = gradNodes(output.node, wrt, seed.node).map((n) => new Tensor(n))
  // One after the other would plan each gradient by itself; asked for as one vector they share their forward pass.
  const all = await flat(grads).data()
  let start = 0
  for (const i of floats) {
    const gradient = all.subarray(start, start + numel(inputs[i]!.shape))
    start += gradient.length
    for (let d = 0; d < directions; d++) {
      const v = direction(random, gradient.length)
      const at = (h: number) =>
        fn(...values.map((data, j) => leaf(j, j === i ? data.map((x, k) => x + h * v[k]!) : data))).data()
      const [p1, m1, p2, m2] = [await at(epsilon), await at(-epsilon), await at(2 * epsilon), await at(-2 * epsilon)]
      const change = p1.map((x, k) => 8 * (x - m1[k]!) - (p2[k]! - m2[k]!))
      const expected = dot(weights, change) / (12 * epsilon)
      const got = dot(gradient, v)
      const size = Math.sqrt(Array.from(gradient).reduce((sum, g, k) => sum + (g * v[k]!) ** 2, 0))
      if (!(Math.abs(got - expected) <= tolerance * Math.max(1, size)))
        throw new GradcheckError(i, got, expected, tolerance * Math.max(1, size))
    }
  }
}

const flat = (parts: readonly Tensor[]): Tensor => concat(parts.map((p) => p.reshape([-1]).cast('f32')))

/** Second derivatives: `gradcheck` of the gradient of Σ w·f² + w·f, as one vector over all float inputs. */
export async function gradgradcheck(
  f: Differentiable,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): Promise<void> {
  const fn = oneOutput(f)
  const first: Fn = (...args) => {
    const output = fn(...args)
    const random = new HostRandom(11)
    const weights = tensor(direction(random, numel(output.shape)), output.shape)
    // The square makes the gradient of linear ops depend on their input, so that their second rule is walked as well.
    const loss = output.square().mul(0.5).add(output).mul(weights).sum()
    const wrt = args.filter((t) => isFloat(t.dtype))
    return flat(
      gradNodes(
        loss.node,
        wrt.map((t) => t.node),
      ).map((n) => new Tensor(n)),
    )
  }
  await gradcheck(first, inputs, { directions: 1, ...options })
}
