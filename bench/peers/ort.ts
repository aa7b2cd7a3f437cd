/**
 * onnxruntime with its WebGPU provider: the web build on this project's Dawn with inputs and outputs in GPU buffers, and the
 * Node build, which carries its own Dawn, takes and returns host arrays only, and waits by itself.
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import type { AdapterKind } from '../../engine/index.ts'
import type { Inputs, Library, Prepared } from '../contract.ts'
import { importPeer, peerFile, peerVersion, provideWebGpu, requirePeer, valuesOf } from './load.ts'
import { OnnxGraph } from './onnx.ts'

type Build = (graph: OnnxGraph, inputs: Inputs) => void

function modelOf(inputs: Inputs, build: Build): Uint8Array {
  const graph = new OnnxGraph()
  for (const [name, { shape }] of Object.entries(inputs)) graph.input(name, shape)
  build(graph, inputs)
  return graph.encode()
}

/** Dawn's binding takes no views of shared memory, where the WebAssembly build keeps everything. */
function copySharedWrites(): void {
  const prototype = (globalThis as any).GPUQueue.prototype
  const { writeBuffer } = prototype
  prototype.writeBuffer = function (buffer: GPUBuffer, offset: number, data: any, from = 0, size?: number) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data
    if (!(memory instanceof SharedArrayBuffer)) return writeBuffer.call(this, buffer, offset, data, from, size)
    const unit = data.BYTES_PER_ELEMENT ?? 1
    const start = (data.byteOffset ?? 0) + from * unit
    const bytes = size === undefined ? data.byteLength - from * unit : size * unit
    return writeBuffer.call(this, buffer, offset, new Uint8Array(memory, start, bytes).slice())
  }
}

export class OrtWebLibrary implements Library {
  readonly name = 'ort-web'
  readonly version = peerVersion('onnxruntime-web')

  private constructor(
    readonly ort: any,
    private readonly gpu: GPUDevice,
    /** Held to the end: with its last session the library lets its device go. */
    readonly anchor: unknown,
  ) {}

  static async open(kind: AdapterKind): Promise<OrtWebLibrary> {
    await provideWebGpu(kind)
    copySharedWrites()
    const ort = await importPeer('onnxruntime-web', 'dist', 'ort.webgpu.min.mjs')
    ort.env.wasm.numThreads = 1
    ort.env.wasm.wasmBinary = readFileSync(peerFile('onnxruntime-web', 'dist', 'ort-wasm-simd-threaded.asyncify.wasm'))
    ort.env.wasm.wasmPaths = `${pathToFileURL(peerFile('onnxruntime-web', 'dist')).href}/`
    const graph = new OnnxGraph()
    graph.input('x', [1])
    graph.node('Neg', ['x'], {}, 'y')
    graph.output('y', [1])
    const anchor = await ort.InferenceSession.create(graph.encode(), { executionProviders: ['webgpu'] })
    return new OrtWebLibrary(ort, await ort.env.webgpu.device, anchor)
  }

  get queue(): GPUQueue {
    return this.gpu.queue
  }

  flush(): void {}

  async model(inputs: Inputs, build: Build): Promise<Prepared> {
    const { ort, gpu: device } = this
    const options = { executionProviders: ['webgpu'], preferredOutputLocation: 'gpu-buffer' }
    const session = await ort.InferenceSession.create(modelOf(inputs, build), options)
    const buffers: GPUBuffer[] = []
    const feeds = valuesOf(inputs, ({ data, shape }) => {
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC
      const buffer = device.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage })
      device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>)
      buffers.push(buffer)
      return ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [...shape] })
    })
    return {
      run: async () => {
        for (const value of Object.values<any>(await session.run(feeds))) value.dispose()
      },
      outputs: async () => {
        const results: Record<string, any> = await session.run(feeds)
        const out: Record<string, Float32Array> = {}
        for (const [name, value] of Object.entries(results)) {
          out[name] = Float32Array.from(await value.getData())
          value.dispose()
        }
        return out
      },
      dispose: () => {
        void session.release()
        for (const buffer of buffers) buffer.destroy()
      },
    }
  }
}

export class OrtNodeLibrary implements Library {
  readonly name = 'ort-node'
  readonly version = peerVersion('onnxruntime-node')
  readonly queue = undefined

  private constructor(readonly ort: any) {}

  static async open(kind: AdapterKind): Promise<OrtNodeLibrary> {
    if (kind === 'null') throw new Error('onnxruntime-node carries its own Dawn, which has no null backend')
    return new OrtNodeLibrary(requirePeer('onnxruntime-node'))
  }

  flush(): void {}

  async model(inputs: Inputs, build: Build): Promise<Prepared> {
    const { ort } = this
    const session = await ort.InferenceSession.create(modelOf(inputs, build), { executionProviders: ['webgpu'] })
    const feeds = valuesOf(inputs, ({ data, shape }) => new ort.Tensor('float32', data, [...shape]))
    return {
      run: async () => {
        await session.run(feeds)
      },
      outputs: async () => valuesOf(await session.run(feeds), (value: any) => Float32Array.from(value.data)),
      dispose: () => void session.release(),
    }
  }
}
