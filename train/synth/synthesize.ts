/**
 * A data set that needs no licence: rendered talking heads and four forgeries of them, in FaceForensics++'s layout.
 *
 *     original_sequences/youtube/<compression>/videos/NNN.mp4
 *     manipulated_sequences/<method>/<compression>/videos/<target>_<source>.mp4
 *     splits/{train,val,test}.json     lists of pairs [a, b]; both a_b and b_a are fakes
 *     synth.json                       the settings, and that this is a rehearsal
 *
 * Identities come in pairs and a pair lies in one split, so no identity is shared between splits. Everything follows from
 * the seed. Each video is encoded once, by the same settings, from frames that got their noise after the forgery.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { COMPRESSION_CRF, type Compression, encodeVideo } from '../video/index.ts'
import { type Clip, forge, LEAD, METHODS, type Method } from './forge.ts'
import { makeMotion } from './motion.ts'
import { expose } from './noise.ts'
import { makePerson } from './person.ts'
import { key, Random } from './random.ts'
import { type Picture, renderFrame } from './render.ts'
import { makeScene } from './scene.ts'
import { bakeLook } from './skin.ts'

export interface SynthesizeOptions {
  /** Folder to write into; made if missing. */
  out: string
  /** Even, at least 6: a pair for each split. */
  identities?: number
  framesPerVideo?: number
  /** Side of the square frames in pixels, even, at least 96. */
  size?: number
  seed?: number
  fps?: number
  compressions?: readonly Compression[]
  methods?: readonly Method[]
  /** Scales the traces that forgeries leave: 1 shows to a careful eye, 0 leaves blending and motion alone. */
  strength?: number
  onProgress?: (progress: { done: number; total: number; path: string }) => void
  signal?: AbortSignal
}

export interface SynthSummary {
  out: string
  videos: number
  reals: number
  fakes: number
  splits: Splits
}

export type Splits = Record<'train' | 'val' | 'test', [string, string][]>

/** Written into synth.json, and meant for every report made on this data. */
export const REHEARSAL = 'A procedurally rendered rehearsal: no number on it is evidence about real deepfakes.'

/** 000, 001, … with at least three digits. */
const idOf = (index: number) => String(index).padStart(3, '0')

/** Pairs (0,1), (2,3), …: a tenth of them for validation, a fifth for test (one at least each), the rest for training. */
export function splitPairs(identities: number): Splits {
  const pairs: [string, string][] = []
  for (let i = 0; i < identities; i += 2) pairs.push([idOf(i), idOf(i + 1)])
  const val = Math.max(1, Math.round(pairs.length / 10))
  const test = Math.max(1, Math.round(pairs.length / 5))
  const train = pairs.length - val - test
  return { train: pairs.slice(0, train), val: pairs.slice(train, train + val), test: pairs.slice(train + val) }
}

/** The clean clip of an identity: its frames from LEAD before the first, without noise. */
export function makeClip(
  seed: number,
  identity: number,
  { size, frames, fps }: { size: number; frames: number; fps: number },
): Clip {
  const look = bakeLook(makePerson(key(seed, 'person', identity)))
  const scene = makeScene(look.person, size)
  const motion = makeMotion(key(seed, 'motion', identity))
  const clean: Picture[] = []
  for (let i = -LEAD; i < frames; i++) clean.push(renderFrame(look, scene, motion(i / fps)))
  return { look, scene, motion, fps, clean }
}

/** Finishes frame i of a video whose target is `identity`: the same noise for the real clip and every forgery of it. */
export function finishFrame(picture: Picture, seed: number, identity: number, frame: number): Uint8Array {
  const sigma = new Random(key(seed, 'sigma', identity)).uniform(1.2, 2.6)
  return expose(picture, sigma, key(seed, 'frame', identity, frame))
}

/** The picture of frame i before noise: the real clip's own where `method` is undefined. */
export function framesOf(seed: number, target: Clip, source: Clip, id: string, method?: Method, strength = 1) {
  return method ? forge(method, target, source, key(seed, method, id), strength) : (i: number) => target.clean[i + LEAD]
}

