/**
 * The detector itself: a training step as the trainer takes it (augmentation, teacher, student, AdamW, moving average, losses
 * read), and scoring a batch of clips. The larger presets run only when `--filter` names them.
 *
 * Before a preset is timed, the golden file (every value, loss and gradient of the model against float64) must pass on this device,
 * and the preset's own losses must be those of a run without any fusion.
 */
import { makeConfig, type PresetName } from '../../dip/config.ts'
import type { ClipRef, Triplet } from '../../train/data/triplets.ts'
import { gradientLimit, outputLimit, runGolden } from '../../train/golden.ts'
import { type Batch, clipTensor, makeBatch } from '../../train/training/batch.ts'
import { fakeLogits, Trainer } from '../../train/training/trainer.ts'
import { custom } from '../contestants.ts'
import type { Check, Group, Outputs, Prepared, Row, RowContext } from '../contract.ts'
import { random, relativeError } from '../data.ts'
import type { DiptychLibrary } from '../libraries/diptych.ts'

interface Setting {
  readonly preset: PresetName
  /** Triplets of a batch. */
  readonly triplets: number
  readonly onRequest: boolean
}

const golden = 'test/golden/tiny.safetensors'
const schedule = { peak: 1e-3, steps: 1000, warmup: 0.01 }
/** One batch of the scorer. */
const clipsScored = 16

const configOf = (preset: PresetName) => makeConfig({ preset, 'idm.diffuse': 'power' })

/** Noise: what a clip shows does not change what a step costs. */
function noise(preset: PresetName, seed: number): Uint8Array {
  const { T, M } = configOf(preset)
  return Uint8Array.from(random([T * M * M * 3], seed + 1).data, (value) => 127.5 * (value + 1))
}

function batchOf({ preset, triplets }: Setting): Promise<Batch> {
  const { T, M, augment } = configOf(preset)
  const clip = (index: number) => ({ clip: index }) as ClipRef
  const list = Array.from({ length: triplets }, (_, i): Triplet => {
    return { anchor: clip(3 * i), positive: clip(3 * i + 1), negative: clip(3 * i + 2), paired: true }
  })
  return makeBatch(list, { frames: (ref) => noise(preset, ref.clip) }, { frames: T, side: M }, augment, 0, 0)
}

/** Runs `work` with every op on its own, and gives back the memory that this took. */
async function unfused<T>(library: DiptychLibrary, work: () => Promise<T>): Promise<T> {
  library.engine.fuse = false
  try {
    return await work()
  } finally {
    library.engine.fuse = true
    await library.trim()
  }
}

/** Errors of the golden file over their limits. */
async function goldenErrors(library: DiptychLibrary): Promise<Outputs> {
  const { rows } = await runGolden(await library.asset(golden), { file: golden, diffuse: ['power'] })
  return { golden: rows.map(({ error, limit }) => error / limit) }
}

const newTrainer = (preset: PresetName): Trainer => new Trainer(configOf(preset), 1, schedule)

async function prepareTraining(library: DiptychLibrary, setting: Setting, context: RowContext): Promise<Prepared> {
  const batch = await batchOf(setting)
  const twoSteps = async (trainer: Trainer): Promise<number[]> => {
    const all: number[] = []
    for (let i = 0; i < 2; i++) {
      const { loss, cce, sti, da, gradientNorm } = await trainer.step(batch)
      all.push(loss, cce, sti, da, gradientNorm)
    }
    return all
  }
  const { quick, unchecked } = context
  const errors = quick || unchecked ? {} : await goldenErrors(library)
  const plain = unchecked ? [] : await unfused(library, () => twoSteps(newTrainer(setting.preset)))
  const trainer = newTrainer(setting.preset)
  const losses = await twoSteps(trainer)
  const recorded = trainer.record(batch)
  const { discreteLaunches } = library.launches([recorded])
  // The optimiser's part is due once it is recorded.
  await recorded.data()
  return {
    ...(discreteLaunches && { discreteLaunches }),
    launches: await library.launchesOfRun(() => trainer.step(batch)),
    run: async () => {
      await trainer.step(batch)
    },
    outputs: async () => ({ losses, plain, ...errors }),
  }
}

