/**
 * Random numbers are the same on every adapter: fixed numbers, not another program's. Philox 4×32-10 against the known answers of
 * Random123 (Salmon et al. 2011, `kat_vectors`), on the host and in WGSL; a generator's own numbers against what they have been.
 */
import { Generator } from '../../engine/index.ts'
import { helpersFor } from '../../engine/ops/pointwise.ts'
import { philoxBlock } from '../../engine/random.ts'
import { openBareDevice, runProgram } from '../support/program.ts'
import { type Case, same } from './case.ts'

type Four = [number, number, number, number]

/** Counter, key, result. */
const answers: readonly { counter: Four; key: [number, number]; result: Four }[] = [
  {
    counter: [0, 0, 0, 0],
    key: [0, 0],
    result: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  },
  {
    counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    key: [0xffffffff, 0xffffffff],
    result: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  },
  {
    counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    key: [0xa4093822, 0x299f31d0],
    result: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  },
]

const hex = (words: ArrayLike<number>): string[] => Array.from(words, (w) => w.toString(16).padStart(8, '0'))
const wanted = answers.flatMap(({ result }) => hex(result))

/** The engine's own WGSL, one block an invocation. */
const wgsl = `@group(0) @binding(0) var<storage, read> given: array<u32>;
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
${helpersFor('philox(')}
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) id: vec3u) {
  let i = 6u * id.x;
  let c = philoxBlock(vec4u(given[i], given[i + 1u], given[i + 2u], given[i + 3u]), vec2u(given[i + 4u], given[i + 5u]));
  for (var j = 0u; j < 4u; j++) { result[4u * id.x + j] = c[j]; }
}`

const program = {
  label: 'philox',
  wgsl,
  bindings: [
    { name: 'given', type: 'u32', access: 'read' },
    { name: 'result', type: 'u32', access: 'read_write' },
  ],
  uniforms: new Uint32Array(0),
  grid: [answers.length, 1, 1],
  cost: { flops: 0, bytes: 0 },
  workgroupBytes: 0,
  accumulators: 0,
} as const

/** Key of 64 bits, the third stream: uniform numbers in units of 2⁻²⁴, seven of them. */
const seed = 5 * 2 ** 32 + 3
const units = [0x120387, 0x4a0caf, 0x713600, 0x0ea217, 0x2dfdd9, 0x085651, 0x73cb89]
/** Standard normal numbers of that key's first two streams, in float64. */
const normals = [0.9710815726454373, -0.8332302470720839, -1.4673885166990503, 0.2572929395493702, -0.20900261722206015]

export function cases(): Case[] {
  return [
    {
      name: 'philox: known answers on the host',
      run() {
        const out = new Uint32Array(4)
        const got = answers.flatMap(({ counter, key }) => {
          philoxBlock(key, counter, out)
          return hex(out)
        })
        same(got, wanted, 'words')
      },
    },
    {
      name: 'philox: known answers on the adapter',
      async run() {
        const { device } = await openBareDevice()
        const given = Uint32Array.from(answers.flatMap(({ counter, key }) => [...counter, ...key]))
        const [got] = await runProgram(device, program, [given, new Uint32Array(4 * answers.length)])
        device.destroy()
        same(hex(new Uint32Array(got!.buffer)), wanted, 'words')
      },
    },
    {
      name: 'philox: uniform numbers are fixed for good, bit by bit',
      async run() {
        const first = await new Generator(0).uniform([4]).data()
        same([...first].map((u) => u * 2 ** 24), [0x6627e8, 0xe169c5, 0xbc57ac, 0x9b00db], 'first of key 0') // biome-ignore format: short
        const generator = new Generator(seed)
        generator.stream = 2
        same([...(await generator.uniform([7]).data())].map((u) => u * 2 ** 24), units, 'stream 2 of a key of 64 bits') // biome-ignore format: short
      },
    },
    {
      name: 'philox: normal numbers are fixed for good, to the rounding of logarithm and cosine',
      async run() {
        const got = [...(await new Generator(seed).normal([normals.length]).data())]
        normals.forEach((want, i) => {
          if (!(Math.abs(got[i]! - want) <= 2e-6 * Math.max(1, Math.abs(want))))
            throw new Error(`normal ${i}: got ${got[i]}, expected ${want}`)
        })
      },
    },
  ]
}
