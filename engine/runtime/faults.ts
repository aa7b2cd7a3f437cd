/**
 * What ends a run from outside: the device is lost, or reports an error that no scope caught. Every wait for the GPU goes through
 * `guard`, so that a lost device ends it, and nothing that a failed run made can be read.
 */
import { DeviceLostError, fromGpuError, type GpuError } from '../device/errors.ts'

/** Ms that a rejected wait is held back: platforms reject what was under way a little before they say that the device is lost. */
const grace = 50

export class Faults {
  /** Why the device is gone, once it is. */
  lost: DeviceLostError | undefined
  /** What runs now, for messages. */
  running: string | undefined
  /** Submits made so far. */
  submits = 0
  /** Number of the latest run or copy, submitted or not. */
  private latest = 0
  private uncaught: GpuError | undefined
  /** Runs up to this one are known to have gone well, or are listed as failed. */
  private confirmed = 0
  private readonly failed: { from: number; to: number; error: GpuError }[] = []
  private readonly waiting = new Set<(error: DeviceLostError) => void>()

  constructor(gpu: GPUDevice) {
    void gpu.lost.then((info) => this.lose(info))
    gpu.addEventListener('uncapturederror', (event) => {
      event.preventDefault()
      const error = fromGpuError((event as GPUUncapturedErrorEvent).error, this.running)
      this.uncaught ??= error
      // Platforms may report late: any run since the last known good one can be meant.
      this.failed.push({ from: this.confirmed + 1, to: this.latest, error })
      if (this.failed.length > 100) this.failed.shift()
      this.confirmed = this.latest
    })
  }

  /** The device is gone: ends every wait. */
  lose({ reason, message }: Pick<GPUDeviceLostInfo, 'reason' | 'message'>): void {
    if (this.lost) return
    this.lost = new DeviceLostError({ reason, message }, this.running)
    for (const reject of this.waiting) reject(this.lost)
    this.waiting.clear()
  }

  /** @throws DeviceLostError from the loss on; any other error once. */
  check(): void {
    if (this.lost) throw this.lost
    const error = this.uncaught
    this.uncaught = undefined
    if (error) throw error
  }

  /** Something waits for the GPU. */
  get busy(): boolean {
    return this.waiting.size > 0
  }

  /** Begins a run or copy; returns its number. */
  begin(): number {
    return ++this.latest
  }

  /** The GPU has done all work so far without reporting an error. */
  confirm(): void {
    this.confirmed = this.latest
  }

  /** Why what run `number` wrote cannot be trusted; undefined when it can. */
  failureOf(number: number): GpuError | undefined {
    if (!this.failed.length) return undefined
    return this.failed.find(({ from, to }) => from <= number && number <= to)?.error
  }

  /** Settles as `promise` does, or rejects with DeviceLostError as soon as the device is lost. */
  guard<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.lost) return reject(this.lost)
      this.waiting.add(reject)
      promise.then(
        (value) => {
          this.waiting.delete(reject)
          resolve(value)
        },
        (error) =>
          setTimeout(() => {
            this.waiting.delete(reject)
            reject(error)
          }, grace),
      )
    })
  }
}
