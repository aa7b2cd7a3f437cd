/** `diptych synth`: a rendered data set for rehearsals. */
import { Option } from 'commander'
import { UserError } from '../errors.ts'
import { type Action, decimal, interruptible, jsonOption, wholeNumber } from '../options.ts'
import { createProgress, type Progress } from '../progress.ts'

interface SynthFlags {
  identities: number
  frames: number
  size: number
  seed: number
  fps: number
  strength: number
  compression: ('raw' | 'c23' | 'c40')[]
  method: ('swap' | 'reenact' | 'self-blend' | 'texture')[]
  json?: boolean
}

export const synthCommand: Action = (program) => {
  program
    .command('synth')
    .description("render talking heads and forgeries of them, in FaceForensics++'s layout (a rehearsal, no evidence)")
    .argument('<folder>', 'where to write')
    .option('--identities <n>', 'people, even, at least 6', wholeNumber(6), 24)
    .option('--frames <n>', 'frames of a video', wholeNumber(1), 40)
    .option('--size <pixels>', 'side of the frames, even, at least 96', wholeNumber(96), 160)
    .option('--seed <n>', 'everything follows from it', wholeNumber(0), 1)
    .option('--fps <n>', 'frames a second', decimal(1), 25)
    .option('--strength <x>', 'of the traces that forgeries leave; 0 leaves blending and motion alone', decimal(0), 1)
    .addOption(
      new Option('--compression <names...>', 'as FaceForensics++ names them')
        .choices(['raw', 'c23', 'c40'])
        .default(['c23']),
    )
    .addOption(
      new Option('--method <names...>', 'forgeries to make')
        .choices(['swap', 'reenact', 'self-blend', 'texture'])
        .default(['swap', 'reenact', 'self-blend', 'texture']),
    )
    .addOption(jsonOption())
    .action(async (out: string, flags: SynthFlags) => {
      const { synthesize } = await import('../../synth/index.ts')
      const { identities, frames, size, seed, fps, strength, compression, method } = flags
      const total = identities * (1 + method.length) * compression.length
      // Made at the first video: settings that are refused show no bar.
      let progress: Progress | undefined
      try {
        const summary = await interruptible('run the same command again', (signal) =>
          synthesize({
            out,
            identities,
            framesPerVideo: frames,
            size,
            seed,
            fps,
            strength,
            compressions: compression,
            methods: method,
            signal,
            onProgress: ({ done }) => {
              progress ??= createProgress({ label: 'synth', total, unit: 'video' })
              progress.update(done)
            },
          }),
        )
        progress?.stop()
        if (flags.json) process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`)
        else
          process.stdout.write(
            `${summary.reals} real and ${summary.fakes} forged videos in ${out}\n` +
              `next: diptych scan ff++ '${out}' --out manifest.jsonl\n`,
          )
      } catch (error) {
        progress?.stop()
        if (error instanceof RangeError) throw new UserError(error.message, { fix: 'correct the option', cause: error })
        throw error
      }
    })
}
