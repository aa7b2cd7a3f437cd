/**
 * UltraFace on the tensor engine. Scores and offsets are computed by one submit, and their buffers are freed once read:
 * a run over thousands of videos holds no more memory than a run over one.
 */
import { concat, getDevice, type Tensor, tensor } from '../../engine/index.ts'
import { type FaceNetwork, openFaceNetwork } from './network.ts'

/** The face network on the default device, its weights uploaded. Throws DeviceError where no device can be opened. */
export async function openFaces(): Promise<FaceNetwork> {
  const device = await getDevice()
  return openFaceNetwork<Tensor>({
    tensor: (data, shape) => tensor(data, shape),
    concat: (tensors, axis) => concat(tensors, axis),
    async read(tensors) {
      await device.realize(
        tensors.map(({ node }) => node),
        'face detection',
      )
      const values = (await Promise.all(tensors.map((t) => t.data()))) as Float32Array[]
      for (const t of tensors) t.dispose()
      return values
    },
  })
}
