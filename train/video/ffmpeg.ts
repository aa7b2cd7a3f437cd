/**
 * Finding ffmpeg and running it: no shell, nothing read from stdin but what is piped there, a time bound, and killed
 * on abort or when its output is no longer wanted.
 *
 * Order of resolution: the explicit option; FFMPEG_PATH or FFMPEG_BIN (an error if that file is missing); ffmpeg-static
 * if its binary was downloaded; @ffmpeg-installer/ffmpeg; `ffmpeg` on PATH.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join, resolve } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { VideoError } from './errors.ts'

export interface FindFfmpegOptions {
  /** An explicit binary; nothing else is looked at. */
  ffmpeg?: string
  env?: Record<string, string | undefined>
  /** Resolves the binary a package names, or undefined; replaced in tests. */
  fromPackage?: (name: string) => string | undefined
}

/** Absolute path of the ffmpeg to use. Throws VideoError 'no-ffmpeg', which names `npm run setup`. */
export function findFfmpeg({ ffmpeg, env = process.env, fromPackage = packageBinary }: FindFfmpegOptions = {}): string {
  if (ffmpeg !== undefined) return named(ffmpeg, 'the ffmpeg option')
  for (const name of ['FFMPEG_PATH', 'FFMPEG_BIN']) if (env[name]) return named(env[name], name)
  for (const name of ['ffmpeg-static', '@ffmpeg-installer/ffmpeg']) {
    const path = fromPackage(name)
    if (path && isProgram(path)) return path
  }
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    for (const file of process.platform === 'win32' ? ['ffmpeg.exe'] : ['ffmpeg']) {
      if (folder && isProgram(join(folder, file))) return resolve(folder, file)
    }
  }
  throw new VideoError('no-ffmpeg', '', 'no ffmpeg was found', 'Run `npm run setup`, or set FFMPEG_PATH to a binary')
}

function named(path: string, where: string): string {
  if (isProgram(path)) return resolve(path)
  const fix = `Correct or unset it, or run \`npm run setup\``
  throw new VideoError('no-ffmpeg', path, `${where} names no program that can be run`, fix)
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function packageBinary(name: string): string | undefined {
  try {
    const found: unknown = createRequire(import.meta.url)(name)
    if (typeof found === 'string') return found
    return (found as { path?: string } | null)?.path
  } catch {
    return undefined
  }
}

/** A local path as ffmpeg takes it literally: no protocol, option or pattern can be read into the name. */
export const fileUrl = (path: string): string => 'file:' + resolve(path)

/** Only files and pipes may be opened, whatever a crafted input refers to. */
export const localOnly = ['-protocol_whitelist', 'file,pipe']

export interface FfmpegRun {
  stdin: Writable
  stdout: Readable
  /** Resolves when the process is gone; never rejects. `log` holds the last 64 KiB of stderr. */
  done: Promise<{ code: number | null; log: string; timedOut: boolean; aborted: boolean }>
  /** Ends the process at once. */
  kill(): void
}

export interface RunOptions extends FindFfmpegOptions {
  /** Wall clock bound for this process, milliseconds. */
  timeoutMs?: number
  signal?: AbortSignal
  /** Sees each line that ffmpeg writes to stderr. */
  onLine?: (line: string) => void
}

const LOG_BYTES = 65536

/** Starts ffmpeg with `args` after the options that every run shares. */
export function runFfmpeg(args: string[], options: RunOptions = {}): FfmpegRun {
  const { timeoutMs = 600_000, signal, onLine } = options
  const program = findFfmpeg(options)
  const common = ['-hide_banner', '-nostats', '-nostdin', '-loglevel', 'level+info']
  const child: ChildProcess = spawn(program, [...common, ...args], { stdio: ['pipe', 'pipe', 'pipe'], shell: false })
  let log = ''
  let partial = ''
  let timedOut = false
  let aborted = false
  const kill = () => void child.kill('SIGKILL')
  const abort = () => {
    aborted = true
    kill()
  }
  const timer = setTimeout(() => {
    timedOut = true
    kill()
  }, timeoutMs)
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort, { once: true })
  child.stderr!.setEncoding('utf8')
  child.stderr!.on('data', (text: string) => {
    const lines = (partial + text).split(/\r?\n|\r/)
    partial = lines.pop()!.slice(-LOG_BYTES)
    for (const line of lines) {
      onLine?.(line)
      // showinfo writes lines for every frame: they would push the errors out of the log
      if (!line.startsWith('[Parsed_showinfo')) log = (log + line + '\n').slice(-LOG_BYTES)
    }
  })
  // a process that ends early closes its stdin: its exit code and log tell why
  child.stdin!.on('error', () => {})
  const done = new Promise<Awaited<FfmpegRun['done']>>((settle) => {
    const end = (code: number | null) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      settle({ code, log: log + partial, timedOut, aborted })
    }
    child.on('close', end)
    child.on('error', (error) => {
      log += `[fatal] ${error.message}\n`
      end(null)
    })
  })
  return { stdin: child.stdin!, stdout: child.stdout!, done, kill }
}

/** The lines of a log that report a fault, without their prefixes. */
export function faultLines(log: string): string[] {
  const lines = log.split('\n').filter((line) => /\[(error|fatal|panic)\]/.test(line))
  return lines.map((line) => line.replace(/^\[[^\]]* @ 0x[0-9a-f]+\] /, '').replace(/\[\w+\] /, ''))
}

/** The last faults of a log, for an error message. */
export const faults = (log: string): string => faultLines(log).slice(-2).join('; ').slice(-400)
