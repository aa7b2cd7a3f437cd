import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { UserError } from '../../train/cli/errors.ts'
import {
  clipStarts,
  DATASETS,
  dataset,
  holdOutValidation,
  parseCsv,
  readManifest,
  readTar,
  type ScanResult,
  scanDataset,
  splitArchivePath,
  splitByIdentity,
  type VideoEntry,
  videoKey,
  writeManifest,
} from '../../train/data/index.ts'

const test = suite('data')
const folders: string[] = []

test.after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

/** A fresh folder holding the given files: names (empty files) or name → content. */
async function tree(files: Record<string, string | Uint8Array> | string[]): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'diptych-data-'))
  folders.push(root)
  const list = Array.isArray(files) ? files.map((name) => [name, ''] as const) : Object.entries(files)
  for (const [name, content] of list) {
    await mkdir(join(root, dirname(name)), { recursive: true })
    await writeFile(join(root, name), content)
  }
  return root
}

const empty = (...names: string[]) => Object.fromEntries(names.map((name) => [name, '']))
const find = (scan: ScanResult, id: string, method: string) => {
  const entry = scan.entries.find((e) => e.id === id && e.method === method)
  assert.ok(entry, `no entry ${method}/${id}`)
  return entry!
}

async function throwsUser(fn: () => Promise<unknown>, ...words: string[]): Promise<void> {
  try {
    await fn()
  } catch (error) {
    assert.instance(error, UserError)
    const text = `${(error as UserError).message} ${(error as UserError).fix}`
    for (const word of words) assert.ok(text.includes(word), `"${text}" lacks "${word}"`)
    return
  }
  assert.unreachable(`did not throw: ${words}`)
}

const ffTree = () => ({
  ...empty(
    'original_sequences/youtube/c23/videos/000.mp4',
    'original_sequences/youtube/c23/videos/003.mp4',
    'original_sequences/youtube/c23/videos/010.mp4',
    'original_sequences/youtube/c0/videos/000.mp4',
    'original_sequences/actors/c23/videos/01__kitchen_pan.mp4',
    'manipulated_sequences/Deepfakes/c23/videos/000_003.mp4',
    'manipulated_sequences/Deepfakes/c23/videos/003_000.mp4',
    'manipulated_sequences/Deepfakes/masks/videos/000_003.mp4',
    'manipulated_sequences/FaceSwap/c23/videos/000_003.mp4',
    'manipulated_sequences/FaceSwap/c23/videos/readme.txt',
    'manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_pan__YVGY8LOK.mp4',
  ),
  'splits/train.json': '[["000","003"]]',
  'splits/val.json': '[["010","011"]]',
  'splits/test.json': '[]',
})

test('ff++: pairs give splits, a fake belongs to its target, methods do not collide', async () => {
  const scan = await scanDataset('ff++', await tree(ffTree()))
  const fake = find(scan, '000_003', 'Deepfakes')
  assert.is(fake.identity, '000')
  assert.is(fake.partner, '003')
  assert.is(fake.split, 'train')
  assert.is(find(scan, '003_000', 'Deepfakes').identity, '003')
  assert.is(find(scan, '003_000', 'Deepfakes').split, 'train')
  assert.is(find(scan, '010', 'youtube').split, 'val')
  assert.is(new Set(scan.entries.map(videoKey)).size, scan.entries.length)
  assert.is(scan.entries.filter((e) => e.id === '000_003').length, 2)
  const actors = find(scan, '01_02__kitchen_pan__YVGY8LOK', 'DeepFakeDetection')
  assert.is(actors.identity, find(scan, '01__kitchen_pan', 'actors').identity)
  assert.is(actors.split, null)
  assert.ok(scan.notes.some((note) => note.startsWith('2 videos are in none')))
  assert.not(scan.entries.some((e) => e.path.includes('masks')))
})

