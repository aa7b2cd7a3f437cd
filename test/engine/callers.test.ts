/** Errors begin at the user's line, and say where tensors were recorded while that is remembered. Nothing runs on a device. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  concat,
  defineOp,
  einsum,
  grad,
  nn,
  recordOrigins,
  ShapeError,
  tensor,
  where,
  zeros,
} from '../../engine/index.ts'

const test = suite('errors and their callers')
const here = 'callers.test.ts'

const thrown = (run: () => unknown): Error => {
  try {
    run()
  } catch (error) {
    return error as Error
  }
  throw new Error('expected an error')
}

/** The first frame of the stack. */
const top = (error: Error): string => error.stack!.split('\n').find((l) => /^\s+at /.test(l))!

const x = zeros([2, 3])
const calls: [string, () => unknown, string[]][] = [
  ['add', () => x.add(zeros([4])), ['add', '[2, 3] and [4]', 'axis -1 is 3 in one and 4']],
  ['matmul', () => x.matmul(zeros([2, 3])), ['matmul', 'f32[2, 3] times f32[2, 3]', '3 and 2']],
  [
    'matmul of a batch',
    () => zeros([4, 2, 3]).matmul(zeros([5, 6])),
    ['matmul', 'f32[4, 2, 3] times f32[5, 6]', '3 and 5'],
  ],
  ['where', () => where(x.greater(0), zeros([5]), 0), ['where', '[2, 3]', '[5]']],
  ['reshape', () => x.reshape([4, -1]), ['reshape', '6 elements', '[4, -1]']],
  ['permute', () => x.permute([0]), ['permute', '[0]', 'f32[2, 3]']],
  ['concat', () => concat([x, zeros([2, 2])]), ['concat', 'f32[2, 3], f32[2, 2]', 'axis 0']],
  ['sum', () => x.sum(2), ['sum', 'axis 2', '2 dimensions']],
  ['exp', () => tensor([1], [1], 'i32').exp(), ['exp', 'i32[1]', ".cast('f32')"]],
  ['einsum', () => einsum('ij,jk->ik', x, zeros([2, 2])), ['einsum', "'ij,jk->ik'", "label 'j' is 3"]],
  ['layerNorm', () => new nn.LayerNorm(5).call(x), ['layerNorm', '[3]', 'f32[5]', 'f32[2, 3]']],
  [
    'attention',
    () => zeros([1, 4, 2, 8]).attention(zeros([1, 4, 3, 8]), zeros([1, 4, 3, 8])),
    ['attention', 'f32[1, 4, 2, 8], f32[1, 4, 3, 8]'],
  ],
  ['conv2d', () => zeros([1, 3, 5, 5]).conv2d(zeros([4, 2, 3, 3])), ['conv2d', '3 input', 'f32[4, 2, 3, 3]']],
  ['maxPool2d', () => zeros([1, 4, 4]).maxPool2d(5), ['maxPool2d', '[5,5]', '[1, 4, 4]']],
  ['take', () => x.take(zeros([2]) as never), ['gather', 'i32 or u32', 'f32[2, 1]']],
  ['grad', () => grad(x, x), ['grad', 'scalar', '[2, 3]']],
]

for (const [name, run, parts] of calls)
  test(`${name} names op, shapes and argument, and the stack begins here`, () => {
    const error = thrown(run)
    assert.instance(error, ShapeError)
    for (const part of parts) assert.ok(error.message.includes(part), `no '${part}' in: ${error.message}`)
    assert.ok(top(error).includes(here), error.stack)
    assert.ok(error.stack!.startsWith('ShapeError: '), error.stack)
  })

test('while origins are recorded, the message has the creation lines of the operands', () => {
  recordOrigins(true)
  try {
    const first = zeros([2, 3]).mul(2)
    const second = tensor([[1, 2]])
    for (const run of [() => first.matmul(second), () => first.add(zeros([7])), () => concat([first, second])]) {
      const { message } = thrown(run)
      assert.match(message, /operand 0, f32\[2, 3\]: recorded at .*callers\.test\.ts:\d+/)
      assert.match(message, /operand 1, f32\[[\d, ]+\]: recorded at .*callers\.test\.ts:\d+/)
      assert.is(message.split('recorded at').length, 3, message)
    }
  } finally {
    recordOrigins(false)
  }
  assert.not.match(thrown(() => zeros([2]).add(zeros([3]))).message, /recorded at/)
})

test('an op of defineOp says where it was defined', () => {
  const op = defineOp({ name: 'mine', inputs: { x: 'f32' }, output: (s) => s.shape, wgsl: 'y[i] = x[i];' })
  assert.match(op.source(x), /\/\/@text mine, defined at .*callers\.test\.ts:\d+/)
})

test.run()
