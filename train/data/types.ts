/** What every data set reader yields, and the interface it stands behind. */

export type Split = 'train' | 'val' | 'test'

/** 0 real, 1 fake. */
export type Label = 0 | 1

export interface VideoEntry {
  /** Registry name of the data set: `ff++`, `cdf`, … */
  dataset: string
  /** The owner's own name of the video, leading zeros kept. Unique together with data set, method and compression. */
  id: string
  /** A video file, a folder of frames, or a folder inside an archive written `archive.tar.gz#folder`. */
  path: string
  label: Label
  /** Forgery method of a fake; of a real video the collection it comes from. */
  method: string
  /** `raw`, `c23`, `c40`; null where the owners state none. */
  compression: string | null
  /**
   * What a real video and its forgeries share: the id of the real video (of a fake: its *target*, whose frames it shows),
   * or the person's where the owners publish no more. An unpaired video has its own id.
   */
  identity: string
  /** The other party of a forgery (its source), where it is known. */
  partner: string | null
  /** As the owners split it; null for videos that they leave out of their splits. */
  split: Split | null
  frames?: number
  fps?: number
  sha256?: string
}

export interface Unreadable {
  path: string
  reason: string
}

/** What the caller's probe may find out about a video; it throws when the video cannot be read. */
export interface ProbeResult {
  frames?: number
  fps?: number
  sha256?: string
}

export interface ScanOptions {
  /** Opens each video to see whether it can be read. Without one, only existence and names are checked. */
  probe?: (path: string) => Promise<ProbeResult>
  /** Probes at once. Default 2. */
  concurrency?: number
  onProgress?: (done: number, total: number) => void
  /** Only these compressions (`ff++`; `c0` means `raw`). */
  compressions?: string[]
  /** Only these forgery methods. Reals are kept. */
  methods?: string[]
  /** Folder of the split files, where they do not lie with the data (`ff++`, `dfr`). */
  splitsFolder?: string
  /** Root of FaceForensics++, whose c23 targets are the reals of `dfr`. */
  realRoot?: string
  /** A named subset (`dfdc`): only these file names are kept, and the summary says so. */
  subset?: { name: string; files: string[] }
  /** `folder` without split.csv: the seed and the shares of the split. Default 0 and 72/14/14 as in ff++. */
  seed?: number
  shares?: Record<Split, number>
}

export interface DatasetScan {
  entries: VideoEntry[]
  /** Everything found or announced that did not become an entry, with the reason. */
  unreadable: Unreadable[]
  /** Choices made on the way that a report must state: the subset used, videos outside the splits. */
  notes: string[]
}

export interface DatasetReader {
  name: string
  title: string
  /** The layout expected under the root, for help texts and errors. */
  layout: string
  read(root: string, options: ScanOptions): Promise<DatasetScan>
}

/** The key of a video. Four methods of ff++ share file names, so the id alone is none. */
export function videoKey(entry: Pick<VideoEntry, 'dataset' | 'method' | 'compression' | 'id'>): string {
  return [entry.dataset, entry.method, entry.compression ?? '-', entry.id].join('/')
}

/** The key of the group of a real video and its forgeries, at one compression and in one split. */
export function groupKey(entry: VideoEntry): string {
  return [entry.dataset, entry.compression ?? '-', entry.split ?? '-', entry.identity].join('/')
}
