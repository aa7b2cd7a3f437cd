/**
 * UltraFace on an engine: reads the vendored weights, checks them against the architecture, and runs batches.
 * The engine comes in as three functions, so this file needs none of its types and tests can bring a plain one.
 */
import { readFileSync } from 'node:fs'
import { parseSafetensors } from '../../engine/safetensors.ts'
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
  const { tensors } = parseSafetensors(readFileSync(WEIGHTS), { file: WEIGHTS.pathname })
  const unused = new Set(tensors.keys())
  const forward = ultraface<T>((name, shape) => {
    const entry = tensors.get(name)
    if (!entry) throw new Error(`UltraFace weights: no tensor '${name}' in ${WEIGHTS.pathname}`)
    if (entry.shape.join() !== shape.join())
      throw new Error(`UltraFace weights: '${name}' is [${entry.shape}], the network needs [${shape}]`)
    if (!(entry.data instanceof Float32Array))
      throw new Error(`UltraFace weights: '${name}' is ${entry.dtype}, not F32`)
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
