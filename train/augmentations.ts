/** The contact sheet of augmentations and distortions; `diptych augment` writes it. */
import {
  type Augmentation,
  type AugmentSettings,
  addNoise,
  augment,
  augmentTensors,
  blur,
  blurTaps,
  drawAugmentation,
  presetConfig,
  saturate,
} from '../dip/index.ts'
import { Generator, HostRandom, type Tensor, tensor } from '../engine/index.ts'
import { distortFrames, type FrameSize, study, studyNames } from './distort.ts'
import { contactSheet, type SheetRow } from './report/sheet.ts'
import { finishFrame, framesOf, makeClip } from './synth/synthesize.ts'
import { decodeVideo } from './video/index.ts'

/** RGB24 frames of one size. */
export interface Frames extends FrameSize {
  readonly data: readonly Uint8Array[]
}

/** Frames that a clip holds. */
const clipLength = 16
/** Shown beside each other: a picture for each column. */
const columns = 8

/** A rendered talking head. */
export function demoFrames(seed: number, size = 160): Frames {
  const clip = makeClip(seed, 0, { size, frames: clipLength, fps: 8 })
  const picture = framesOf(seed, clip, clip, '000')
  const data = Array.from({ length: clipLength }, (_, i) => finishFrame(picture(i), seed, 0, i))
  return { width: size, height: size, data }
}

/** The first frames of a video, their sides at most 640 pixels and even. @throws VideoError */
export async function framesOfVideo(path: string): Promise<Frames> {
  const data: Uint8Array[] = []
  let size: FrameSize = { width: 0, height: 0 }
  for await (const frame of decodeVideo(path, { maxSide: 640, maxFrames: clipLength })) {
    const [width, height] = [frame.width & ~1, frame.height & ~1]
    size = { width, height }
    const cut = new Uint8Array(width * height * 3)
    for (let row = 0; row < height; row++)
      cut.set(frame.data.subarray(row * frame.width * 3, row * frame.width * 3 + width * 3), row * width * 3)
    data.push(cut)
  }
  return { ...size, data }
}

/** Pictures of training's operations over their ranges, of whole draws, and of the study's distortions. PNG bytes. */
export async function augmentationSheet(frames: Frames, seed: number): Promise<Uint8Array> {
  const settings = presetConfig('base').augment
  const rows = [
    { title: 'the clip', pictures: frames.data.slice(0, columns).map((rgb, i) => labelled(frames, `frame ${i}`, rgb)) },
    ...(await operations(frames, settings, seed)),
    await draws(frames, settings, seed),
    ...(await distorted(frames, seed)),
  ]
  return contactSheet('Augmentation (rows with a probability) and the robustness study (levels 1 to 5)', rows)
}

const labelled = ({ width, height }: FrameSize, label: string, rgb: Uint8Array) => ({
  label,
  picture: { width, height, rgb },
})

/** A clip as [1, T, H, W, 3] in [0, 1]. */
const clipOf = ({ width, height, data }: Frames): Tensor =>
  tensor(
    Float32Array.from(
      data.flatMap((frame) => [...frame]),
      (v) => v / 255,
    ),
    [1, data.length, height, width, 3],
  )

const bytesOf = async (x: Tensor): Promise<Uint8Array> => Uint8Array.from(await x.clamp(0, 1).mul(255).round().data())

const evenly = ({ min, max }: { min: number; max: number }, count: number) =>
  Array.from({ length: count }, (_, i) => min + ((max - min) * i) / (count - 1))

async function operations(frames: Frames, settings: AugmentSettings, seed: number): Promise<SheetRow[]> {
  const first = clipOf({ ...frames, data: frames.data.slice(0, 1) })
  const normal = new Generator(seed).normal(first.shape)
  const row = async (title: string, values: number[], label: (v: number) => string, f: (v: number) => Tensor) => ({
    title,
    pictures: await Promise.all(values.map(async (v) => labelled(frames, label(v), await bytesOf(f(v))))),
  })
  const shown = (name: keyof AugmentSettings) => `p = ${settings[name].p}`
  const sizes = evenly(settings.blur, 1 + (settings.blur.max - settings.blur.min) / 2)
  const strip = (name: 'drop' | 'repeat') => {
    const only = Object.fromEntries(
      Object.entries(settings).map(([k, v]) => [k, { ...v, p: k === name ? 1 : 0 }]),
    ) as AugmentSettings
    const [order] = drawAugmentation(new HostRandom(seed), 1, frames.data.length, only).frames
    // From two frames before the first that changes.
    const changed = order!.findIndex((f, i) => f !== i)
    const from = Math.max(0, Math.min(changed - 2, order!.length - columns))
    const pictures = order!.map((f, i) => labelled(frames, `${i} ← ${f}`, frames.data[f]!))
    return { title: `${name} frames\n${shown(name)}`, pictures: pictures.slice(from, from + columns) }
  }
  return [
    await row(
      `blur\n${shown('blur')}`,
      sizes,
      (k) => `kernel ${k}`,
      (k) => blur(first, tensor([blurTaps(k)])),
    ),
    await row(
      `saturation\n${shown('saturation')}`,
      evenly(settings.saturation, 5),
      (s) => `× ${s}`,
      (s) => saturate(first, s),
    ),
    await row(
      `noise\n${shown('noise')}`,
      evenly(settings.noise, 5),
      (s) => `σ = ${s}`,
      (s) => addNoise(first, normal, s / 255),
    ),
    strip('drop'),
    strip('repeat'),
  ]
}

/** Whole draws as training makes them, the first frame of each. */
async function draws(frames: Frames, settings: AugmentSettings, seed: number): Promise<SheetRow> {
  const random = new HostRandom(seed, 1)
  const noise = new Generator(seed)
  const clip = clipOf(frames)
  const say = ({ blur: b, saturation: s, noise: n }: Augmentation) =>
    [b[0]! > 1 && `k ${b[0]}`, s[0] !== 1 && `× ${s[0]!.toFixed(2)}`, n[0]! > 0 && `σ ${(n[0]! * 255).toFixed(1)}`]
      .filter(Boolean)
      .join(', ') || 'unchanged'
  const pictures = []
  for (let i = 0; i < columns; i++) {
    const drawn = drawAugmentation(random, 1, frames.data.length, settings)
    const x = augment(clip, augmentTensors(drawn, settings), settings, noise)
    pictures.push(labelled(frames, say(drawn), await bytesOf(x.narrow(1, 0, 1))))
  }
  return { title: 'draws\nall together', pictures }
}

/** Every distortion at its levels; the compressed ones show frame 8, when the encoder has had some to predict from. */
async function distorted(frames: Frames, seed: number): Promise<SheetRow[]> {
  const rows: SheetRow[] = []
  for (const name of studyNames) {
    const pictures = []
    const given = name === 'vc' ? frames.data : frames.data.slice(0, 1)
    const shown = Math.min(8, given.length - 1)
    for (const [i, parameter] of study[name].levels.entries()) {
      const out = await distortFrames(given, frames, name, i + 1, seed)
      pictures.push(labelled(frames, `level ${i + 1}: ${parameter}`, out[shown]!))
    }
    rows.push({ title: `${name}\n${study[name].title}${name === 'vc' ? `\nframe ${shown}` : ''}`, pictures })
  }
  return rows
}
