/** The browser's side of opening a device: `navigator.gpu`, and errors that a visitor of the page can act on. */
import { type OpenedGpu, type OpenOptions, openGpu } from './adapter.ts'
import { DeviceError } from './errors.ts'

/** Opens a device in a page or a worker. Throws `DeviceError` when the browser has none to offer. */
export async function openBrowserGpu(options: OpenOptions = {}): Promise<OpenedGpu> {
  const kind = options.adapter ?? 'auto'
  if (kind === 'null') throw new DeviceError('adapter: "null" exists only in Node; a browser has no null backend.')
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu
  if (!gpu) throw new DeviceError(whyNoWebGpu())
  const opened = await openGpu(gpu, options, 'browser')
  if (opened) return opened
  throw new DeviceError(
    `This browser supports WebGPU but offers no ${kind === 'auto' ? '' : `${kind} `}adapter. Turn on hardware acceleration ` +
      'in its settings, update the GPU driver (chrome://gpu says what is blocked), or start Chromium with ' +
      '--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader to run on the CPU.',
  )
}

function whyNoWebGpu(): string {
  // navigator.gpu is hidden from insecure pages, so this must be asked before the browser is blamed.
  if (globalThis.isSecureContext === false)
    return (
      'WebGPU needs a secure page, and this one is not: serve it over https, or from http://localhost or ' +
      'http://127.0.0.1, instead of from a file or a plain http address.'
    )
  return (
    'This browser has no WebGPU (navigator.gpu is missing). Use a current Chrome, Edge, Safari or Firefox; ' +
    'on Linux, Chromium may need --enable-unsafe-webgpu.'
  )
}
