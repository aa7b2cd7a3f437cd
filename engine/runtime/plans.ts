/** Plans made ready for a device, by their structure; those used longest ago give way. */
import type { Executable } from './executable.ts'

export interface PlanLimits {
  /** Plans kept. */
  count: number
  /** Bytes that their uniforms, inputs and launches may take together, roughly. */
  bytes: number
}

export class Plans {
  /** The plan used last stands last. */
  private readonly known = new Map<string, Executable>()
  private bytes = 0

  constructor(readonly limits: PlanLimits = { count: 256, bytes: 256 * 2 ** 20 }) {}

  get size(): number {
    return this.known.size
  }

  get(key: string): Executable | undefined {
    const found = this.known.get(key)
    if (found) {
      this.known.delete(key)
      this.known.set(key, found)
    }
    return found
  }

  /** Keeps a new plan, and lets go of old ones while there are too many; never of the new one. */
  add(key: string, executable: Executable): void {
    if (this.known.has(key)) this.drop(key, this.known.get(key)!.bytes)
    this.known.set(key, executable)
    this.bytes += executable.bytes
    executable.hold()
    for (const [old, { bytes }] of this.known) {
      if (old === key || (this.known.size <= this.limits.count && this.bytes <= this.limits.bytes)) return
      this.drop(old, bytes)
    }
  }

  private drop(key: string, bytes: number): void {
    const executable = this.known.get(key)!
    this.known.delete(key)
    this.bytes -= bytes
    executable.release()
  }

  clear(): void {
    for (const [key, { bytes }] of this.known) this.drop(key, bytes)
  }
}