/** Renders, forges and encodes the whole set. Throws RangeError for bad settings, VideoError, or the signal's reason. */
export async function synthesize(options: SynthesizeOptions): Promise<SynthSummary> {
  const { out, identities = 24, framesPerVideo: frames = 40, size = 160, seed = 1, fps = 25, strength = 1 } = options
  const { compressions = ['c23'], methods = METHODS, onProgress, signal } = options
  if (!(Number.isInteger(identities) && identities >= 6 && identities % 2 === 0)) {
    throw new RangeError(
      `synthesize: identities must be even and at least 6 (a pair for each split), got ${identities}`,
    )
  }
  if (!(Number.isInteger(size) && size >= 96 && size % 2 === 0)) {
    throw new RangeError(`synthesize: size must be even and at least 96 pixels, got ${size}`)
  }
  if (!(Number.isInteger(frames) && frames >= 1)) {
    throw new RangeError(`synthesize: framesPerVideo must be a positive integer, got ${frames}`)
  }
  const splits = splitPairs(identities)
  await writeSettings(
    out,
    { identities, framesPerVideo: frames, size, seed, fps, strength, compressions, methods },
    splits,
  )
  const total = identities * (1 + methods.length) * compressions.length
  const queue = new Queue(Math.max(2, availableParallelism()))
  let done = 0
  const encode = async (path: string, bytes: Uint8Array[], compression: Compression) => {
    await mkdir(dirname(path), { recursive: true })
    const crf = COMPRESSION_CRF[compression]
    await encodeVideo(path, bytes, { width: size, height: size, fps, crf, preset: 'veryfast', signal })
    onProgress?.({ done: ++done, total, path })
  }
  try {
    for (let first = 0; first < identities; first += 2) {
      const clips = [makeClip(seed, first, { size, frames, fps }), makeClip(seed, first + 1, { size, frames, fps })]
      for (const method of [undefined, ...methods]) {
        for (const side of [0, 1]) {
          const identity = first + side
          const name = method ? `${idOf(identity)}_${idOf(first + 1 - side)}` : idOf(identity)
          const picture = framesOf(seed, clips[side], clips[1 - side], name, method, strength)
          const bytes: Uint8Array[] = []
          for (let i = 0; i < frames; i++) {
            signal?.throwIfAborted()
            bytes.push(finishFrame(picture(i), seed, identity, i))
            // lets the encoders of earlier videos take their next frames
            await new Promise((go) => setImmediate(go))
          }
          const folder = method ? join('manipulated_sequences', method) : join('original_sequences', 'youtube')
          for (const compression of compressions) {
            const path = join(out, folder, compression, 'videos', `${name}.mp4`)
            await queue.add(() => encode(path, bytes, compression))
          }
        }
      }
    }
  } finally {
    await queue.idle()
  }
  queue.throwFirst()
  return {
    out,
    videos: total,
    reals: identities * compressions.length,
    fakes: total - identities * compressions.length,
    splits,
  }
}

async function writeSettings(out: string, settings: object, splits: Splits): Promise<void> {
  await mkdir(join(out, 'splits'), { recursive: true })
  for (const [name, pairs] of Object.entries(splits)) {
    await writeFile(join(out, 'splits', `${name}.json`), JSON.stringify(pairs, null, 1) + '\n')
  }
  const about = { synthetic: true, note: REHEARSAL, ...settings }
  await writeFile(join(out, 'synth.json'), JSON.stringify(about, null, 1) + '\n')
}

/** Runs at most `limit` jobs at once; `add` waits for a place, and throws the first failure of an earlier job. */
class Queue {
  private running = new Set<Promise<void>>()
  private failures: unknown[] = []
  constructor(private limit: number) {}
  async add(job: () => Promise<void>): Promise<void> {
    while (this.running.size >= this.limit) await Promise.race(this.running)
    this.throwFirst()
    const run: Promise<void> = job()
      .catch((error) => void this.failures.push(error))
      .finally(() => this.running.delete(run))
    this.running.add(run)
  }
  async idle(): Promise<void> {
    await Promise.all(this.running)
  }
  throwFirst(): void {
    if (this.failures.length > 0) throw this.failures[0]
  }
}
