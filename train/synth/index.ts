/** `diptych synth`: a rendered data set in FaceForensics++'s layout. */
export { METHODS, type Method } from './forge.ts'
export {
  REHEARSAL,
  type Splits,
  type SynthesizeOptions,
  type SynthSummary,
  splitPairs,
  synthesize,
} from './synthesize.ts'
