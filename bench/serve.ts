/** Serves the benchmark as a page: bundled once with esbuild, the groups listed by their files. */
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { packageVersion } from './open.ts'

const root = fileURLToPath(new URL('../', import.meta.url))

/** Files that groups ask the library for; nothing else of the project is served. */
const asset = /^\/(test\/golden\/[\w-]+\.safetensors)$/

/** The page's script. */
async function bundle(groupFiles: readonly string[]): Promise<string> {
  const imports = groupFiles.map((file, i) => `import { group as group${i} } from ${JSON.stringify(resolve(file))}`)
  const contents = [
    `import { start } from './page/page.ts'`,
    ...imports,
    `start([${groupFiles.map((_, i) => `group${i}`).join(', ')}])`,
  ].join('\n')
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)), sourcefile: 'bench.ts', loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    sourcemap: 'inline',
    logLevel: 'error',
    define: { DIPTYCH_VERSION: JSON.stringify(packageVersion(new URL('../package.json', import.meta.url))) },
  })
  return outputFiles[0]!.text
}

/** Starts the server on 127.0.0.1; `port` 0 takes a free one. Resolves once it listens. */
export async function serve(groupFiles: readonly string[], port: number): Promise<{ url: string; server: Server }> {
  const script = await bundle(groupFiles)
  const page = readFileSync(new URL('./page/index.html', import.meta.url))
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    const file = asset.exec(path)?.[1]
    const send = (type: string, body: string | Buffer) => response.setHeader('content-type', type).end(body)
    if (path === '/') send('text/html; charset=utf-8', page)
    else if (path === '/bench.js') send('text/javascript; charset=utf-8', script)
    else if (file && existsSync(root + file)) send('application/octet-stream', readFileSync(root + file))
    else response.writeHead(404).end()
  })
  await new Promise<void>((done, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', done)
  })
  return { url: `http://localhost:${(server.address() as AddressInfo).port}/`, server }
}
