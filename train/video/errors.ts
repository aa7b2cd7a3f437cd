/** Why a video could not be read or written. */
export type VideoFault =
  | 'missing' // no such file or folder
  | 'empty' // a file of zero bytes
  | 'no-images' // a folder without png or jpg files
  | 'not-a-video' // not a media file, or a kind that is not accepted
  | 'no-video-stream' // media, but without pictures
  | 'no-frames' // a video stream that yields no frame
  | 'truncated' // the file ends before its content does
  | 'corrupt' // decoding fails somewhere inside
  | 'too-small' // frames under 16 pixels a side
  | 'too-large' // file, frame or decoded video above its bound
  | 'timeout' // the time bound for one video ran out
  | 'aborted' // the caller's signal
  | 'bad-frames' // frames given to the encoder do not fit its settings
  | 'write' // the output could not be written
  | 'no-ffmpeg' // no ffmpeg, or one that lacks a codec

/** A video that cannot be used. The message names the file, the fault and what to do about it. */
export class VideoError extends Error {
  override name = 'VideoError'
  constructor(
    readonly reason: VideoFault,
    readonly path: string,
    fault: string,
    fix: string,
  ) {
    super(`${path || 'ffmpeg'}: ${fault}. ${fix}`)
  }
}
