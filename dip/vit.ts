/**
 * Weights of a ViT, by timm's names (`patch_embed.proj`, `cls_token`, `pos_embed`, `blocks.{i}.…`, `norm`), for the encoder: its
 * blocks in order become unit 0's spatial blocks, unit 0's temporal blocks, unit 1's … . Temporal projections begin at zero, so
 * that each frame is at first seen as the ViT saw it.
 */
import { formatShape, nn, resizeMatrix, type Shape, sameShape } from '../engine/index.ts'
import { type DipConfig, encoderUnits, patchesPerSide } from './config.ts'
import type { DIP } from './model.ts'

/** Tensors of a file by name; halves widened already. */
export type VitFile = ReadonlyMap<string, { readonly shape: Shape; readonly data: ArrayLike<number | bigint> }>

export interface VitOptions {
  /** Keep the temporal blocks' attn.proj as the file has them. */
  readonly keepTemporalProjections?: boolean
  /** Stands in errors. */
  readonly file?: string
}

export interface VitReport {
  /** "name in the file [shape] → name in the model", with what was done on the way. */
  readonly used: string[]
  /** Parameters of the encoder that the file has nothing for; they keep their initial values. */
  readonly missing: string[]
  /** Tensors of the file that nothing was done with, with their shapes. */
  readonly leftOver: string[]
}

/** A file that is no ViT, or one of another width or patch. */
export class VitError extends Error {
  override name = 'VitError'
}

const parts = ['norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2']
const both = (name: string) => [`${name}.weight`, `${name}.bias`]

/** Parameter of the model → tensor of the file, for everything that a ViT gives. */
export function vitNames(config: DipConfig): Map<string, string> {
  const pairs: [string, string][] = both('patch_embed.proj').map((name) => [name, name])
  pairs.push(['cls_token', 'cls_token'], ['pos_embed_spatial', 'pos_embed'])
  let next = 0
  encoderUnits(config).forEach((unit, u) => {
    for (const kind of ['spatial', 'temporal'] as const)
      for (let i = 0; i < unit[kind]; i++, next++)
        for (const part of parts.flatMap(both))
          pairs.push([`encoder.units.${u}.${kind}.${i}.${part}`, `blocks.${next}.${part}`])
  })
  pairs.push(...both('norm').map((name): [string, string] => [`encoder.${name}`, name]))
  return new Map(pairs)
}

/**
 * Position embeddings [1, from²+1, E], class token first, for to² patches: bicubic (a = −¾, pixel centres at ½, edges repeated,
 * no antialiasing), as PyTorch's interpolate with align_corners false. timm's own loader smooths when it shrinks; this does not.
 */
export function resizePositions(data: ArrayLike<number>, from: number, to: number, width: number): Float32Array {
  const out = new Float32Array((to * to + 1) * width)
  for (let e = 0; e < width; e++) out[e] = data[e]!
  const weights = resizeMatrix(from, to, 'bicubic') // [to, from]
  const used = Array.from({ length: to }, (_, i) =>
    Array.from({ length: from }, (_, j) => [j, weights[i * from + j]!] as const).filter(([, w]) => w !== 0),
  )
  for (let y = 0; y < to; y++)
    for (let x = 0; x < to; x++)
      for (let e = 0; e < width; e++) {
        let sum = 0
        for (const [i, wi] of used[y]!)
          for (const [j, wj] of used[x]!) sum += wi * wj * data[(1 + i * from + j) * width + e]!
        out[(1 + y * to + x) * width + e] = sum
      }
  return out
}

const squareSide = (tokens: number): number | undefined => {
  const side = Math.round(Math.sqrt(tokens - 1))
  return side >= 1 && side * side + 1 === tokens ? side : undefined
}

/**
 * Puts the file's weights into the encoder. What the file does not have keeps its values.
 * @throws VitError when no block is there, or a tensor does not fit; it names every one, and nothing is changed
 */
export async function loadVit(model: DIP, file: VitFile, options: VitOptions = {}): Promise<VitReport> {
  const { file: what = 'the file', keepTemporalProjections = false } = options
  const { config } = model
  const own = nn.namedParameters(model)
  const names = vitNames(config)
  const values = new Map<string, Float32Array>()
  const report: VitReport = { used: [], missing: [], leftOver: [] }
  const wrong: string[] = []
  const taken = new Set<string>()
  for (const [name, theirs] of names) {
    const found = file.get(theirs)
    const { shape } = own.get(name)!
    const zeroed = !keepTemporalProjections && /\.temporal\.\d+\.attn\.proj\./.test(name)
    if (found) taken.add(theirs)
    else report.missing.push(`${name} ${formatShape(shape)} (${theirs})`)
    if (zeroed) values.set(name, new Float32Array(own.get(name)!.size))
    if (!found) continue
    const from = name === 'pos_embed_spatial' ? squareSide(found.shape[1] ?? 0) : undefined
    const resized = from !== undefined && sameShape(found.shape, [1, from * from + 1, config.E])
    if (!sameShape(found.shape, shape) && !resized) {
      wrong.push(`    ${theirs}: ${formatShape(found.shape)} in the file, ${formatShape(shape)} as ${name}`)
      continue
    }
    const given = Float32Array.from(found.data as ArrayLike<number>, Number)
    const to = patchesPerSide(config)
    const other = resized && from !== to
    if (!zeroed) values.set(name, other ? resizePositions(given, from, to, config.E) : given)
    const note = zeroed ? ', set to zero' : other ? `, resized from ${from}×${from} to ${to}×${to} patches` : ''
    report.used.push(`${theirs} ${formatShape(found.shape)} → ${name}${note}`)
  }
  for (const [name, { shape }] of file) if (!taken.has(name)) report.leftOver.push(`${name} ${formatShape(shape)}`)
  if (![...taken].some((name) => name.startsWith('blocks.')))
    throw new VitError(
      `${what} holds no ViT: it has no blocks.0.norm1.weight or the like, but ${listed([...file.keys()])}`,
    )
  if (wrong.length) throw new VitError(`${what} is a ViT of another shape:\n${wrong.join('\n')}`)
  const flat = nn.flatten(model)
  const state = await flat.read()
  for (const [name, data] of values) state.set(name, { shape: own.get(name)!.shape, data })
  flat.write(state)
  return report
}

const listed = (names: string[]): string => {
  const shown = names.slice(0, 6).join(', ')
  return names.length === 0 ? 'nothing' : names.length > 6 ? `${shown} and ${names.length - 6} more` : shown
}

/** The report as text, a line a tensor. */
export function formatVitReport({ used, missing, leftOver }: VitReport): string {
  const part = (title: string, lines: string[]) => [`${title}: ${lines.length}`, ...lines.map((line) => `  ${line}`)]
  return [...part('used', used), ...part('missing in the file', missing), ...part('left over', leftOver)].join('\n')
}
