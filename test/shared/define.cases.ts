/** Ops that users define: a pointwise one, rows with a reduction, stencils over a video clip, a free grid; and what goes wrong. */
import {
  type DefinedOp,
  defineOp,
  type GpuError,
  getDevice,
  grad,
  gradcheck,
  gradgradcheck,
  ShaderError,
  tensor,
} from '../../engine/index.ts'
import { type Case, same } from './case.ts'
import { alongLast, build, get, type Nd } from './ops/reference.ts'
import { asTensor, expectValues, note } from './ops/table.ts'

/** x · sigmoid(β x), β learned. */
const swish = defineOp({
  name: 'swish',
  inputs: { x: 'f32', beta: 'f32[]' },
  output: (x) => x.shape,
  wgsl: 'y[i] = x[i] / (1.0 + exp(-beta * x[i]));',
  vjp: ({ x, beta }, dy) => {
    const s = x.mul(beta).sigmoid()
    const slope = x.mul(s).mul(s.neg().add(1))
    return { x: dy.mul(s.add(slope.mul(beta))), beta: dy.mul(slope.mul(x)).sum() }
  },
})

/** Rows over their root mean square, which is an output too. */
const unitRows = defineOp({
  name: 'unitRows',
  inputs: { x: { dtype: 'f32', axes: ['N', 'D'] } },
  outputs: { y: ['N', 'D'], scale: ['N'] },
  uniforms: { epsilon: 1e-6 },
  launch: 'row',
  wgsl: `
    var squares = 0.0;
    for (var k = lane; k < width; k += lanes) { squares += x[start + k] * x[start + k]; }
    let r = inverseSqrt(row_sum(squares) / f32(width) + epsilon);
    for (var k = lane; k < width; k += lanes) { y[start + k] = x[start + k] * r; }
    if (lane == 0u) { scale[row] = r; }`,
  vjp: ({ x }, dy, { outputs: { y, scale } }) => {
    const r = scale.unsqueeze(-1)
    const through = dy.y.sub(y.mul(dy.y.mul(y).mean(-1, true))).mul(r)
    return { x: through.sub(dy.scale.unsqueeze(-1).mul(r.pow(3)).mul(x).div(x.shape[1]!)) }
  },
})

const clip = ['B', 'T', 'H', 'W', 'C'] as const

/** Second differences along time and both sides of the picture; outside is 0, so that it is its own transpose. */
const laplacian: DefinedOp = defineOp({
  name: 'laplacian',
  inputs: { x: { dtype: 'f32', axes: clip } },
  output: clip,
  wgsl: `
    y[i] = x_at(b, t - 1, h, w, c) + x_at(b, t + 1, h, w, c)
         + x_at(b, t, h - 1, w, c) + x_at(b, t, h + 1, w, c)
         + x_at(b, t, h, w - 1, c) + x_at(b, t, h, w + 1, c) - 6.0 * x[i];`,
  vjp: (_, dy) => ({ x: laplacian(dy) }),
})

/** Mean over frames t − radius … t + radius, the first and last repeated at the ends. */
const smooth = defineOp({
  name: 'smooth',
  inputs: { x: { dtype: 'f32', axes: clip } },
  output: clip,
  constants: { radius: 1 },
  functions: 'fn share() -> f32 { return 1.0 / f32(2 * radius + 1); }',
  wgsl: `
    var total = 0.0;
    for (var k = -radius; k <= radius; k++) { total += x_edge(b, t + k, h, w, c); }
    y[i] = total * share();`,
})

/** Transpose through a tile of workgroup memory. */
const turned: DefinedOp = defineOp({
  name: 'turned',
  inputs: { x: { dtype: 'f32', axes: ['R', 'C'] } },
  output: ['C', 'R'],
  launch: { workgroup: [8, 8, 1], grid: (x) => [Math.ceil(x.shape[1]! / 8), Math.ceil(x.shape[0]! / 8), 1] },
  functions: 'var<workgroup> tile: array<f32, 72>;',
  wgsl: `
    tile[lid.y * 9u + lid.x] = x_at(i32(gid.y), i32(gid.x));
    workgroupBarrier();
    let r = i32(wid.y * 8u + lid.x);
    let c = i32(wid.x * 8u + lid.y);
    if (r < R && c < C) { y[y_index(c, r)] = tile[lid.x * 9u + lid.y]; }`,
  vjp: (_, dy) => ({ x: turned(dy) }),
})

/** Picks rows, but only where asked: integers and truth values beside floats. */
const chosen = defineOp({
  name: 'chosen',
  inputs: {
    x: { dtype: 'f32', axes: ['N', 'D'] },
    index: { dtype: 'i32', axes: ['M'] },
    on: { dtype: 'bool', axes: ['M'] },
  },
  output: ['M', 'D'],
  wgsl: 'y[i] = select(0.0, x_at(index[m], d), on_at(m));',
  vjp: ({ x, index, on }, dy) => ({
    x: dy.mul(on.cast('f32').unsqueeze(1)).scatterAdd(index.unsqueeze(1), 0, x.shape[0]!),
  }),
})