test('ff++: c0 is raw, and the compressions can be chosen', async () => {
  const root = await tree(ffTree())
  const raw = await scanDataset('ff++', root, { compressions: ['c0'] })
  assert.equal(
    raw.entries.map((e) => [e.id, e.compression]),
    [['000', 'raw']],
  )
  const one = await scanDataset('ff++', root, { compressions: ['c23'], methods: ['FaceSwap'] })
  assert.equal([...new Set(one.entries.filter((e) => e.label).map((e) => e.method))], ['FaceSwap'])
})

test('ff++: what is missing or misnamed is listed', async () => {
  const { unreadable } = await scanDataset('ff++', await tree(ffTree()), { compressions: ['c23'] })
  const reason = (part: string) => unreadable.filter((u) => u.path.includes(part)).map((u) => u.reason)
  assert.equal(reason(join('FaceSwap', 'c23', 'videos', '003_000')), ['listed in splits/train.json but missing'])
  assert.equal(reason(join('youtube', 'c23', 'videos', '011')), ['listed in splits/val.json but missing'])
  assert.match(reason('readme.txt')[0], 'not named like')
  assert.is(reason('DeepFakeDetection').length, 0)
})

test('ff++: bad split files are named', async () => {
  const numbers = await tree({ ...ffTree(), 'splits/train.json': '[[0,3]]' })
  await throwsUser(() => scanDataset('ff++', numbers), 'train.json', 'item 0', 'pair of strings')
  const twice = await tree({ ...ffTree(), 'splits/val.json': '[["000","011"]]' })
  await throwsUser(() => scanDataset('ff++', twice), 'val.json', '000', 'train.json')
  const none = await tree(['original_sequences/youtube/c23/videos/000.mp4'])
  await throwsUser(() => scanDataset('ff++', none), 'split files', 'dataset/splits')
  await throwsUser(() => scanDataset('ff++', join(none, 'nowhere')), 'nowhere', 'expected layout')
})

test('cdf: 1 is real in the list, its first line counts, the rest is for training', async () => {
  const files = {
    ...empty('Celeb-real/id0_0000.mp4', 'YouTube-real/00000.mp4', 'Celeb-synthesis/id0_id16_0000.mp4'),
    ...empty('Celeb-synthesis/id1_id0_0007.mp4'),
    'List_of_testing_videos.txt':
      '1 YouTube-real/00000.mp4\r\n0 Celeb-synthesis/id0_id16_0000.mp4\n1 Celeb-real/id9_0009.mp4\n',
  }
  const scan = await scanDataset('cdf', await tree(files))
  assert.is(find(scan, '00000', 'YouTube-real').label, 0)
  assert.is(find(scan, '00000', 'YouTube-real').split, 'test')
  assert.is(find(scan, 'id0_0000', 'Celeb-real').split, 'train')
  const fake = find(scan, 'id0_id16_0000', 'Celeb-synthesis')
  assert.equal([fake.label, fake.identity, fake.partner, fake.split], [1, 'id0_0000', 'id16', 'test'])
  assert.is(scan.unreadable.length, 1)
  assert.match(scan.unreadable[0].reason, 'line 3 but missing')
  const turned = { ...files, 'List_of_testing_videos.txt': '0 YouTube-real/00000.mp4\n' }
  await throwsUser(async () => scanDataset('cdf', await tree(turned)), 'txt:1', 'contradicts', '1 means real')
})

