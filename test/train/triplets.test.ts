import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Random, shuffleLabels, TripletSampler, type VideoEntry, videoKey } from '../../train/data/index.ts'

const test = suite('triplets')
const METHODS = ['Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures']

/** `n` real videos in the manner of ff++, each with one forgery by every method. */
function ff(n: number, methods = METHODS): VideoEntry[] {
  const common = { dataset: 'ff++', compression: 'c23', split: 'train' as const }
  return Array.from({ length: n }, (_, i) => {
    const id = String(i).padStart(3, '0')
    const real = { ...common, id, path: `/${id}`, label: 0 as const, method: 'youtube', identity: id, partner: null }
    const fakes = methods.map((method) => {
      const fake = `${id}_${String((i + 1) % n).padStart(3, '0')}`
      return { ...common, id: fake, path: `/${method}/${fake}`, label: 1 as const, method, identity: id, partner: null }
    })
    return [real, ...fakes]
  }).flat()
}

test('a triplet: another clip of the same real video, a forgery of it', () => {
  const sampler = new TripletSampler(ff(5), { seed: 1 })
  assert.is(sampler.length, 40)
  const methods = new Set<string>()
  for (const { anchor, positive, negative, paired } of sampler.epoch(0)) {
    assert.is(anchor.video.label, 0)
    assert.is(positive.video, anchor.video)
    assert.is.not(positive.clip, anchor.clip)
    assert.is(negative.video.label, 1)
    assert.is(negative.video.identity, anchor.video.identity)
    assert.ok(paired)
    for (const { clip } of [anchor, positive, negative]) assert.ok(clip >= 0 && clip < 8)
    methods.add(negative.video.method)
  }
  assert.equal([...methods].sort(), METHODS)
})

test('every real video equally often, every clip an anchor once', () => {
  const sampler = new TripletSampler(ff(6), { seed: 2, clips: 4 })
  const seen = [...sampler.epoch(3)].map((t) => `${t.anchor.video.id}/${t.anchor.clip}`)
  assert.is(new Set(seen).size, 24)
  assert.is(seen.length, 24)
  const few = new TripletSampler(ff(6), { seed: 2, clips: 4, tripletsPerVideo: 2 })
  const count = new Map<string, number>()
  for (const t of few.epoch(0)) count.set(t.anchor.video.id, (count.get(t.anchor.video.id) ?? 0) + 1)
  assert.equal([...count.values()], [2, 2, 2, 2, 2, 2])
  const anchors = new Set<number>()
  for (let epoch = 0; epoch < 20; epoch++)
    for (const t of few.epoch(epoch)) if (t.anchor.video.id === '000') anchors.add(t.anchor.clip)
  assert.is(anchors.size, 4, 'over the epochs every clip is reached')
})

test('deterministic from seed and epoch, whatever the order of the manifest; resumes anywhere', () => {
  const entries = ff(7)
  const list = (seed: number, epoch: number, from = 0, videos = entries) =>
    [...new TripletSampler(videos, { seed }).epoch(epoch, from)].map((t) =>
      [t.anchor, t.positive, t.negative].map((c) => `${videoKey(c.video)}:${c.clip}`).join(' '),
    )
  const first = list(9, 4)
  assert.equal(list(9, 4), first)
  assert.equal(list(9, 4, 0, new Random(1).shuffle(entries)), first)
  assert.equal(list(9, 4, 37), first.slice(37))
  assert.not.equal(list(9, 5), first)
  assert.not.equal(list(8, 4), first)
})

test('without pairs the negative is any fake, and the triplet says so', () => {
  const entries = ff(4).map((e) => ({ ...e, identity: `${e.method}/${e.id}` }))
  const triplets = [...new TripletSampler(entries, { seed: 1 }).epoch(0)]
  assert.ok(triplets.every((t) => !t.paired && t.negative.video.label === 1))
  assert.ok(new Set(triplets.map((t) => t.negative.video.id)).size > 1)
})

test('compressions do not mix', () => {
  const both = [...ff(3), ...ff(3).map((e) => ({ ...e, compression: 'c40' }))]
  for (const t of new TripletSampler(both, { seed: 1 }).epoch(0))
    assert.is(t.negative.video.compression, t.anchor.video.compression)
})

