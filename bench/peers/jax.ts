/**
 * jax-js on WebGPU. It is lazy: asking for a result's GPU buffer dispatches what it needs, and waits for nothing. Values move:
 * using one twice takes `.ref`.
 */
import type { AdapterKind } from '../../engine/index.ts'
import type { Inputs, Library, Prepared } from '../contract.ts'
import { importPeer, peerVersion, provideWebGpu, valuesOf } from './load.ts'

type Named = Record<string, any>

/** Node 20 has no iterator helpers, which jax-js uses. */
function polyfillIterators(): void {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()))
  const add = (name: string, method: (this: Iterator<unknown>, ...args: any[]) => unknown) => {
    if (!(name in prototype))
      Object.defineProperty(prototype, name, { value: method, configurable: true, writable: true })
  }
  const all = (it: Iterator<unknown>) => [...(it as IterableIterator<unknown>)]
  add('toArray', function () {
    return all(this)
  })
  for (const name of ['map', 'filter', 'flatMap'] as const)
    add(name, function (f) {
      return (all(this)[name] as (f: unknown) => unknown[])(f)[Symbol.iterator]()
    })
  for (const name of ['some', 'every', 'find', 'forEach', 'reduce'] as const)
    add(name, function (...args) {
      return (all(this) as any)[name](...args)
    })
  add('take', function (count: number) {
    return all(this).slice(0, count)[Symbol.iterator]()
  })
  add('drop', function (count: number) {
    return all(this).slice(count)[Symbol.iterator]()
  })
}

export class JaxLibrary implements Library {
  readonly name = 'jax-js'
  readonly version = peerVersion('@jax-js/jax')

  private constructor(readonly jax: any) {}

  static async open(kind: AdapterKind): Promise<JaxLibrary> {
    await provideWebGpu(kind)
    polyfillIterators()
    const jax = await importPeer('@jax-js', 'jax', 'dist', 'index.js')
    const backends = await jax.init('webgpu')
    if (!backends.includes('webgpu')) throw new Error('jax-js: its WebGPU backend does not start')
    jax.defaultDevice('webgpu')
    return new JaxLibrary(jax)
  }

  get queue(): GPUQueue {
    return this.jax.getWebGPUDevice().queue
  }

  flush(): void {}

  /** Arrays in device memory. */
  async tensors(inputs: Inputs): Promise<Named> {
    const { numpy } = this.jax
    const x = valuesOf(inputs, ({ data, shape }) => numpy.array(data, { shape: [...shape], dtype: numpy.float32 }))
    await this.issue(Object.values(x).map((value) => value.ref))
    return x
  }

  /** Dispatches whatever these values need, and lets go of them. */
  async issue(values: readonly any[]): Promise<void> {
    for (const value of values) await value.gpuBuffer()
  }

  async read(values: Named): Promise<Record<string, Float32Array>> {
    const out: Record<string, Float32Array> = {}
    for (const [name, value] of Object.entries(values)) out[name] = await value.data()
    return out
  }

  async op(
    inputs: Inputs,
    fn: (jax: any, x: Named) => Named,
    jit: boolean,
    view: (jax: any, y: Named) => Named = (_, y) => y,
  ): Promise<Prepared> {
    const { jax } = this
    const x = await this.tensors(inputs)
    const names = Object.keys(x)
    const positional = (...args: any[]) => fn(jax, Object.fromEntries(names.map((name, i) => [name, args[i]])))
    const compiled = jit ? jax.jit(positional) : positional
    const call = (): Named => compiled(...names.map((name) => x[name].ref))
    return {
      run: () => this.issue(Object.values(call())),
      outputs: () => this.read(view(jax, call())),
      dispose: () => {
        for (const value of Object.values(x)) value.dispose()
        if (jit) compiled.dispose()
      },
    }
  }
}