test('dfdc: parts, test lists, subsets', async () => {
  const root = await tree({
    'dfdc_train_part_0/metadata.json': JSON.stringify({
      'a.mp4': { label: 'REAL', split: 'train' },
      'b.mp4': { label: 'FAKE', split: 'train', original: 'a.mp4' },
      'gone.mp4': { label: 'FAKE', original: 'a.mp4' },
    }),
    ...empty('dfdc_train_part_0/a.mp4', 'dfdc_train_part_0/b.mp4', 'dfdc_train_part_0/extra.mp4'),
    'test/metadata.json': JSON.stringify({ 'c.mp4': { is_fake: 1 }, 'd.mp4': { is_fake: 0 } }),
    ...empty('test/c.mp4', 'test/d.mp4'),
  })
  const scan = await scanDataset('dfdc', root)
  assert.equal(
    scan.entries.map((e) => [e.id, e.label, e.identity, e.split]),
    [
      ['a', 0, 'a', 'train'],
      ['b', 1, 'a', 'train'],
      ['c', 1, 'c', 'test'],
      ['d', 0, 'd', 'test'],
    ],
  )
  assert.equal(scan.unreadable.map((u) => u.reason).sort(), [
    'listed but missing',
    'not in metadata.json or labels.csv: no label',
  ])
  assert.match(scan.summary, 'subset: none, all 4 videos')
  const subset = await scanDataset('dfdc', root, { subset: { name: 'mine', files: ['c.mp4', 'zz.mp4'] } })
  assert.equal(
    subset.entries.map((e) => e.id),
    ['c'],
  )
  assert.match(subset.summary, 'subset "mine": 1 of 4')
  assert.ok(subset.unreadable.some((u) => u.path === 'zz' && u.reason.includes('subset')))

  const labels = await tree({
    'labels.csv': 'filename,label\nx.mp4,0\ny.mp4,1\n',
    'videos/x.mp4': '',
    'videos/y.mp4': '',
  })
  assert.equal(
    (await scanDataset('dfdc', labels)).entries.map((e) => [e.id, e.label, e.split]),
    [
      ['x', 0, 'test'],
      ['y', 1, 'test'],
    ],
  )
  const bad = await tree({ 'labels.csv': 'filename,label\nx.mp4,maybe\n' })
  await throwsUser(() => scanDataset('dfdc', bad), 'labels.csv:2', 'maybe')
  await throwsUser(async () => scanDataset('dfdc', await tree(['x.txt'])), 'no metadata.json')
})

test('dfdc-p: sets and persons from dataset.json', async () => {
  const root = await tree({
    'dataset.json': JSON.stringify({
      'original_videos/643049/643049_A_001.mp4': { label: 'real', set: 'train' },
      'method_A/643049_1400_A_001.mp4': { label: 'fake', set: 'train', target_id: '643049', swapped_id: '1400' },
      'method_B/gone.mp4': { label: 'fake', set: 'test' },
    }),
    ...empty('original_videos/643049/643049_A_001.mp4', 'method_A/643049_1400_A_001.mp4', 'method_A/unlisted.mp4'),
  })
  const scan = await scanDataset('dfdc-p', root)
  const fake = find(scan, '643049_1400_A_001', 'method_A')
  assert.equal([fake.identity, fake.partner, fake.split], ['643049', '1400', 'train'])
  assert.is(find(scan, '643049_A_001', 'original_videos').identity, '643049')
  assert.is(scan.unreadable.length, 2)
})

