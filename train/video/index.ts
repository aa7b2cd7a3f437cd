/** Reading and writing videos through ffmpeg. */
export { decodeVideo, readVideo } from './decode.ts'
export { COMPRESSION_CRF, type Compression, type EncodeOptions, encodeVideo } from './encode.ts'
export { VideoError, type VideoFault } from './errors.ts'
export { type FindFfmpegOptions, findFfmpeg } from './ffmpeg.ts'
export { listImages, naturalOrder } from './folder.ts'
export type { DecodeOptions, Frame } from './input.ts'