let seed = 7
const random = (shape: number[]): Nd =>
  build(shape, () => Math.fround(((seed = (seed * 48271) % 2147483647) / 2147483647) * 4 - 2))

const laplace = (x: Nd): Nd => {
  const at = (...c: number[]) => (c.every((v, i) => v >= 0 && v < x.shape[i]!) ? get(x, ...c) : 0)
  return build(x.shape, ([b, t, h, w, c]) => {
    const around = [1, 2, 3].flatMap((axis) =>
      [-1, 1].map((d) => [b!, t!, h!, w!, c!].map((v, i) => (i === axis ? v + d : v))),
    )
    return around.reduce((s, p) => s + at(...p), 0) - 6 * at(b!, t!, h!, w!, c!)
  })
}

/** The message of what is thrown, now or later. */
async function messageOf(run: () => unknown): Promise<string> {
  try {
    await run()
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('expected an error, got none')
}

async function expectMessage(run: () => unknown, ...parts: (string | RegExp)[]): Promise<void> {
  const message = await messageOf(run)
  for (const part of parts)
    if (typeof part === 'string' ? !message.includes(part) : !part.test(message))
      throw new Error(`expected ${part} in the message, got:\n${message}`)
}

const bad = (wgsl: string, functions = '') =>
  defineOp({ name: 'bad', inputs: { x: 'f32' }, output: (x) => x.shape, wgsl, functions })

// biome-ignore format: one line a check
const mistakes: [string, () => Promise<void>][] = [
  ['a WGSL error shows the line of the body', async () => {
    const op = bad('let v = x[i];\nlet w = v * 2.0;\n  y[i] = w + missing;\n')
    await expectMessage(() => op(tensor([1, 2])).data(), "'bad'", /bad.*, line 3:14: .*missing/, '    y[i] = w + missing;')
    try { await op(tensor([1, 2])).data() } catch (error) { same(error instanceof ShaderError && (error as GpuError).running, 'bad', 'type of error') }
  }],
  ['a WGSL error shows the line of the functions', () => expectMessage(() => bad('y[i] = twice(x[i]);', 'fn once(v: f32) -> f32 { return v; }\nfn twice(v: f32) -> f32 { return v + true; }')(tensor([1])).data(), /functions of bad.*, line 2:/, 'return v + true')],
  ['a bracket that is not closed is looked for at the end', () => expectMessage(() => bad('if (x[i] > 0.0) { y[i] = 1.0;')(tensor([1])).data(), /after bad.*bracket or a semicolon missing/)],
  ['no vjp', async () => { const x = tensor([1, 2]); await expectMessage(() => grad(bad('y[i] = x[i];')(x).sum(), x), "'bad' was defined without a vjp") }],
  ['a vjp of another shape', async () => { const x = tensor([1, 2]); const op = defineOp({ name: 'odd', inputs: { x: 'f32' }, output: (s) => s.shape, wgsl: 'y[i] = x[i];', vjp: (_, dy) => ({ x: dy.sum() }) }); await expectMessage(() => grad(op(x).sum(), x), "odd: its vjp gave [] for 'x', which is [2]") }],
  ['a vjp for another name', async () => { const x = tensor([1, 2]); const op = defineOp({ name: 'odd', inputs: { x: 'f32' }, output: (s) => s.shape, wgsl: 'y[i] = x[i];', vjp: (_, dy) => ({ z: dy }) as never }); await expectMessage(() => grad(op(x).sum(), x), "odd: its vjp gave a gradient for 'z'") }],
  ['another dtype', () => expectMessage(() => swish(tensor([1], [1], 'i32'), 1), "swish: input 'x' must be f32; use .cast('f32'), got i32[1]")],
  ['no scalar', () => expectMessage(() => swish(tensor([1]), tensor([1, 2])), "swish: input 'beta' must be a scalar, got f32[2]")],
  ['another rank', () => expectMessage(() => laplacian(tensor([1, 2])), "laplacian: input 'x' must be [B, T, H, W, C], got f32[2]")],
  ['one axis of two sizes', () => expectMessage(() => chosen(tensor([[1]]), tensor([0, 0], undefined, 'i32'), tensor([1], undefined, 'bool')), "chosen: axis M is 2 in 'index' and 1 in 'on' bool[1]")],
  ['too few inputs', () => expectMessage(() => swish(tensor([1])), 'swish: takes x, beta, got 1 inputs')],
  ['an attribute that is none', () => expectMessage(() => smooth(tensor([1], [1, 1, 1, 1, 1]), { width: 3 }), "smooth: has no attribute 'width'; it has radius")],
  ['a name that is taken', () => expectMessage(() => defineOp({ name: 'n', inputs: { row: 'f32' }, output: (x) => x.shape, wgsl: '' }), "input 'row' is a word of WGSL or of the generated code")],
  ['a coordinate named as an input', () => expectMessage(() => defineOp({ name: 'n', inputs: { x: { dtype: 'f32', axes: ['X'] } }, output: ['X'], wgsl: '' }), "coordinate of axis X 'x' is already the name of input")],
  ['an output axis that nothing names', () => expectMessage(() => defineOp({ name: 'n', inputs: { x: 'f32' }, output: ['Q'], wgsl: '' })(tensor([1])), "output 'y' has an axis Q that no input or constant names")],
  ['a workgroup beyond the limit', () => expectMessage(() => defineOp({ name: 'wide', inputs: { x: 'f32' }, output: (x) => x.shape, wgsl: 'y[0] = 1.0;', launch: { workgroup: [64, 64, 64], grid: () => [1, 1, 1] } })(tensor([1])).data(), "'wide' needs 262144, but maxComputeInvocationsPerWorkgroup")],
]

export function cases(): Case[] {
  return [
    {
      name: 'defineOp: a pointwise op with a learned scalar',
      async run() {
        const x = random([3, 5])
        const y = swish(asTensor(x), 1.3)
        note(y)
        await expectValues(y, { ...x, data: x.data.map((v) => v / (1 + Math.exp(-1.3 * v))) }, 2e-6, 'swish')
        await gradcheck(swish, [asTensor(x), tensor(1.3)])
        await gradcheck(swish, [asTensor(random([5, 3])).transpose(), tensor(0.7)])
        // Its vjp is made of ordinary ops: it can be differentiated again.
        await gradgradcheck(swish, [asTensor(x), tensor(1.3)])
      },
    },
    {
      name: 'defineOp: rows with a workgroup reduction and two outputs',
      async run() {
        for (const shape of [
          [5, 3],
          [2, 70],
          [3, 1],
        ]) {
          const x = random(shape)
          const rms = (l: Float64Array) => Math.sqrt(l.reduce((s, v) => s + v * v, 0) / l.length + 1e-6)
          const { y, scale } = unitRows(asTensor(x))
          await expectValues(
            y,
            alongLast(x, (l) => l.map((v) => v / rms(l))),
            2e-6,
            'rows',
          )
          const scales = alongLast(x, (l) => [1 / rms(l)])
          await expectValues(scale, { shape: [shape[0]!], data: scales.data }, 2e-6, 'scales')
        }
        await gradcheck(unitRows, [asTensor(random([4, 6]))])
      },
    },
    {
      name: 'defineOp: a stencil over a video clip',
      async run() {
        const x = random([1, 4, 3, 5, 2])
        await expectValues(laplacian(asTensor(x)), laplace(x), 5e-6, 'laplacian')
        await gradcheck(laplacian, [asTensor(random([2, 2, 3, 2, 1]))])
        await gradgradcheck(laplacian, [asTensor(random([2, 2, 3, 2, 1]))])
      },
    },
    {
      name: 'defineOp: constants and helper functions; a use may set others',
      async run() {
        const x = random([1, 5, 1, 2, 1])
        const mean = (radius: number) =>
          build(x.shape, ([b, t, h, w, c]) => {
            const frames = Array.from({ length: 2 * radius + 1 }, (_, k) => Math.min(Math.max(t! + k - radius, 0), 4))
            return frames.reduce((s, f) => s + get(x, b!, f, h!, w!, c!), 0) / frames.length
          })
        await expectValues(smooth(asTensor(x)), mean(1), 2e-6, 'radius 1')
        await expectValues(smooth(asTensor(x), { radius: 2 }), mean(2), 2e-6, 'radius 2')
      },
    },
    {
      name: 'defineOp: another uniform compiles nothing',
      async run() {
        const x = asTensor(random([2, 3]))
        const first = await unitRows(x).y.data()
        const { pipelines } = await getDevice()
        const before = pipelines.created
        const second = await unitRows(x, { epsilon: 100 }).y.data()
        same(pipelines.created, before, 'pipelines')
        if (!(Math.abs(second[0]!) < Math.abs(first[0]!) / 2))
          throw new Error(`epsilon was not used: ${first} ${second}`)
      },
    },
    {
      name: 'defineOp: a free grid with workgroup memory',
      async run() {
        const x = random([11, 19])
        const y = build([19, 11], ([i, j]) => get(x, j!, i!))
        await expectValues(turned(asTensor(x)), y, 0, 'turned')
        await gradcheck(turned, [asTensor(x)])
      },
    },
    {
      name: 'defineOp: integers and truth values beside floats',
      async run() {
        const x = random([4, 3])
        const index = tensor([2, 0, 3, 2, 1], undefined, 'i32')
        const on = tensor([1, 1, 0, 1, 0], undefined, 'bool')
        const want = build([5, 3], ([m, d]) => ([1, 1, 0, 1, 0][m!] ? get(x, [2, 0, 3, 2, 1][m!]!, d!) : 0))
        await expectValues(chosen(asTensor(x), index, on), want, 0, 'chosen')
        await gradcheck(chosen, [asTensor(x), index, on])
      },
    },
    {
      name: 'defineOp: the source of a use can be read',
      run() {
        const text = laplacian.source(tensor([0], [1, 1, 1, 1, 1]))
        for (const part of ['fn x_at(', '- 6.0 * x[i];', '@compute', 'const T = 1;'])
          if (!text.includes(part)) throw new Error(`no '${part}' in\n${text}`)
      },
    },
    ...mistakes.map(([name, run]): Case => ({ name: `defineOp: ${name}`, run })),
  ]
}
