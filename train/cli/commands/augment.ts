/** `diptych augment`: a picture of what training and the robustness study do to frames. */
import { writeFile } from 'node:fs/promises'
import type { AdapterKind } from '../../../engine/index.ts'
import { UserError } from '../errors.ts'
import { type Action, adapterOption, wholeNumber, withDevice } from '../options.ts'

interface AugmentFlags {
  out: string
  seed: number
  adapter: AdapterKind
}

export const augmentCommand: Action = (program) => {
  program
    .command('augment')
    .description('draw a contact sheet of every augmentation and of every distortion at its five levels')
    .argument('[video]', 'a video or a folder of images; a rendered head unless given')
    .option('--out <file>', 'where the PNG goes', 'augmentations.png')
    .option('--seed <n>', 'everything drawn follows from it', wholeNumber(0), 1)
    .addOption(adapterOption())
    .action(async (video: string | undefined, { out, seed, adapter }: AugmentFlags) => {
      const { augmentationSheet, demoFrames, framesOfVideo } = await import('../../augmentations.ts')
      const frames = video === undefined ? demoFrames(seed) : await framesOfVideo(video)
      if (frames.data.length < 2) throw new UserError(`${video}: one frame is no video`, { fix: 'give a longer one' })
      const png = await withDevice(adapter, () => augmentationSheet(frames, seed))
      await writeFile(out, png)
      process.stdout.write(`${out}: every augmentation and distortion on ${video ?? 'a rendered head'}\n`)
    })
}
