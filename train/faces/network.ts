/**
 * UltraFace on an engine: reads the vendored weights, checks them against the architecture, and runs batches.
 * The engine comes in as three functions, so this file needs none of its types and tests can bring a plain one.
 */
import { readFileSync } from 'node:fs'
import type { ConvTensor } from './ultraface.ts'
import { INPUT_HEIGHT, INPUT_WIDTH, ultraface } from './ultraface.ts'

/** Recorded with every crop, so that a result says what found its faces. */
export const DETECTOR = {
  name: 'UltraFace RFB-320',
  sha256: 'f6132e13555b5335c77b03bb9775d87f56e730441ecb6d0b50f1155f5342a9bf',
} as const

const WEIGHTS = new URL('./vendor/ultraface-rfb-320.safetensors', import.meta.url)

export interface ConvEngine<T extends ConvTensor<T>> {
  /** A float32 tensor with these values. */
  tensor(data: Float32Array, shape: number[]): T
  concat(tensors: T[], axis: number): T
  /** The values of these tensors, computed together; the tensors are not used afterwards. */
  read(tensors: T[]): Promise<Float32Array[]>
}

/**
 * Scores faces in `count` images: [count, 3, 240, 320], normalised.
 * Gives scores [count, 4420, 2] (background, face) and offsets [count, 4420, 4], flat.
 */
export type FaceNetwork = (
  images: Float32Array,
  count: number,
) => Promise<{ scores: Float32Array; offsets: Float32Array }>

/** The network with its vendored weights. Throws where the file and the architecture do not agree. */
export function openFaceNetwork<T extends ConvTensor<T>>(engine: ConvEngine<T>): FaceNetwork {
  const file = readFloat32Safetensors(readFileSync(WEIGHTS))
  const unused = new Set(file.keys())
  const forward = ultraface<T>((name, shape) => {
    const entry = file.get(name)
    if (!entry) throw new Error(`UltraFace weights: no tensor '${name}' in ${WEIGHTS.pathname}`)
    if (entry.shape.join() !== shape.join())
      throw new Error(`UltraFace weights: '${name}' is [${entry.shape}], the network needs [${shape}]`)
    unused.delete(name)
    return engine.tensor(entry.data, [...shape])
  }, engine.concat)
  if (unused.size) throw new Error(`UltraFace weights: the network does not know ${[...unused].join(', ')}`)

  return async (images, count) => {
    const output = forward(engine.tensor(images, [count, 3, INPUT_HEIGHT, INPUT_WIDTH]))
    const [scores, offsets] = await engine.read([output.scores, output.offsets])
    return { scores, offsets }
  }
}

/** The tensors of a safetensors file that holds float32 only: u64 length, JSON header, then the values. */
function readFloat32Safetensors(file: Uint8Array): Map<string, { shape: number[]; data: Float32Array }> {
  const bytes = file.slice() // a buffer of its own, so that offsets are aligned
  const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)),
  )
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>()
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    if (dtype !== 'F32') throw new Error(`UltraFace weights: '${name}' is ${dtype}, expected F32`)
    const [start, end] = data_offsets.map((offset) => 8 + headerLength + offset)
    tensors.set(name, { shape, data: new Float32Array(bytes.buffer, start, (end - start) / 4) })
  }
  return tensors
}
