/**
 * Checkpoints. A detector file holds the teacher's weights by the names of the model, all that scoring needs in its metadata. A
 * state file holds a whole run (both models, moments, position), from which training goes on bit by bit.
 */
import { readFile } from 'node:fs/promises'
import { type DipConfig, makeConfig } from '../../dip/index.ts'
import { nn, type optim } from '../../engine/index.ts'
import { parseSafetensors, type Safetensors, writeSafetensors } from '../../engine/safetensors.ts'
import { writeAtomically } from './files.ts'
import type { Trainer } from './trainer.ts'

const detectorFormat = 'diptych-detector'
const stateFormat = 'diptych-training-state'

export interface DetectorMeta {
  readonly config: DipConfig
  /** Fitted on validation. */
  readonly temperature?: number
  readonly threshold?: number
  /** Trained on videos made by `diptych synth`. */
  readonly rehearsal: boolean
}

export interface DetectorFile extends DetectorMeta {
  readonly state: ReadonlyMap<string, { shape: readonly number[]; data: ArrayLike<number> }>
}

type State = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>

const asTensors = (state: State, prefix = '') =>
  [...state].map(
    ([name, { shape, data }]) => [prefix + name, { dtype: 'F32' as const, shape: [...shape], data }] as const,
  )

export async function saveDetector(path: string, state: State, meta: DetectorMeta): Promise<void> {
  const metadata: Record<string, string> = {
    format: detectorFormat,
    config: JSON.stringify(meta.config),
    rehearsal: String(meta.rehearsal),
  }
  if (meta.temperature !== undefined) metadata.temperature = String(meta.temperature)
  if (meta.threshold !== undefined) metadata.threshold = String(meta.threshold)
  await writeAtomically(path, writeSafetensors(asTensors(state), metadata))
}

export class CheckpointError extends Error {
  override name = 'CheckpointError'
}

async function open(path: string, format: string): Promise<Safetensors> {
  const file = parseSafetensors(await readFile(path), { file: path })
  if (file.metadata.format !== format)
    throw new CheckpointError(
      `${path} is no ${format} file (its format is '${file.metadata.format ?? 'not stated'}'); \`npm start\` and \`diptych train\` write them`,
    )
  return file
}

/** @throws CheckpointError or SafetensorsError naming the file and what is wrong */
export async function readDetector(path: string): Promise<DetectorFile> {
  const { metadata, tensors } = await open(path, detectorFormat)
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text))
  const temperature = number(metadata.temperature)
  const threshold = number(metadata.threshold)
  return {
    config: makeConfig(JSON.parse(metadata.config!)),
    rehearsal: metadata.rehearsal === 'true',
    ...(temperature === undefined ? {} : { temperature }),
    ...(threshold === undefined ? {} : { threshold }),
    state: tensors as unknown as DetectorFile['state'],
  }
}

/** Everything a run needs to go on, with `progress` as the loop's own JSON. */
export async function saveState(path: string, trainer: Trainer, progress: unknown): Promise<void> {
  const { flat } = trainer.optimizer
  const optimizer = await trainer.optimizer.state()
  const tensors = [
    ...asTensors(await flat.read(), 'student.'),
    ...asTensors(await trainer.teacherStorage.read(), 'teacher.'),
    ...asTensors(optimizer.m, 'm.'),
    ...asTensors(optimizer.v, 'v.'),
  ]
  await writeAtomically(
    path,
    writeSafetensors(tensors, {
      format: stateFormat,
      config: JSON.stringify(trainer.config),
      seed: String(trainer.seed),
      steps: String(optimizer.steps),
      corrections: JSON.stringify(optimizer.corrections),
      ...(optimizer.scaling ? { scaling: JSON.stringify(optimizer.scaling) } : {}),
      progress: JSON.stringify(progress),
    }),
  )
}

/** `optim.lr 0.1, now 0.2` for every value of two configurations that differs. */
function differing(saved: object, now: object, prefix = ''): string[] {
  return Object.entries(now).flatMap(([key, value]) => {
    const before = (saved as Record<string, unknown>)[key]
    if (typeof value === 'object' && value && typeof before === 'object' && before && !Array.isArray(value))
      return differing(before, value, `${prefix}${key}.`)
    const [was, is] = [JSON.stringify(before), JSON.stringify(value)]
    return was === is ? [] : [`${prefix}${key} ${was}, now ${is}`]
  })
}

/** Puts a saved run into a trainer of the same configuration and seed; returns the loop's progress. */
export async function loadState(path: string, trainer: Trainer): Promise<unknown> {
  const { metadata, tensors } = await open(path, stateFormat)
  const differences = [
    // Through the schema: a key that came later has its default.
    ...differing(makeConfig(JSON.parse(metadata.config!)), trainer.config),
    ...(metadata.seed === String(trainer.seed) ? [] : [`seed ${metadata.seed}, now ${trainer.seed}`]),
  ]
  if (differences.length)
    throw new CheckpointError(
      `${path} belongs to a run with other settings: ${differences.join('; ')}. Take those, give another --out, or remove the file to start afresh`,
    )
  const part = (prefix: string) =>
    new Map(
      [...tensors].flatMap(([name, t]) =>
        name.startsWith(prefix)
          ? [[name.slice(prefix.length), { shape: t.shape, data: t.data as Float32Array }] as const]
          : [],
      ),
    )
  nn.loadState(trainer.student, part('student.'), path)
  nn.loadState(trainer.teacher, part('teacher.'), path)
  const scaling = metadata.scaling === undefined ? {} : { scaling: JSON.parse(metadata.scaling) as optim.ScalingState }
  const corrections =
    metadata.corrections === undefined ? {} : { corrections: JSON.parse(metadata.corrections) as [number, number] }
  const steps = Number(metadata.steps)
  trainer.optimizer.loadState({ steps, ...corrections, m: part('m.'), v: part('v.'), ...scaling })
  return JSON.parse(metadata.progress ?? 'null')
}
