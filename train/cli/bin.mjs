#!/usr/bin/env node
/** `diptych`: the sources are TypeScript and run as they are; tsx is resolved from here, whatever the working directory. */
import { fileURLToPath } from 'node:url'
import { register } from 'tsx/esm/api'

register({ tsconfig: fileURLToPath(new URL('../../tsconfig.json', import.meta.url)) })
const { main } = await import('./main.ts')
await main(process.argv.slice(2))
