/**
 * WGSL of the pointwise ops: one expression line each, from the expressions of the operands. Helper functions named in an
 * expression are added to the kernels that use them.
 */
import { computeType, type DType } from '../dtype.ts'
import type { Node } from '../graph.ts'
import type { BinaryOp, UnaryOp } from './names.ts'

export interface PointwiseRule {
  readonly wgsl: (args: readonly string[], node: Node) => string
  /** Rough arithmetic per element; ops at or above 8 are not worth doing twice. */
  readonly flops: number
}

const infix = (symbol: string, flops = 1): PointwiseRule => ({ wgsl: ([a, b]) => `(${a} ${symbol} ${b})`, flops })
const call = (name: string, flops = 1): PointwiseRule => ({ wgsl: (args) => `${name}(${args.join(', ')})`, flops })
const byType = (f: (dtype: DType) => string, flops = 1): PointwiseRule => ({
  wgsl: (args, node) => `${f(node.inputs[0]!.dtype)}(${args.join(', ')})`,
  flops,
})

const castTo = (value: string, from: DType, to: DType): string => {
  if (from === 'bool')
    return to === 'u32'
      ? `select(0u, 1u, ${value})`
      : to === 'i32'
        ? `select(0, 1, ${value})`
        : `select(0.0, 1.0, ${value})`
  if (to === 'bool') return `(${value} != ${from === 'i32' ? '0' : from === 'u32' ? '0u' : '0.0'})`
  if (to === 'f16') return `roundToHalf(f32(${value}))`
  return computeType(from) === computeType(to) ? value : `${computeType(to)}(${value})`
}

export const pointwise: { [K in UnaryOp | BinaryOp | 'cast' | 'bitcast' | 'where' | 'detach']: PointwiseRule } = {
  neg: { wgsl: ([x], n) => (n.dtype === 'u32' ? `(0u - ${x})` : `(-${x})`), flops: 1 },
  abs: call('abs'),
  sign: byType((d) => (d === 'u32' ? 'signU' : 'sign')),
  floor: { wgsl: ([x], n) => (computeType(n.dtype) === 'f32' ? `floor(${x})` : x!), flops: 1 },
  ceil: { wgsl: ([x], n) => (computeType(n.dtype) === 'f32' ? `ceil(${x})` : x!), flops: 1 },
  round: { wgsl: ([x], n) => (computeType(n.dtype) === 'f32' ? `round(${x})` : x!), flops: 1 },
  exp: call('exp', 8),
  log: call('logarithm', 8),
  sqrt: call('sqrt', 4),
  rsqrt: call('inverseSqrt', 4),
  reciprocal: { wgsl: ([x]) => `(1.0 / ${x})`, flops: 2 },
  sin: { wgsl: ([x]) => `sine(${x}, 0)`, flops: 16 },
  cos: { wgsl: ([x]) => `sine(${x}, 1)`, flops: 16 },
  tanh: call('tanhStable', 10),
  erf: call('erf', 20),
  sigmoid: { wgsl: ([x]) => `(1.0 / (1.0 + exp(-${x})))`, flops: 10 },
  softplus: { wgsl: ([x]) => `(max(${x}, 0.0) + log(1.0 + exp(-abs(${x}))))`, flops: 18 },
  logicalNot: { wgsl: ([x]) => `(!${x})`, flops: 1 },
  isNan: { wgsl: ([x], n) => (computeType(n.inputs[0]!.dtype) === 'f32' ? `isNanBits(${x})` : 'false'), flops: 1 },
  isFinite: { wgsl: ([x], n) => (computeType(n.inputs[0]!.dtype) === 'f32' ? `isFiniteBits(${x})` : 'true'), flops: 1 },
  add: infix('+'),
  sub: infix('-'),
  mul: infix('*'),
  div: infix('/', 2),
  pow: byType((d) => (computeType(d) === 'f32' ? 'power' : d === 'i32' ? 'powerI' : 'powerU'), 16),
  mod: byType((d) => (computeType(d) === 'f32' ? 'moduloF' : d === 'i32' ? 'moduloI' : 'moduloU'), 3),
  maximum: call('max'),
  minimum: call('min'),
  less: infix('<'),
  lessEqual: infix('<='),
  greater: infix('>'),
  greaterEqual: infix('>='),
  equal: infix('=='),
  notEqual: infix('!='),
  logicalAnd: infix('&'),
  logicalOr: infix('|'),
  cast: { wgsl: ([x], n) => castTo(x!, n.inputs[0]!.dtype, n.dtype), flops: 1 },
  bitcast: { wgsl: ([x], n) => `bitcast<${computeType(n.dtype)}>(${x})`, flops: 1 },
  where: { wgsl: ([c, a, b]) => `select(${b}, ${a}, ${c})`, flops: 1 },
  detach: { wgsl: ([x]) => x!, flops: 0 },
}

