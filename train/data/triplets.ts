/**
 * Triplets for the inconsistency loss (III-D): the anchor a clip of a real video, the positive another clip of the same video, the
 * negative a clip of a video forged from it, by a random one of the methods available. Where no forgery of the anchor is
 * known (data sets without pairs), the negative is any fake.
 *
 * An epoch is `tripletsPerVideo` triplets of every real video, in a shuffled order. Everything drawn for position p of epoch e comes from a
 * generator seeded by (seed, e, p): a run resumes at any position without replaying what came before.
 */
import { CLIPS_PER_VIDEO } from './clips.ts'
import { byName } from './files.ts'
import { Random } from './random.ts'
import { groupKey, type VideoEntry, videoKey } from './types.ts'

export interface ClipRef {
  video: VideoEntry
  /** Index among the video's clips. */
  clip: number
}

export interface Triplet {
  anchor: ClipRef
  positive: ClipRef
  negative: ClipRef
  /** False where the negative is any fake for want of a forgery of the anchor. */
  paired: boolean
}

export interface TripletOptions {
  seed: number
  /** Clips of each video, or how many clips a video has (short ones give fewer). Default 8. */
  clips?: number | ((video: VideoEntry) => number)
  /** Triplets of each real video in an epoch. Default: the clips of a full video, so that each clip is an anchor once. */
  tripletsPerVideo?: number
}

export class TripletSampler {
  /** Triplets in an epoch. */
  readonly length: number
  /** Videos that take no part, with the reason. */
  readonly skipped: { video: VideoEntry; reason: string }[] = []
  private readonly seed: number
  private readonly perVideo: number
  private readonly clipsOf: (video: VideoEntry) => number
  private readonly reals: VideoEntry[] = []
  private readonly fakesOf = new Map<string, Map<string, VideoEntry[]>>()
  private readonly anyFake = new Map<string, VideoEntry[]>()
  private order: { epoch: number; positions: number[] } | undefined

  /** @param entries the videos of one split; their order does not matter. */
  constructor(entries: VideoEntry[], options: TripletOptions) {
    const { clips = CLIPS_PER_VIDEO } = options
    this.seed = options.seed
    this.clipsOf = typeof clips === 'number' ? () => clips : clips
    this.perVideo = options.tripletsPerVideo ?? (typeof clips === 'number' ? clips : CLIPS_PER_VIDEO)
    if (!Number.isInteger(this.perVideo) || this.perVideo < 1)
      throw new RangeError(`TripletSampler: tripletsPerVideo must be at least 1, got ${this.perVideo}`)
    const splits = new Set(entries.map((e) => e.split))
    if (splits.size > 1) throw new RangeError(`TripletSampler: entries of several splits: ${[...splits].join(', ')}`)
    const sorted = [...entries].sort((a, b) => byName(videoKey(a), videoKey(b)))
    for (const video of sorted) this.admit(video)
    if (this.reals.length === 0 || this.anyFake.size === 0)
      throw new RangeError(
        `TripletSampler: ${this.reals.length} usable real videos and ${this.anyFake.size} forgery methods of ` +
          `${entries.length} entries; a triplet needs a real video with two clips and a fake`,
      )
    this.length = this.reals.length * this.perVideo
  }

  private admit(video: VideoEntry): void {
    const clips = this.clipsOf(video)
    const needed = video.label ? 1 : 2
    if (!(clips >= needed)) {
      this.skipped.push({
        video,
        reason: `${clips} clips, a ${video.label ? 'negative' : 'real video'} needs ${needed}`,
      })
      return
    }
    if (!video.label) {
      this.reals.push(video)
      return
    }
    const group = groupKey(video)
    if (!this.fakesOf.has(group)) this.fakesOf.set(group, new Map())
    for (const methods of [this.fakesOf.get(group)!, this.anyFake]) {
      if (!methods.has(video.method)) methods.set(video.method, [])
      methods.get(video.method)!.push(video)
    }
  }

