/**
 * Progress with the time left. On a terminal a bar; elsewhere (a log file, CI) one line every half minute at most, so that a log
 * stays readable and still shows that the run lives.
 */
import cliProgress from 'cli-progress'
import pc from 'picocolors'

export interface ProgressOptions {
  /** What is being done: "scan", "train". */
  label: string
  total: number
  /** Work already done by an earlier run that is being resumed: it counts as done but not for the speed. */
  start?: number
  /** Name of one unit: "video", "step". */
  unit?: string
  stream?: NodeJS.WriteStream
  /** Without a terminal, seconds between lines. Default 30. */
  intervalSeconds?: number
  /** Milliseconds, monotonic; a test passes its own. */
  now?: () => number
}

export interface Progress {
  /** One more done, or `count` more; `note` (a loss, a file name) stands at the end of the line. */
  tick(note?: string, count?: number): void
  /** Sets the number done. */
  update(done: number, note?: string): void
  /** Prints a line above the bar. */
  log(line: string): void
  /** Ends the bar; prints the total time. Safe to call twice. */
  stop(): void
}

/** "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 04 h". Not finite or negative: "?". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '?'
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  const two = (n: number) => String(n).padStart(2, '0')
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`
  const hours = Math.round(seconds / 3600)
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`
}

export function createProgress(options: ProgressOptions): Progress {
  const { label, total, unit = 'item', stream = process.stderr } = options
  const now = options.now ?? (() => performance.now())
  const start = options.start ?? 0
  const began = now()
  let done = start
  let note = ''
  let stopped = false

  const elapsed = () => (now() - began) / 1000
  const left = () => (done > start ? (elapsed() * (total - done)) / (done - start) : Number.NaN)
  const bar = stream.isTTY ? terminalBar(label, stream) : undefined
  bar?.start(total, start, { left: '?', note: '' })

  const interval = options.intervalSeconds ?? 30
  let nextLine = interval
  const sparse = () => {
    if (elapsed() < nextLine || done >= total) return
    nextLine = elapsed() + interval
    const percent = total > 0 ? Math.floor((100 * done) / total) : 100
    stream.write(`${label}: ${done}/${total} (${percent}%), ${formatDuration(left())} left${note ? `, ${note}` : ''}\n`)
  }

  const progress: Progress = {
    tick: (text, count = 1) => progress.update(done + count, text),
    update(value, text) {
      if (stopped) return
      done = value
      note = text ?? note
      if (bar) bar.update(done, { left: formatDuration(left()), note })
      else sparse()
    },
    log(line) {
      // cli-progress rewrites its line at the next update; clearing it first keeps the log line whole.
      if (bar && !stopped) stream.write(`\r\x1b[K${line}\n`)
      else stream.write(`${line}\n`)
    },
    stop() {
      if (stopped) return
      stopped = true
      bar?.stop()
      const units = `${done} ${unit}${done === 1 ? '' : 's'}`
      stream.write(`${label}: ${units} in ${formatDuration(elapsed())}${note ? `, ${note}` : ''}\n`)
    },
  }
  return progress
}

function terminalBar(label: string, stream: NodeJS.WriteStream): cliProgress.SingleBar {
  return new cliProgress.SingleBar(
    {
      format: `${pc.cyan(label)} {bar} {value}/{total} ${pc.dim('·')} {left} left ${pc.dim('{note}')}`,
      stream,
      hideCursor: true,
      clearOnComplete: true,
      fps: 5,
      gracefulExit: true,
    },
    cliProgress.Presets.shades_classic,
  )
}