test('short videos: one clip is no anchor, none no negative; both are listed', () => {
  const entries = ff(3)
  const clips = (v: VideoEntry) => (v.id === '000' ? 1 : v.method === 'FaceSwap' ? 0 : v.id === '001' ? 3 : 8)
  const sampler = new TripletSampler(entries, { seed: 1, clips, tripletsPerVideo: 5 })
  assert.equal(sampler.skipped.map((s) => s.video.method).sort(), ['FaceSwap', 'FaceSwap', 'FaceSwap', 'youtube'])
  const triplets = [...sampler.epoch(0)]
  assert.is(triplets.length, 10)
  for (const t of triplets) {
    assert.is.not(t.anchor.video.id, '000')
    assert.is.not(t.negative.video.method, 'FaceSwap')
    if (t.anchor.video.id === '001')
      assert.ok(t.anchor.clip < 3 && t.positive.clip < 3 && t.positive.clip !== t.anchor.clip)
  }
})

test('refuses what gives no triplet', () => {
  assert.throws(() => new TripletSampler(ff(2, []), { seed: 1 }), /0 forgery methods/)
  assert.throws(() => new TripletSampler(ff(2), { seed: 1, clips: 1 }), /0 usable real videos/)
  const mixed = ff(2).map((e, i) => ({ ...e, split: i ? ('train' as const) : ('test' as const) }))
  assert.throws(() => new TripletSampler(mixed, { seed: 1 }), /several splits/)
  assert.throws(() => new TripletSampler(ff(2), { seed: 1 }).at(0, 16), /outside an epoch of 16/)
})

test('shuffled labels: groups keep their numbers, no method tells the label, triplets still work', () => {
  const entries = ff(50)
  const shuffled = shuffleLabels(entries, 7)
  assert.equal(shuffleLabels(entries, 7), shuffled)
  assert.not.equal(shuffleLabels(entries, 8), shuffled)
  assert.equal(entries, ff(50), 'the input is left alone')
  const realsOf = new Map<string, number>()
  const realsBy = new Map<string, number>()
  for (const e of shuffled.filter((e) => e.label === 0)) {
    realsOf.set(e.identity, (realsOf.get(e.identity) ?? 0) + 1)
    realsBy.set(e.method, (realsBy.get(e.method) ?? 0) + 1)
  }
  assert.ok([...realsOf.values()].every((n) => n === 1) && realsOf.size === 50)
  assert.equal([...realsBy.values()], [10, 10, 10, 10, 10], 'each of the five kinds is called real equally often')
  for (const t of new TripletSampler(shuffled, { seed: 1 }).epoch(0)) {
    assert.ok(t.paired)
    assert.is(t.negative.video.identity, t.anchor.video.identity)
    assert.is.not(videoKey(t.negative.video), videoKey(t.anchor.video))
  }
})

test('shuffled labels without pairs: as many of each class, the same share of both told real', () => {
  const entries = ff(40, ['swap']).map((e) => ({ ...e, identity: `${e.method}/${e.id}` }))
  const shuffled = shuffleLabels(entries, 3)
  const calledReal = (label: number) => shuffled.filter((e, i) => entries[i].label === label && e.label === 0).length
  assert.equal([calledReal(0), calledReal(1)], [20, 20])
  const lonely = { ...entries[0], dataset: 'cdf', method: 'YouTube-real' }
  assert.not(
    shuffleLabels([...entries, lonely], 3).some((e) => e.dataset === 'cdf'),
    'nothing to exchange with',
  )
})

test('the generator: known stream, uniform, unbiased shuffles', () => {
  const a = new Random('x', 1)
  const b = new Random('x', 1)
  for (let i = 0; i < 5; i++) assert.is(a.uint32(), b.uint32())
  assert.is.not(new Random('x', 2).uint32(), new Random('x', 1).uint32())
  assert.is.not(new Random(12, 3).uint32(), new Random(1, 23).uint32())
  const r = new Random(5)
  let sum = 0
  for (let i = 0; i < 20_000; i++) sum += r.float()
  assert.ok(Math.abs(sum / 20_000 - 0.5) < 0.01)
  const counts = new Map<string, number>()
  for (let i = 0; i < 6000; i++) {
    const key = r.shuffle([1, 2, 3]).join('')
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  assert.is(counts.size, 6)
  for (const n of counts.values()) assert.ok(Math.abs(n - 1000) < 150)
})

test.run()
