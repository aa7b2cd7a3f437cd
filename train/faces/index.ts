/**
 * Faces of a video, in the order of use:
 *
 *   const network = openFaceNetwork(engine)
 *   const looked = framesToSample(frames.count, 5)
 *   const found = await detectFaces(network, frames, looked)
 *   const tracks = linkDetections(looked.map((frame, i) => ({ frame, detections: found[i] })))
 *   const crops = cropFrames(clip, clipBox(tracks[0], start, 16), 224)
 */
export type { Box, Detection, RgbFrames } from './box.ts'
export { cropFrames, warpFrame } from './crop.ts'
export type { DetectOptions } from './detect.ts'
export { detectFaces, suppressOverlaps } from './detect.ts'
export type { ConvEngine, FaceNetwork } from './network.ts'
export { DETECTOR, openFaceNetwork } from './network.ts'
export type { LinkOptions, Sample, Track } from './track.ts'
export { boxAt, clipBox, covers, framesToSample, lastingTracks, linkDetections, prominence } from './track.ts'
export type { ConvTensor } from './ultraface.ts'
