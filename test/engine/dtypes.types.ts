/**
 * Types carry the dtype: this file is not run but compiled (`npm run check`). A line under `@ts-expect-error` must not compile,
 * every other must.
 */
import { arange, concat, full, scalar, type Tensor, tensor, where, zeros } from '../../engine/index.ts'

declare function is<T>(value: T): void
/** Compiles when A and B are the same type. */
declare function same<A, B>(
  proof: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false,
): void
type Of<X> = X extends Tensor<infer D> ? D : never

const x = zeros([2, 3])
const half = x.cast('f16')
const index = tensor([0, 1], undefined, 'i32')
const words = tensor(new Uint32Array(2))
declare const unknown: Tensor

// What is made has the dtype that was asked for, f32 by default.
same<typeof x, Tensor<'f32'>>(true)
same<typeof half, Tensor<'f16'>>(true)
same<typeof index, Tensor<'i32'>>(true)
same<typeof words, Tensor<'u32'>>(true)
is<Tensor<'i32'>>(tensor(new Int32Array(2)))
is<Tensor<'i32'>>(arange(3, undefined, 1, 'i32'))
is<Tensor<'bool'>>(full([2], 1, 'bool'))
is<Tensor<'f32'>>(scalar(2))
is<'f32'>(x.dtype)

// Ops say what comes out.
is<Tensor<'bool'>>(x.less(3))
is<Tensor<'bool'>>(index.equal(words).and(x.isNan()).not())
is<Tensor<'i32'>>(x.argmax())
is<Tensor<'i32'>>(x.sort().indices)
is<Tensor<'f32'>>(x.topk(2).values)
is<Tensor<'f32'>>(index.oneHot(4))
is<Tensor<'f32'>>(index.mean())
is<Tensor<'f16'>>(half.mean())
is<Tensor<'f32'>>(concat([x, x]).softmax().matmul(x))

// Promotion: the wider of the two; a number keeps the dtype, a fraction makes integers f32.
same<Of<ReturnType<typeof promoted>>, 'f32'>(true)
const promoted = () => half.add(x)
is<Tensor<'f16'>>(half.mul(index).mul(0.5))
is<Tensor<'i32'>>(index.mul(words).add(3))
is<Tensor<'f32'>>(index.mul(0.5))
is<Tensor<'u32'>>(words.maximum(1))
is<Tensor<'f32'>>(x.pow(2))
is<Tensor<'f32'>>(where(x.greater(0), x, 0))
is<Tensor<'f32'>>(where(x.greater(0), 1, 0))
is<Tensor<'i32'>>(where(x.greater(0), index, 0))

// A plain Tensor fits everywhere, and so code that does not care stays as it was.
is<Tensor<'i32'>>(unknown)
is<Tensor>(index)
let chain = x
chain = unknown.matmul(chain)
chain = chain.add(unknown)
x.take(unknown)
is<Tensor<'i32' | 'u32'>>(index)

// What needs indices or truth values takes no floats.
x.take(index)
x.take(words)
// @ts-expect-error an index is i32 or u32
x.take(x)
// @ts-expect-error an index is i32 or u32
x.gather(half, 0)
// @ts-expect-error an index is i32 or u32
x.scatterAdd(x, 0, 3)
// @ts-expect-error labels are i32 or u32
x.crossEntropy(zeros([2]))
// @ts-expect-error labels are i32 or u32
x.oneHot(3)
// @ts-expect-error a fraction makes integers f32, which are no indices
x.take(index.mul(0.5))
// @ts-expect-error a condition is bool
where(x, x, 0)
// @ts-expect-error logic is for bool
x.and(x.less(1))
// @ts-expect-error no such dtype
x.cast('f64')
// @ts-expect-error f32 is not i32
is<Tensor<'i32'>>(x)
