/**
 * TensorFlow.js on its WebGPU backend. It is imported as the union package: tfjs-core's Node build registers no gradients. Ops
 * are eager but gathered into a command buffer, so what is pending has to be submitted by hand.
 */
import type { AdapterKind } from '../../engine/index.ts'
import type { Inputs, Library, Prepared } from '../contract.ts'
import { peerVersion, provideWebGpu, requirePeer, valuesOf } from './load.ts'

type Named = Record<string, any>

export class TfjsLibrary implements Library {
  readonly name = 'tfjs'
  readonly version = peerVersion('@tensorflow/tfjs')

  private constructor(readonly tf: any) {}

  static async open(kind: AdapterKind): Promise<TfjsLibrary> {
    await provideWebGpu(kind)
    const tf = requirePeer('@tensorflow/tfjs')
    requirePeer('@tensorflow/tfjs-backend-webgpu')
    tf.enableProdMode()
    if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs: its WebGPU backend does not start')
    await tf.ready()
    return new TfjsLibrary(tf)
  }

  get queue(): GPUQueue {
    return this.tf.backend().device.queue
  }

  flush(): void {
    const backend = this.tf.backend()
    backend.endComputePassEncoder()
    backend.submitQueue()
  }

  tensors(inputs: Inputs): Named {
    return valuesOf(inputs, ({ data, shape }) => this.tf.tensor(data, shape, 'float32'))
  }

  async read(values: Named): Promise<Record<string, Float32Array>> {
    const read = Object.entries(values).map(async ([name, t]) => [name, await t.data()] as const)
    return Object.fromEntries(await Promise.all(read))
  }

  async op(
    inputs: Inputs,
    fn: (tf: any, x: Named) => Named,
    view: (tf: any, y: Named) => Named = (_, y) => y,
  ): Promise<Prepared> {
    const { tf } = this
    const x = this.tensors(inputs)
    return {
      run: () => {
        // Results that are not returned are freed at the end of the scope; their kernels have been issued by then.
        tf.tidy(() => {
          fn(tf, x)
        })
      },
      outputs: async () => {
        const y = tf.tidy(() => view(tf, fn(tf, x)))
        const values = await this.read(y)
        tf.dispose(y)
        return values
      },
      dispose: () => tf.dispose(x),
    }
  }
}