  /** The triplet at a position (0 … length − 1) of an epoch (0, 1, …). */
  at(epoch: number, position: number): Triplet {
    if (!Number.isInteger(position) || position < 0 || position >= this.length)
      throw new RangeError(`TripletSampler: position ${position} outside an epoch of ${this.length}`)
    const slot = this.positions(epoch)[position]
    const real = this.reals[Math.floor(slot / this.perVideo)]
    const clips = this.clipsOf(real)
    // Each epoch goes through a video's clips in a new order, so that fewer triplets than clips still reach all in time.
    const rounds = new Random(this.seed, 'anchor', epoch, videoKey(real)).shuffle([...Array(clips).keys()])
    const anchor = rounds[(slot % this.perVideo) % clips]
    const random = new Random(this.seed, 'triplet', epoch, slot)
    const positive = (anchor + 1 + random.int(clips - 1)) % clips
    const own = this.fakesOf.get(groupKey(real))
    const methods = own ?? this.anyFake
    const fake = random.pick(methods.get(random.pick([...methods.keys()]))!)
    return {
      anchor: { video: real, clip: anchor },
      positive: { video: real, clip: positive },
      negative: { video: fake, clip: random.int(this.clipsOf(fake)) },
      paired: own !== undefined,
    }
  }

  /** The triplets of an epoch from a position on. */
  *epoch(epoch: number, from = 0): Generator<Triplet> {
    for (let position = from; position < this.length; position++) yield this.at(epoch, position)
  }

  private positions(epoch: number): number[] {
    if (this.order?.epoch !== epoch) {
      const slots = [...Array(this.length).keys()]
      this.order = { epoch, positions: new Random(this.seed, 'order', epoch).shuffle(slots) }
    }
    return this.order.positions
  }
}

/**
 * The control experiment for leaks: copies of the entries whose labels say nothing. A model trained on them must score chance on
 * held-out videos; if it does better, something other than the forgery gives the label away.
 *
 * Labels move within each group (a real video and its forgeries), so every group keeps its numbers of reals and fakes and
 * the triplets keep working. Over the groups of one make-up the place of the real label rotates through the members (sorted
 * by method): each method is called real equally often, to within one group. Videos without a counterpart in their
 * group exchange labels among each other, per data set, compression and split; if all of those are of one class there is
 * nothing to exchange, and they are left out: their collection alone would tell the label.
 */
export function shuffleLabels(entries: VideoEntry[], seed: number): VideoEntry[] {
  const groups = new Map<string, number[]>()
  entries.forEach((entry, i) => {
    const key = groupKey(entry)
    groups.set(key, [...(groups.get(key) ?? []), i])
  })
  const labels = entries.map((e) => e.label)
  const shapes = new Map<string, number[][]>()
  const singles = new Map<string, number[]>()
  for (const [, members] of [...groups].sort(([a], [b]) => byName(a, b))) {
    members.sort((a, b) => entries[a].label - entries[b].label || byName(videoKey(entries[a]), videoKey(entries[b])))
    const reals = members.filter((i) => entries[i].label === 0).length
    if (reals === 0 || reals === members.length) {
      const { dataset, compression, split } = entries[members[0]]
      const pool = JSON.stringify([dataset, compression, split])
      singles.set(pool, [...(singles.get(pool) ?? []), ...members])
    } else {
      const { dataset, compression, split } = entries[members[0]]
      const shape = JSON.stringify([dataset, compression, split, members.length, reals])
      shapes.set(shape, [...(shapes.get(shape) ?? []), members])
    }
  }
  for (const [shape, list] of shapes) {
    const random = new Random(seed, 'labels', shape)
    const offset = random.int(list[0].length)
    random.shuffle(list).forEach((members, g) => {
      const pattern = members.map((i) => entries[i].label)
      members.forEach((i, m) => {
        labels[i] = pattern[(m + g + offset) % members.length]
      })
    })
  }
  const leftOut = new Set<number>()
  for (const [pool, members] of singles) {
    const random = new Random(seed, 'labels', pool)
    const reals = random.shuffle(members.filter((i) => entries[i].label === 0))
    const fakes = random.shuffle(members.filter((i) => entries[i].label === 1))
    if (reals.length === 0 || fakes.length === 0) for (const i of members) leftOut.add(i)
    // Exchanging r·f/(r+f) of each class leaves the share of "real" the same among true reals and true fakes.
    const exchanged = Math.round((reals.length * fakes.length) / (reals.length + fakes.length))
    for (let k = 0; k < exchanged; k++) {
      labels[reals[k]] = 1
      labels[fakes[k]] = 0
    }
  }
  return entries.map((entry, i) => ({ ...entry, label: labels[i] })).filter((_, i) => !leftOut.has(i))
}