/** WGSL functions the expressions call; `opaque` keeps drivers from folding bit patterns of NaN and infinity away. */
export const helpers: Record<string, string> = {
  opaque: 'var<private> opaqueZero: u32 = 0u;\nfn opaque(bits: u32) -> u32 { return bits | opaqueZero; }',
  // WGSL's own sin and cos may be off by 2⁻¹¹. Cody–Waite reduction by π/2 and the minimax polynomials of Cephes (Moshier).
  sine: `fn sine(x: f32, quarters: i32) -> f32 {
  let k = round(x * 0.636619772);
  let r = ((x - k * 1.5703125) - k * 4.837512969970703e-4) - k * 7.549789954891882e-8;
  let z = r * r;
  let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
  let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
  let q = (i32(k) + quarters) & 3;
  let v = select(s, c, (q & 1) == 1);
  return select(v, -v, q >= 2);
}`,
  // Some drivers give a finite number for log(0) or for a negative one.
  logarithm: `fn logarithm(x: f32) -> f32 {
  if (x == 0.0) { return bitcast<f32>(opaque(0xff800000u)); }
  if (x < 0.0) { return bitcast<f32>(opaque(0x7fc00000u)); }
  return log(x);
}`,
  tanhStable: 'fn tanhStable(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }',
  signU: 'fn signU(x: u32) -> u32 { return select(0u, 1u, x != 0u); }',
  // Minimax polynomials after the single-precision scheme of N. Juffa; absolute error below 2e-7.
  erf: `fn erf(x: f32) -> f32 {
  let t = abs(x);
  let s = x * x;
  if (t > 0.927734375) {
    var r = -1.72853470e-5 * t + 3.83197126e-4;
    let v = -3.88396438e-3 * t + 2.42546219e-2;
    r = r * s + v;
    r = r * t - 1.06777877e-1;
    r = r * t - 6.34846687e-1;
    r = r * t - 1.28717512e-1;
    r = r * t - t;
    return sign(x) * (1.0 - exp(max(r, -80.0)));
  }
  var r = -5.96761703e-4 * s + 4.99119423e-3;
  r = r * s - 2.67681349e-2;
  r = r * s + 1.12819925e-1;
  r = r * s - 3.76125336e-1;
  r = r * s + 1.28379166e-1;
  return r * x + x;
}`,
  // Negative bases are defined for integral exponents, as in IEEE pow.
  power: `fn power(x: f32, y: f32) -> f32 {
  if (y == 0.0) { return 1.0; }
  if (x == 0.0) { return select(bitcast<f32>(opaque(0x7f800000u)), 0.0, y > 0.0); }
  let magnitude = exp2(y * log2(abs(x)));
  if (x > 0.0) { return magnitude; }
  if (floor(y) != y) { return bitcast<f32>(opaque(0x7fc00000u)); }
  return select(magnitude, -magnitude, abs(y) % 2.0 == 1.0);
}`,
  powerI: `fn powerI(x: i32, y: i32) -> i32 {
  var r = 1; var base = x; var e = max(y, 0);
  while (e > 0) { if ((e & 1) == 1) { r *= base; } base *= base; e >>= 1u; }
  return select(r, 0, y < 0);
}`,
  powerU: `fn powerU(x: u32, y: u32) -> u32 {
  var r = 1u; var base = x; var e = y;
  while (e > 0u) { if ((e & 1u) == 1u) { r *= base; } base *= base; e >>= 1u; }
  return r;
}`,
  // Floored, like Python: the result has the sign of the divisor.
  moduloF: 'fn moduloF(x: f32, y: f32) -> f32 { return x - floor(x / y) * y; }',
  moduloI:
    'fn moduloI(x: i32, y: i32) -> i32 { let r = x % y; return select(r, r + y, r != 0 && (r < 0) != (y < 0)); }',
  moduloU: 'fn moduloU(x: u32, y: u32) -> u32 { return x % y; }',
  isNanBits: 'fn isNanBits(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }',
  isFiniteBits: 'fn isFiniteBits(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }',
  // By hand: drivers drop a conversion to half precision and back, and say nothing of values beyond ±65504.
  roundToHalf: `fn roundToHalf(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  let nearest = (magnitude + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u;
  let normal = select(select(nearest, 0x7f800000u, nearest >= 0x47800000u), magnitude, magnitude > 0x7f800000u);
  let subnormal = round(x * 16777216.0) * 5.9604644775390625e-8;
  return select(bitcast<f32>(opaque((bits & 0x80000000u) | normal)), subnormal, magnitude < 0x38800000u);
}`,
  // Philox 4×32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"); element i takes word i mod 4 of block i / 4.
  philox: `fn mulHigh(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu; let a1 = a >> 16u; let b0 = b & 0xffffu; let b1 = b >> 16u;
  let low = a0 * b0; let m1 = a1 * b0 + (low >> 16u); let m2 = a0 * b1 + (m1 & 0xffffu);
  return a1 * b1 + (m1 >> 16u) + (m2 >> 16u);
}
fn philoxBlock(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0; round < 10; round++) {
    c = vec4u(mulHigh(0xCD9E8D57u, c.z) ^ c.y ^ k.x, 0xCD9E8D57u * c.z, mulHigh(0xD2511F53u, c.x) ^ c.w ^ k.y, 0xD2511F53u * c.x);
    k += vec2u(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}
fn philox(key0: u32, key1: u32, stream: u32, index: u32) -> u32 {
  let c = philoxBlock(vec4u(index >> 2u, stream, 0u, 0u), vec2u(key0, key1));
  return c[index & 3u];
}`,
}

/** Texts of the helpers that `body` calls, those they call included. */
export function helpersFor(body: string): string {
  const used = new Set<string>()
  const visit = (text: string) => {
    for (const name of Object.keys(helpers))
      if (!used.has(name) && new RegExp(`\\b${name}\\(`).test(text)) {
        used.add(name)
        visit(helpers[name]!)
      }
  }
  visit(body)
  return Object.keys(helpers)
    .filter((n) => used.has(n))
    .map((n) => helpers[n]!)
    .join('\n')
}
