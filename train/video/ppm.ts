/**
 * A stream of binary PPM pictures ("P6\n<width> <height>\n255\n" and RGB24 rows), as ffmpeg's image2pipe writes it.
 * Each picture states its own size, so neither ffprobe nor a second pass is needed.
 */
export interface Picture {
  width: number
  height: number
  /** RGB24, rows from the top, [height, width, 3]. */
  data: Uint8Array
}

const HEADER_BYTES = 64

/** Yields the complete pictures of a stream; a cut picture at its end is left out (the caller checks the exit code). */
export async function* readPpm(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Picture> {
  let header = new Uint8Array(0)
  let picture: Picture | undefined
  let filled = 0
  for await (let chunk of chunks) {
    while (chunk.length > 0) {
      if (!picture) {
        const seen = header.length
        const joined = new Uint8Array(Math.min(HEADER_BYTES, seen + chunk.length))
        joined.set(header)
        joined.set(chunk.subarray(0, joined.length - seen), seen)
        const text = String.fromCharCode(...joined)
        const match = /^P6\s(\d+)\s(\d+)\s255\s/.exec(text)
        if (!match) {
          if (joined.length >= HEADER_BYTES) throw new Error(`not a PPM header: ${JSON.stringify(text)}`)
          header = joined
          break
        }
        const [width, height] = [Number(match[1]), Number(match[2])]
        picture = { width, height, data: new Uint8Array(width * height * 3) }
        filled = 0
        chunk = chunk.subarray(match[0].length - seen)
        header = new Uint8Array(0)
      }
      const take = Math.min(chunk.length, picture.data.length - filled)
      picture.data.set(chunk.subarray(0, take), filled)
      filled += take
      chunk = chunk.subarray(take)
      if (filled === picture.data.length) {
        yield picture
        picture = undefined
      }
    }
  }
}