/** A ustar archive of empty-bodied or short files. */
function tar(files: Record<string, string>): Buffer {
  const blocks: Buffer[] = []
  for (const [name, content] of Object.entries(files)) {
    const header = Buffer.alloc(512)
    header.write(name.length > 100 ? '././@LongLink' : name)
    const body = Buffer.from(name.length > 100 ? `${name}\0` : content)
    header.write(`${body.length.toString(8).padStart(11, '0')}\0`, 124)
    header.write(name.length > 100 ? 'L' : '0', 156)
    header.write('ustar', 257)
    header.fill(' ', 148, 156)
    header.write(
      `${header
        .reduce((a, b) => a + b, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    )
    blocks.push(header, Buffer.concat([body, Buffer.alloc((512 - (body.length % 512)) % 512)]))
    if (name.length > 100) blocks.push(tar({ [name.slice(0, 100)]: content }).subarray(0, -1024))
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)])
}

test('wdf: folders inside archives are sequences, damaged archives are listed', async () => {
  const archive = gzipSync(tar({ '1/real/17/0.png': 'x', '1/real/17/5.png': 'y', '1/real/18/2.png': 'z' }))
  const root = await tree({
    'real_train/1.tar.gz': archive,
    'fake_train/1/fake/3/0.png': '',
    'real_test/1.tar.gz': gzipSync(tar({ '1/real/17/0.png': '' })),
    'fake_test/2.tar.gz': '',
    'fake_test/3.tar.gz': archive.subarray(0, archive.length - 12),
  })
  const scan = await scanDataset('wdf', root)
  assert.equal(
    scan.entries.map((e) => [e.id, e.label, e.split, e.frames]),
    [
      ['train/1/17', 0, 'train', 2],
      ['train/1/18', 0, 'train', 1],
      ['train/1/3', 1, 'train', 1],
      ['test/1/17', 0, 'test', 1],
    ],
  )
  assert.equal(splitArchivePath(scan.entries[0].path), {
    archive: join(root, 'real_train/1.tar.gz'),
    folder: '1/real/17',
  })
  assert.is(splitArchivePath('/a/b.mp4'), undefined)
  assert.is(scan.unreadable.length, 2)
  assert.ok(scan.notes.some((note) => note.includes('face crops')))
})

test('tar: contents, long names, damage', async () => {
  const long = `${'d/'.repeat(60)}0.png`
  const root = await tree({ 'a.tar': tar({ 'x/1.txt': 'hello', [long]: 'long' }), 'b.tar': Buffer.alloc(700, 65) })
  const read: [string, string | undefined][] = []
  for await (const file of readTar(join(root, 'a.tar'), (n) => !n.endsWith('.txt')))
    read.push([file.name, file.data?.toString()])
  assert.equal(read, [
    ['x/1.txt', undefined],
    [long, 'long'],
  ])
  try {
    for await (const _ of readTar(join(root, 'b.tar')));
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, 'not a tar')
  }
})

test('dfr: the reals are the ff++ c23 targets, never the source videos', async () => {
  const files = [
    'manipulated_videos/end_to_end/000_M027.mp4',
    'manipulated_videos/end_to_end/001_W101.mp4',
    'manipulated_videos/end_to_end_level_1/000_M027.mp4',
    'source_videos/M027/light_up/happy/camera_front/M027.mp4',
  ]
  const root = await tree({
    ...empty(...files),
    'lists/splits/train.txt': '000_M027.mp4\n',
    'lists/splits/val.txt': '\n',
    'lists/splits/test.txt': '001_W101.mp4\n002_W101.mp4\n',
  })
  await throwsUser(() => scanDataset('dfr', root), 'no real videos of its own', 'FaceForensics++')
  const realRoot = await tree(['original_sequences/youtube/c23/videos/000.mp4'])
  const scan = await scanDataset('dfr', root, { realRoot })
  assert.not(scan.entries.some((e) => e.path.includes('source_videos')))
  const real = scan.entries.filter((e) => e.label === 0)
  assert.equal(
    real.map((e) => [e.id, e.split, e.identity]),
    [['000', 'train', '000']],
  )
  assert.ok(real[0].path.startsWith(realRoot))
  const fake = find(scan, '001_W101', 'end_to_end')
  assert.equal([fake.identity, fake.partner, fake.split], ['001', 'W101', 'test'])
  const missing = scan.unreadable.map((u) => u.path)
  assert.ok(missing.some((p) => p.endsWith('001.mp4')))
  assert.ok(missing.some((p) => p.includes(join('end_to_end', '002_W101'))))
})

test('folder: methods from folders, pairs, splits by video', async () => {
  const root = await tree({
    ...empty(
      'real/a.mp4',
      'real/b/0.png',
      'real/b/1.png',
      'fake/swap/x.mp4',
      'fake/swap/x.avi',
      'fake/y.mp4',
      'fake/notes.txt',
    ),
    'pairs.csv': 'fake,real\nswap/x.mp4,a.mp4\nfake/y.mp4,"real/b"\nnone.mp4,a.mp4\n',
    'split.csv': 'video,split\nreal/a.mp4,train\nfake/swap/x,train\nreal/b,test\ny,test\n',
  })
  const scan = await scanDataset('folder', root)
  assert.equal(
    scan.entries.map((e) => [e.id, e.method, e.identity, e.split, e.frames ?? 0]),
    [
      ['a', 'real', 'real/a', 'train', 0],
      ['b', 'real', 'real/b', 'test', 2],
      ['y', 'fake', 'real/b', 'test', 0],
      ['swap/x', 'swap', 'fake/swap/x', null, 0],
    ].map((row) => row),
  )
  assert.ok(scan.unreadable.some((u) => u.reason.startsWith('the same video as')))
  assert.ok(scan.unreadable.some((u) => u.path.endsWith('notes.txt')))
  assert.ok(scan.unreadable.some((u) => u.reason.includes('pairs.csv line 4')))
  const bad = await tree({ ...empty('real/a.mp4', 'fake/b.mp4'), 'split.csv': 'a,train\nb,holdout\n' })
  await throwsUser(() => scanDataset('folder', bad), 'split.csv:2', 'holdout')
})

test('folder: without split.csv whole identities are split, the same way each time', async () => {
  const names = Array.from({ length: 20 }, (_, i) => [`real/${i}.mp4`, `fake/${i}.mp4`]).flat()
  const pairs = Array.from({ length: 20 }, (_, i) => `${i},${i}`).join('\n')
  const root = await tree({ ...empty(...names), 'pairs.csv': pairs })
  const scan = await scanDataset('folder', root, { seed: 3 })
  const splitOf = new Map(scan.entries.filter((e) => !e.label).map((e) => [e.identity, e.split]))
  for (const fake of scan.entries.filter((e) => e.label)) assert.is(fake.split, splitOf.get(fake.identity)!)
  const count = (split: string) => [...splitOf.values()].filter((s) => s === split).length
  assert.equal([count('train'), count('val'), count('test')], [14, 3, 3])
  assert.equal((await scanDataset('folder', root, { seed: 3 })).entries, scan.entries)
  assert.not.equal((await scanDataset('folder', root, { seed: 4 })).entries, scan.entries)
})

test('a probe fills in frames, and what it cannot open is listed', async () => {
  const root = await tree(['real/a.mp4', 'real/b.mp4', 'fake/c.mp4'])
  let last = 0
  const scan = await scanDataset('folder', root, {
    probe: async (path) => {
      if (path.endsWith('b.mp4')) throw new Error('moov atom not found')
      return { frames: 100, fps: 25 }
    },
    onProgress: (done) => (last = done),
  })
  assert.is(last, 3)
  assert.equal(
    scan.entries.map((e) => [e.id, e.frames, e.fps]),
    [
      ['a', 100, 25],
      ['c', 100, 25],
    ],
  )
  assert.equal(scan.unreadable, [{ path: join(root, 'real/b.mp4'), reason: 'moov atom not found' }])
  assert.match(scan.summary, /real {2}real\s+\d/)
  assert.match(scan.summary, 'not usable: 1')
  assert.match(scan.summary, '1 × moov atom not found')
})

test('an unknown data set suggests the nearest name', async () => {
  await throwsUser(async () => dataset('ff+'), '"ff+"', 'did you mean "ff++"')
  await throwsUser(async () => dataset('celeb-df'), 'did you mean "cdf"')
  assert.is(DATASETS.length, 7)
})

const video = (over: Partial<VideoEntry>): VideoEntry => ({
  dataset: 'folder',
  id: 'a',
  path: '/data/a.mp4',
  label: 0,
  method: 'real',
  compression: null,
  identity: 'a',
  partner: null,
  split: 'train',
  ...over,
})

test('manifest: goes round, portable, atomic, errors with line numbers', async () => {
  const root = await tree([])
  const file = join(root, 'sub', 'manifest.jsonl')
  const sha256 = 'ab'.repeat(32)
  const entries = [
    video({ path: join(root, 'sub', 'real', 'a.mp4'), frames: 100, fps: 29.97, sha256 }),
    video({ id: '003', path: '/elsewhere/003.mp4', label: 1, method: 'Deepfakes', compression: 'c23', partner: '004' }),
  ]
  await writeManifest(file, entries)
  assert.equal(await readManifest(file), entries)
  assert.equal(await readdir(join(root, 'sub')), ['manifest.jsonl'])
  const lines = (await readFile(file, 'utf8')).split('\n')
  assert.is(JSON.parse(lines[0]).path, 'real/a.mp4')

  const breakLine = async (line: string, ...words: string[]) => {
    await writeFile(file, `${lines[0]}\n\n${line}\n`)
    await throwsUser(() => readManifest(file), 'manifest.jsonl:3', ...words)
  }
  await breakLine('{"dataset":', 'not JSON')
  await breakLine(lines[1].replace('"label":1', '"label":2'), 'label')
  await breakLine(lines[1].replace('"method"', '"methods"'), 'method')
  await breakLine(lines[0], 'already on line 1')
  await throwsUser(() => readManifest(join(root, 'none.jsonl')), 'none.jsonl')
})

test('splits keep identities whole and both classes in each part', () => {
  const entries = Array.from({ length: 30 }, (_, i) => [
    video({ id: `r${i}`, identity: `${i}` }),
    video({ id: `f${i}`, identity: i < 20 ? `${i}` : `f${i}`, label: 1 }),
  ]).flat()
  const split = splitByIdentity(entries, 1)
  const byIdentity = new Map<string, Set<string>>()
  for (const e of split) byIdentity.set(e.identity, (byIdentity.get(e.identity) ?? new Set()).add(e.split!))
  for (const splits of byIdentity.values()) assert.is(splits.size, 1)
  for (const name of ['train', 'val', 'test'])
    for (const label of [0, 1]) assert.ok(split.some((e) => e.split === name && e.label === label))
  const backwards = splitByIdentity([...entries].reverse(), 1).reverse()
  assert.equal(backwards, split, 'the order of the entries does not matter')

  const held = holdOutValidation([...entries, video({ id: 't', identity: 't', split: 'test' })], 5, 0.2)
  assert.is(held.at(-1)!.split, 'test')
  assert.ok(held.some((e) => e.split === 'val'))
  assert.not(held.slice(0, -1).some((e) => e.split === 'test'))
})

test('clipStarts: evenly spaced, distinct, fewer for short videos', () => {
  assert.equal(clipStarts(300), [0, 41, 81, 122, 162, 203, 243, 284])
  assert.equal(clipStarts(19), [0, 1, 2, 3])
  assert.equal(clipStarts(16), [0])
  assert.equal(clipStarts(15), [])
  assert.equal(clipStarts(100, 1), [42])
  assert.throws(() => clipStarts(100, 0), /at least 1/)
  fc.assert(
    fc.property(
      fc.nat(400),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 40 }),
      (frames, clips, length) => {
        const starts = clipStarts(frames, clips, length)
        assert.is(starts.length, Math.max(0, Math.min(clips, frames - length + 1)))
        assert.is(new Set(starts).size, starts.length)
        for (const start of starts) assert.ok(start >= 0 && start + length <= frames)
        const gaps = starts.slice(1).map((s, i) => s - starts[i])
        if (gaps.length > 0) assert.ok(Math.max(...gaps) - Math.min(...gaps) <= 1)
      },
    ),
  )
})

test('csv: quotes, commas, line breaks', () => {
  assert.equal(parseCsv('a, b\r\n"c,1","d ""x"""\n\n"e\nf",g'), [
    { line: 1, cells: ['a', 'b'] },
    { line: 2, cells: ['c,1', 'd "x"'] },
    { line: 4, cells: ['e\nf', 'g'] },
  ])
})

test.run()