async function prepareScoring(library: DiptychLibrary, { preset }: Setting, context: RowContext): Promise<Prepared> {
  const clips = Array.from({ length: clipsScored }, (_, i) => noise(preset, i))
  const { quick, unchecked } = context
  const errors = quick || unchecked ? {} : await goldenErrors(library)
  const plain = unchecked ? [] : await unfused(library, () => newTrainer(preset).logits('student', clips))
  const trainer = newTrainer(preset)
  const losses = await trainer.logits('student', clips)
  const { T: frames, M: side } = configOf(preset)
  const { discreteLaunches } = library.launches([fakeLogits(trainer.student, clipTensor(clips, { frames, side }))])
  return {
    ...(discreteLaunches && { discreteLaunches }),
    launches: await library.launchesOfRun(() => trainer.logits('student', clips)),
    run: async () => {
      await trainer.logits('student', clips)
    },
    outputs: async () => ({ losses, plain, ...errors }),
  }
}

function check({ losses, plain, golden: ratios }: Outputs): readonly Check[] {
  const own = { what: 'fused against unfused', error: relativeError(losses, plain!), limit: 1e-4 }
  if (!ratios) return [own]
  const what = `golden file, error over its limit (${outputLimit} of outputs, ${gradientLimit} of gradients)`
  return [own, { what, error: Math.max(...Array.from(ratios)), limit: 1 }]
}

/** Multiplications of one forward pass of a clip: projections, MLPs and attention of every block. */
function forwardFlops(preset: PresetName): number {
  const { T, M, P, E, U, SA, TA, C, r } = configOf(preset)
  const L = M / P
  const tokens = T * (L * L + 1)
  const block = (rows: number, keys: number) => 2 * rows * (4 + 2 * r) * E * E + 4 * rows * keys * E
  const encoder = U * (SA * block(tokens, L * L + 1) + TA * block(tokens, T))
  return encoder + 2 * T * L * L * 3 * P * P * E + C * 2 * block(L + 1, L + 1)
}

function rowsOf(setting: Setting, context: RowContext): Row[] {
  const { preset, triplets, onRequest } = setting
  const { T, M } = configOf(preset)
  const clip = 4 * T * M * M * 3
  const shared = { inputs: () => ({}), check, unit: 'GFLOP/s' as const, onRequest }
  return [
    {
      ...shared,
      name: `${preset}: training step, ${triplets} triplets`,
      // The teacher sees positives and negatives; the student anchors and negatives, forward and backward.
      cost: { flops: triplets * (2 + 2 * 3) * forwardFlops(preset), bytes: triplets * 3 * clip },
      contestants: [custom('diptych', (library) => prepareTraining(library, setting, context))],
    },
    {
      ...shared,
      name: `${preset}: scoring ${clipsScored} clips`,
      cost: { flops: clipsScored * forwardFlops(preset), bytes: clipsScored * clip },
      contestants: [custom('diptych', (library) => prepareScoring(library, setting, context))],
    },
  ]
}

export const group: Group = {
  name: 'dip',
  about: 'training step and scoring of the detector; flops of products and attention alone',
  rows: (context) => {
    const { software, quick } = context
    if (quick) return rowsOf({ preset: 'tiny', triplets: 1, onRequest: false }, context).slice(0, 1)
    const rows = (preset: PresetName, few: number, onRequest = false) =>
      rowsOf({ preset, triplets: software ? few : 16, onRequest }, context)
    return [...rows('tiny', 4), ...rows('micro', 2), ...rows('small', 1, true), ...rows('base', 1, true)]
  },
}
